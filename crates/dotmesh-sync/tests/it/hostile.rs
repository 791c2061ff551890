//! Malicious trees. Each ends with an error, and nothing outside the directory is touched.

use std::path::Path;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::grow::Grower;
use dotmesh_store::tree::TreeSpine;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileChild, FileContent, FilePage, Inode, InodeKind,
    Kind, Object, Root, Segment, TreeChild, TreePage,
};
use dotmesh_sync::{Base, MaterialiseError, MemoryObjects, Progress, Target, materialise};

#[derive(Default)]
struct Forge(MemoryObjects);

impl Forge {
    fn chunk(&mut self, bytes: &[u8]) -> ObjectHash {
        self.0.insert(Object::new(Kind::Chunk, bytes.to_vec()))
    }

    fn file_page(&mut self, page: &FilePage) -> ObjectHash {
        self.0.insert(Object::new(Kind::FilePage, page.encode()))
    }

    fn directory(&mut self, entries: Vec<(&str, EntryValue)>) -> EntryValue {
        let mut grower = Grower::<TreeSpine>::default();
        for (name, value) in entries {
            grower.push(Entry {
                name: EntryName::new(name.as_bytes()).expect("a name"),
                value,
            });
        }
        let (tree, objects) = grower.finish();
        for object in objects {
            self.0.insert(object);
        }
        inode(InodeKind::Directory { tree })
    }

    fn root(&mut self, top: &EntryValue) -> ObjectHash {
        let EntryValue::Inode(Inode {
            attributes,
            kind: InodeKind::Directory { tree },
        }) = top
        else {
            panic!("the top is a directory");
        };
        let root = Root {
            attributes: attributes.clone(),
            tree: *tree,
        };
        self.0.insert(Object::new(Kind::Root, root.encode()))
    }

    fn make(&mut self, top: &EntryValue) -> Result<(), MaterialiseError> {
        let root = self.root(top);
        self.make_root(root, None, tempfile::tempdir().expect("a folder").path())
    }

    fn make_root(
        &self,
        root: ObjectHash,
        base: Option<Base>,
        into: &Path,
    ) -> Result<(), MaterialiseError> {
        let source = Arc::new(self.0.clone());
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let target = Target {
            root,
            base,
            into: into.to_owned(),
            resumed: false,
        };
        runtime.block_on(materialise(&source, &target, &Arc::<Progress>::default()))
    }
}

fn inode(kind: InodeKind) -> EntryValue {
    let mode = if matches!(kind, InodeKind::Symlink { .. }) {
        0o777
    } else {
        0o755
    };
    EntryValue::Inode(Inode {
        attributes: Attributes {
            mode,
            ..Attributes::default()
        },
        kind,
    })
}

fn file(size: u64, content: FileContent) -> EntryValue {
    inode(InodeKind::File { size, content })
}

fn symlink(target: &str) -> EntryValue {
    inode(InodeKind::Symlink {
        target: target.as_bytes().into(),
    })
}

fn hard_link(first: &str) -> EntryValue {
    EntryValue::HardLink {
        first: first.as_bytes().into(),
    }
}

#[test]
fn a_hard_link_leads_to_no_file_outside() {
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("secret"), "secret").expect("write");
    let mut forge = Forge::default();
    let out = symlink(&outside.path().display().to_string());
    for first in ["../secret", "/etc/passwd", "a/../../x", "", "a//b"] {
        let top = forge.directory(vec![("link", hard_link(first))]);
        let error = forge.make(&top).expect_err("the path is refused");
        assert!(
            matches!(error, MaterialiseError::Malformed { .. }),
            "{error:?}"
        );
    }
    for first in ["out/secret", "link", "out", "gone", "sub"] {
        let sub = forge.directory(Vec::new());
        let top = forge.directory(vec![
            ("link", hard_link(first)),
            ("out", out.clone()),
            ("sub", sub),
        ]);
        let error = forge.make(&top).expect_err("the link is refused");
        assert!(matches!(error, MaterialiseError::Disk(_)), "{error:?}");
    }
}

#[test]
fn a_symlink_that_takes_a_directorys_place_is_not_followed() {
    let outside = tempfile::tempdir().expect("a folder");
    let into = tempfile::tempdir().expect("a folder");
    let mut forge = Forge::default();
    let empty = forge.directory(Vec::new());
    let base = forge.directory(vec![("sub", empty)]);
    let base = forge.root(&base);
    forge
        .make_root(base, None, into.path())
        .expect("materialise");
    // The folder differs from the base, as if another program had written to it meanwhile.
    std::fs::remove_dir(into.path().join("sub")).expect("remove");
    std::os::unix::fs::symlink(outside.path(), into.path().join("sub")).expect("symlink");
    let full = forge.directory(vec![("file", file(0, FileContent::Empty))]);
    let target = forge.directory(vec![("sub", full)]);
    let target = forge.root(&target);
    let data = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(data.path().join("sub")).expect("create");
    let base = Base {
        root: base,
        data: data.path().to_owned(),
    };
    let error = forge
        .make_root(target, Some(base), into.path())
        .expect_err("not followed");
    assert!(matches!(error, MaterialiseError::Disk(_)), "{error:?}");
    assert_eq!(std::fs::read_dir(outside.path()).expect("list").count(), 0);
}

