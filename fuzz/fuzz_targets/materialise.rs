//! Small sets of valid and forged objects are materialised. Nothing outside the directory is touched. A result can be
//! sealed, materialised again, and reached from another tree.

#![no_main]

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use dotmesh_model::ObjectHash;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileChild, FileContent, FilePage, Inode, InodeKind,
    Kind, Object, Root, Segment, Timestamp, TreeChild, TreePage, Xattr,
};
use dotmesh_sync::{Base, MaterialiseError, MemoryObjects, Target, materialise, seal_directory};
use libfuzzer_sys::arbitrary::{self, Unstructured};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

/// Names in the order of a directory.
const NAMES: [&[u8]; 8] = [
    b"..x",
    b"a",
    b"b",
    b"link",
    b"out",
    b"sub",
    b"\xff",
    b"\xff\xfe",
];

/// Link targets besides the names. `outside` is a file next to the directory.
const TARGETS: [&[u8]; 8] = [
    b"../outside",
    b"out/outside",
    b"sub/a",
    b"sub/../../outside",
    b"..",
    b"/",
    b"sub//a",
    b"a/b",
];

/// Larger files would be valid, but would fill the disk.
const MAX_SIZE: u64 = 1 << 22;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

fuzz_target!(|data: &[u8]| {
    let mut forge = Forge {
        input: Unstructured::new(data),
        objects: MemoryObjects::default(),
        made: Vec::new(),
    };
    let _ = forge.forge();
    let made = |kind| {
        forge
            .made
            .iter()
            .rev()
            .filter(move |known| known.kind == kind)
            .map(|known| known.hash)
    };
    let mut roots: Vec<ObjectHash> = made(Kind::TreePage)
        .take(2)
        .map(|tree| {
            let root = Root {
                attributes: Attributes {
                    mode: 0o755,
                    ..Attributes::default()
                },
                tree,
            };
            Object::new(Kind::Root, root.encode())
        })
        .map(|root| forge.objects.insert(root))
        .collect();
    roots.splice(0..0, made(Kind::Root).take(2));
    roots.truncate(2);
    try_out(&forge.objects, &roots);
});

fn try_out(objects: &MemoryObjects, roots: &[ObjectHash]) {
    let temp = tempfile::tempdir().expect("a folder");
    std::fs::write(temp.path().join("outside"), "secret").expect("write");
    let folder = |name: &str| temp.path().join(name);
    let mut whole = Vec::new();
    for (name, root) in ["first", "second"].into_iter().zip(roots) {
        let into = folder(name);
        if make(objects, *root, None, &into).is_err() {
            continue;
        }
        let (sealed, root_again) = seal(&into);
        let again = folder(&format!("{name}-again"));
        make(&sealed, root_again, None, &again).expect("what was sealed can be made");
        assert_eq!(seal(&again).1, root_again, "and seals to the same");
        whole.push((*root, into, again, root_again));
    }
    if let [(first, data, into, _), (second, _, _, wanted)] = &whole[..] {
        let base = Base {
            root: *first,
            data: data.clone(),
        };
        // The base was materialised from another root with the same files.
        make(objects, *second, Some(base), into).expect("one tree leads to another");
        assert_eq!(
            seal(into).1,
            *wanted,
            "with a base or without, it is the same"
        );
    }
    let ours = ["first", "first-again", "second", "second-again"].map(folder);
    let mut left: Vec<PathBuf> = std::fs::read_dir(temp.path())
        .expect("list")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    left.retain(|path| !ours.contains(path));
    assert_eq!(left, [folder("outside")]);
    assert_eq!(std::fs::read(folder("outside")).expect("read"), b"secret");
    let outside = std::fs::metadata(folder("outside")).expect("stat");
    assert_eq!((outside.nlink(), outside.mode() & 0o7777), (1, 0o644));
}

fn make(
    objects: &MemoryObjects,
    root: ObjectHash,
    base: Option<Base>,
    into: &Path,
) -> Result<(), MaterialiseError> {
    let _ = std::fs::create_dir(into);
    let target = Target {
        root,
        base,
        into: into.to_owned(),
        resumed: false,
    };
    RUNTIME.block_on(materialise(
        &Arc::new(objects.clone()),
        &target,
        &Arc::default(),
    ))
}