#[test]
fn lengths_that_lie_are_found() {
    let mut forge = Forge::default();
    let chunk = forge.chunk(b"four");
    let data = |length| Segment::Data {
        hash: chunk,
        length,
    };
    let honest = FilePage::Leaf(vec![data(4), data(4)]);
    let honest = forge.file_page(&honest);
    let wrong_chunk = forge.file_page(&FilePage::Leaf(vec![data(4), data(5)]));
    let child = |hash, length| FileChild { hash, length };
    let inner = |children| FilePage::Inner { level: 1, children };
    let wrong_child = forge.file_page(&inner(vec![child(honest, 8), child(honest, 9)]));
    let wrong_level = FilePage::Inner {
        level: 2,
        children: vec![child(honest, 8); 2],
    };
    let wrong_level = forge.file_page(&wrong_level);
    for (size, content) in [
        (5, FileContent::Chunk(chunk)),
        (9, FileContent::Page(honest)),
        (9, FileContent::Page(wrong_chunk)),
        (17, FileContent::Page(wrong_child)),
        (16, FileContent::Page(wrong_level)),
    ] {
        let top = forge.directory(vec![("file", file(size, content))]);
        let error = forge.make(&top).expect_err("the lie is found");
        assert!(
            matches!(error, MaterialiseError::Inconsistent { .. }),
            "{error:?}"
        );
    }
    for content in [FileContent::Page(chunk), FileContent::Chunk(honest)] {
        let top = forge.directory(vec![("file", file(8, content))]);
        let error = forge.make(&top).expect_err("the kind is wrong");
        assert!(matches!(error, MaterialiseError::Fetch(_)), "{error:?}");
    }
}

#[test]
fn a_directory_whose_pages_disagree_is_refused() {
    let mut forge = Forge::default();
    let leaf = forge.directory(vec![("a", file(0, FileContent::Empty))]);
    let EntryValue::Inode(Inode {
        kind: InodeKind::Directory { tree: leaf },
        ..
    }) = leaf
    else {
        panic!("a directory");
    };
    let name = |name: &str| EntryName::new(name.as_bytes()).expect("a name");
    for children in [
        vec![TreeChild {
            last: name("b"),
            count: 1,
            hash: leaf,
        }],
        vec![TreeChild {
            last: name("a"),
            count: 2,
            hash: leaf,
        }],
        vec![
            TreeChild {
                last: name("a"),
                count: 1,
                hash: leaf,
            },
            TreeChild {
                last: name("b"),
                count: 1,
                hash: leaf,
            },
        ],
    ] {
        let page = TreePage::Inner { level: 1, children };
        let tree = forge.0.insert(Object::new(Kind::TreePage, page.encode()));
        let error = forge
            .make(&inode(InodeKind::Directory { tree }))
            .expect_err("refused");
        assert!(
            matches!(error, MaterialiseError::Inconsistent { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_tree_too_deep_or_too_large_is_refused_before_anything_is_written() {
    let mut forge = Forge::default();
    let mut deep = forge.directory(Vec::new());
    for _ in 1..256 {
        deep = forge.directory(vec![("d", deep)]);
    }
    forge.make(&deep).expect("just deep enough");
    deep = forge.directory(vec![("d", deep)]);
    assert!(matches!(forge.make(&deep), Err(MaterialiseError::TooDeep)));

    // Each level has ten times as many directories as the one below: ten thousand million in a dozen objects.
    let mut large = forge.directory(Vec::new());
    for _ in 0..10 {
        let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        large = forge.directory(names.map(|name| (name, large.clone())).to_vec());
    }
    assert!(matches!(
        forge.make(&large),
        Err(MaterialiseError::TooManyEntries)
    ));
}

#[test]
fn a_segment_list_that_unfolds_without_end_is_refused() {
    let mut forge = Forge::default();
    // Choose a chunk whose hash does not end a page early.
    let chunk = (0..=255u8)
        .map(|n| forge.chunk(&[n]))
        .find(|hash| hash.as_bytes()[0] & 0x7f != 0);
    let chunk = chunk.expect("most do");
    let segment = Segment::Data {
        hash: chunk,
        length: 1,
    };
    let mut page = FilePage::Leaf(vec![segment; 30]);
    for level in 1..12 {
        let length = page.size();
        let hash = forge.file_page(&page);
        page = FilePage::Inner {
            level,
            children: vec![FileChild { hash, length }; 30],
        };
    }
    let size = page.size();
    let top = forge.file_page(&page);
    let top = forge.directory(vec![("file", file(size, FileContent::Page(top)))]);
    assert!(matches!(
        forge.make(&top),
        Err(MaterialiseError::TooManyEntries)
    ));
}

#[test]
fn missing_objects_and_a_full_directory_are_errors() {
    let mut forge = Forge::default();
    let gone = file(4, FileContent::Chunk(ObjectHash::from_bytes([1; 32])));
    let top = forge.directory(vec![("file", gone)]);
    assert!(matches!(forge.make(&top), Err(MaterialiseError::Fetch(_))));
    let into = tempfile::tempdir().expect("a folder");
    std::fs::write(into.path().join("here"), "").expect("write");
    let top = forge.directory(Vec::new());
    let root = forge.root(&top);
    let made = forge.make_root(root, None, into.path());
    assert!(matches!(made, Err(MaterialiseError::NotEmpty { .. })));
}