fn seal(directory: &Path) -> (MemoryObjects, ObjectHash) {
    let mut objects = MemoryObjects::default();
    let progress = Arc::default();
    let sealed = seal_directory(directory, None, None, &mut objects, &progress);
    let sealed = RUNTIME
        .block_on(sealed)
        .expect("what was made can be sealed");
    (objects, sealed.root)
}

/// An object, with the values that its parent must state.
#[derive(Clone)]
struct Made {
    kind: Kind,
    hash: ObjectHash,
    level: u8,
    size: u64,
    last: Option<EntryName>,
}

struct Forge<'a> {
    input: Unstructured<'a>,
    objects: MemoryObjects,
    made: Vec<Made>,
}

impl Forge<'_> {
    /// Makes objects until the input ends.
    fn forge(&mut self) -> arbitrary::Result<()> {
        while !self.input.is_empty() && self.made.len() < 40 {
            match self.input.int_in_range(0..=6)? {
                0 => self.chunk()?,
                1 => self.file_leaf()?,
                2 => self.file_inner()?,
                3 | 4 => self.tree_leaf()?,
                5 => self.tree_inner()?,
                _ => {
                    let root = Root {
                        attributes: self.attributes()?,
                        tree: self.pick(Kind::TreePage)?.hash,
                    };
                    self.keep(Kind::Root, root.encode(), 0, 0, None);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, kind: Kind, bytes: Vec<u8>, level: u8, size: u64, last: Option<EntryName>) {
        let hash = self.objects.insert(Object::new(kind, bytes));
        self.made.push(Made {
            kind,
            hash,
            level,
            size,
            last,
        });
    }

    /// Whether the next value is false.
    fn lies(&mut self) -> arbitrary::Result<bool> {
        self.input.ratio(1, 24)
    }

    fn pick(&mut self, kind: Kind) -> arbitrary::Result<Made> {
        let lies = self.lies()?;
        let fitting: Vec<Made> = self
            .made
            .iter()
            .filter(|made| lies || made.kind == kind)
            .cloned()
            .collect();
        if fitting.is_empty() {
            let nothing = Made {
                kind,
                hash: ObjectHash::from_bytes([7; 32]),
                level: 0,
                size: 1,
                last: None,
            };
            return Ok(nothing);
        }
        Ok(self.input.choose(&fitting)?.clone())
    }

    fn stated(&mut self, size: u64) -> arbitrary::Result<u64> {
        if self.lies()? {
            self.input.int_in_range(0..=MAX_SIZE)
        } else {
            Ok(size)
        }
    }

    fn chunk(&mut self) -> arbitrary::Result<()> {
        let (byte, length) = (
            self.input.arbitrary()?,
            self.input.int_in_range(1..=9000u64)?,
        );
        self.keep(Kind::Chunk, vec![byte; length as usize], 0, length, None);
        Ok(())
    }

    fn file_leaf(&mut self) -> arbitrary::Result<()> {
        let mut segments = Vec::new();
        for _ in 0..self.input.int_in_range(1..=6)? {
            let is_hole = self.input.ratio(1, 3)?;
            segments.push(if is_hole {
                Segment::Hole {
                    length: self.input.int_in_range(1..=40_000)?,
                }
            } else {
                let chunk = self.pick(Kind::Chunk)?;
                Segment::Data {
                    hash: chunk.hash,
                    length: u32::try_from(self.stated(chunk.size)?).unwrap_or(1),
                }
            });
        }
        let page = FilePage::Leaf(segments);
        self.keep(Kind::FilePage, page.encode(), 0, page.size(), None);
        Ok(())
    }

    fn file_inner(&mut self) -> arbitrary::Result<()> {
        let mut children = Vec::new();
        let mut level = 0;
        for _ in 0..self.input.int_in_range(1..=4)? {
            let child = self.pick(Kind::FilePage)?;
            level = level.max(child.level);
            children.push(FileChild {
                hash: child.hash,
                length: self.stated(child.size)?,
            });
        }
        let page = FilePage::Inner {
            level: level + 1,
            children,
        };
        if page.size() <= MAX_SIZE {
            self.keep(Kind::FilePage, page.encode(), level + 1, page.size(), None);
        }
        Ok(())
    }

    fn tree_leaf(&mut self) -> arbitrary::Result<()> {
        let mut entries = Vec::new();
        let chosen: u8 = self.input.arbitrary()?;
        for (n, name) in NAMES.iter().enumerate() {
            if chosen >> n & 1 == 1 {
                entries.push(Entry {
                    name: EntryName::new(name).expect("a name"),
                    value: self.value()?,
                });
            }
        }
        let (count, last) = (
            entries.len() as u64,
            entries.last().map(|entry| entry.name.clone()),
        );
        self.keep(
            Kind::TreePage,
            TreePage::Leaf(entries).encode(),
            0,
            count,
            last,
        );
        Ok(())
    }

    fn tree_inner(&mut self) -> arbitrary::Result<()> {
        let mut children = Vec::new();
        let mut level = 0;
        for _ in 0..self.input.int_in_range(1..=3)? {
            let child = self.pick(Kind::TreePage)?;
            level = level.max(child.level);
            let last = match child.last {
                Some(last) if !self.lies()? => last,
                _ => EntryName::new(self.input.choose(&NAMES)?).expect("a name"),
            };
            children.push(TreeChild {
                last,
                count: self.stated(child.size)?,
                hash: child.hash,
            });
        }
        let last = children.last().map(|child| child.last.clone());
        let count = children.iter().map(|child| child.count).sum();
        self.keep(
            Kind::TreePage,
            TreePage::Inner {
                level: level + 1,
                children,
            }
            .encode(),
            level + 1,
            count,
            last,
        );
        Ok(())
    }

    fn value(&mut self) -> arbitrary::Result<EntryValue> {
        let kind = match self.input.int_in_range(0..=7)? {
            0 => InodeKind::File {
                size: 0,
                content: FileContent::Empty,
            },
            1 => InodeKind::File {
                size: self.input.int_in_range(1..=MAX_SIZE)?,
                content: FileContent::Hole,
            },
            2 => {
                let chunk = self.pick(Kind::Chunk)?;
                InodeKind::File {
                    size: self.stated(chunk.size)?,
                    content: FileContent::Chunk(chunk.hash),
                }
            }
            3 => {
                let page = self.pick(Kind::FilePage)?;
                InodeKind::File {
                    size: self.stated(page.size)?,
                    content: FileContent::Page(page.hash),
                }
            }
            4 => InodeKind::Directory {
                tree: self.pick(Kind::TreePage)?.hash,
            },
            5 => InodeKind::Symlink {
                target: self.link()?,
            },
            6 => InodeKind::Fifo,
            _ => {
                return Ok(EntryValue::HardLink {
                    first: self.link()?,
                });
            }
        };
        let mut attributes = self.attributes()?;
        if matches!(kind, InodeKind::Symlink { .. }) {
            attributes.mode = 0o777;
        }
        Ok(EntryValue::Inode(Inode { attributes, kind }))
    }

    fn link(&mut self) -> arbitrary::Result<Box<[u8]>> {
        let links = if self.input.ratio(1, 3)? {
            &TARGETS
        } else {
            &NAMES
        };
        Ok((*self.input.choose(links)?).into())
    }

    fn attributes(&mut self) -> arbitrary::Result<Attributes> {
        if self.input.ratio(1, 2)? {
            return Ok(Attributes {
                mode: 0o700,
                ..Attributes::default()
            });
        }
        let xattrs = match self.input.int_in_range(0..=3)? {
            0 => vec![Xattr {
                name: (*b"trusted.note").into(),
                value: [1, 2].into(),
            }],
            1 => vec![Xattr {
                name: (*b"../name").into(),
                value: [].into(),
            }],
            _ => Vec::new(),
        };
        Ok(Attributes {
            mode: self.input.int_in_range(0..=0o7777)?,
            uid: self.input.int_in_range(0..=3)?,
            gid: self.input.int_in_range(0..=3)?,
            mtime: Timestamp {
                seconds: self.input.int_in_range(-3..=2_000_000_000)?,
                nanoseconds: self.input.int_in_range(0..=999_999_999)?,
            },
            xattrs,
        })
    }
}
