//! Tree and file pages: encoding and decoding are inverse, other bytes are refused, and small changes make few new
//! pages.

use std::collections::{HashMap, HashSet};

use dotmesh_model::ObjectHash;
use dotmesh_store::file_page::FileSpine;
use dotmesh_store::grow::{Grower, MAX_ITEMS_LENGTH, Spine};
use dotmesh_store::tree::TreeSpine;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, FilePage, Inode, InodeKind,
    InvalidObject, Kind, Object, Root, Segment, TreePage, Xattr, object_hash, references,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::arbitrary::{attributes, entries, hash, segments};

fn grow<S: Spine>(items: Vec<S::Leaf>) -> (ObjectHash, HashMap<ObjectHash, Object>) {
    let mut grower = Grower::<S>::default();
    let mut objects = Vec::new();
    for item in items {
        grower.push(item);
        objects.extend(grower.take_complete());
    }
    let (top, rest) = grower.finish();
    objects.extend(rest);
    let mut met = HashSet::new();
    for object in &objects {
        let below = references(object.kind(), object.bytes()).expect("what was made is valid");
        let pages = below.iter().filter(|(kind, _)| *kind == S::KIND);
        if level(object) > 0 {
            assert!(
                pages.into_iter().all(|(_, hash)| met.contains(hash)),
                "children come first"
            );
        }
        met.insert(object.hash());
    }
    assert_eq!(
        objects.last().map(Object::hash),
        Some(top),
        "the top comes last"
    );
    (
        top,
        objects
            .into_iter()
            .map(|object| (object.hash(), object))
            .collect(),
    )
}

fn level(object: &Object) -> u8 {
    object.bytes()[1]
}

fn read_tree(top: ObjectHash, objects: &HashMap<ObjectHash, Object>) -> Vec<Entry> {
    match TreePage::decode(objects[&top].bytes()).expect("decode") {
        TreePage::Leaf(entries) => entries,
        TreePage::Inner { children, .. } => children
            .iter()
            .flat_map(|child| read_tree(child.hash, objects))
            .collect(),
    }
}

fn read_file(top: ObjectHash, objects: &HashMap<ObjectHash, Object>) -> Vec<Segment> {
    match FilePage::decode(objects[&top].bytes()).expect("decode") {
        FilePage::Leaf(segments) => segments,
        FilePage::Inner { children, .. } => children
            .iter()
            .flat_map(|child| read_file(child.hash, objects))
            .collect(),
    }
}

/// Asserts that bytes that decode are the only encoding of their value.
fn assert_canonical(kind: Kind, bytes: &[u8]) {
    let again = match kind {
        Kind::FilePage => FilePage::decode(bytes).map(|page| page.encode()),
        Kind::TreePage => TreePage::decode(bytes).map(|page| page.encode()),
        Kind::Root => Root::decode(bytes).map(|root| root.encode()),
        Kind::Chunk => return,
    };
    assert_eq!(
        again.is_ok(),
        references(kind, bytes).is_ok(),
        "references validates in full"
    );
    if let Ok(again) = again {
        assert_eq!(again, bytes, "one encoding for each value");
    }
}

proptest! {
    #[test]
    fn directories_come_back(entries in entries(600)) {
        let (top, objects) = grow::<TreeSpine>(entries.clone());
        assert_eq!(read_tree(top, &objects), entries);
        let wanted: Vec<_> = entries.iter().filter_map(|entry| match &entry.value {
            EntryValue::Inode(inode) => match inode.kind {
                InodeKind::File { content: FileContent::Chunk(hash), .. } => Some((Kind::Chunk, hash)),
                InodeKind::File { content: FileContent::Page(hash), .. } => Some((Kind::FilePage, hash)),
                InodeKind::Directory { tree } => Some((Kind::TreePage, tree)),
                _ => None,
            },
            EntryValue::HardLink { .. } => None,
        }).collect();
        let mut told: Vec<_> = objects.values().filter(|object| level(object) == 0)
            .flat_map(|object| references(Kind::TreePage, object.bytes()).expect("valid"))
            .collect();
        let mut wanted = wanted;
        told.sort();
        wanted.sort();
        assert_eq!(told, wanted);
    }

    #[test]
    fn files_come_back(segments in segments(1500)) {
        let (top, objects) = grow::<FileSpine>(segments.clone());
        assert_eq!(read_file(top, &objects), segments);
    }

    #[test]
    fn roots_come_back(attributes in attributes(), tree in hash()) {
        let root = Root { attributes, tree };
        let bytes = root.encode();
        assert_eq!(Root::decode(&bytes).expect("decode"), root);
        assert_eq!(references(Kind::Root, &bytes), Ok(vec![(Kind::TreePage, tree)]));
    }

    #[test]
    fn random_bytes_are_an_error_or_canonical(
        bytes in prop::collection::vec(any::<u8>(), 0..300), versioned in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if versioned && bytes.len() > 2 {
            bytes[..2].copy_from_slice(&[1, 0]);
        }
        Kind::ALL.into_iter().for_each(|kind| assert_canonical(kind, &bytes));
    }

    #[test]
    fn damaged_pages_are_an_error_or_canonical(
        entries in entries(30), segments in segments(60), at in any::<Index>(), value in any::<u8>(), cut in any::<bool>(),
    ) {
        let tree = TreePage::Leaf(entries).encode();
        let file = FilePage::Leaf(segments).encode();
        for (kind, mut bytes) in [(Kind::TreePage, tree), (Kind::FilePage, file)] {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if cut {
                bytes.truncate(at);
            }
            assert_canonical(kind, &bytes);
        }
    }

    #[test]
    fn one_changed_item_changes_few_pages(
        seed in any::<u64>(), at in any::<Index>(), change in 0..3u8,
    ) {
        let chunk = |i: u64| Segment::Data {
            hash: object_hash(Kind::Chunk, &[seed.to_le_bytes(), i.to_le_bytes()].concat()),
            length: 16384,
        };
        let mut segments: Vec<_> = (0..20_000).map(chunk).collect();
        let (_, before) = grow::<FileSpine>(segments.clone());
        let place = at.index(segments.len());
        match change {
            0 => segments[place] = chunk(u64::MAX),
            1 => segments.insert(place, chunk(u64::MAX)),
            _ => drop(segments.remove(place)),
        }
        let (_, after) = grow::<FileSpine>(segments);
        let new = after.keys().filter(|hash| !before.contains_key(hash)).count();
        assert!(new <= 14, "{new} of {} pages", after.len());

        let entry = |i: usize, size| Entry {
            name: EntryName::new(format!("{:016x}", (i as u64).wrapping_mul(seed | 1)).as_bytes()).expect("a name"),
            value: EntryValue::Inode(Inode { attributes: Default::default(), kind: InodeKind::File { size, content: FileContent::Hole } }),
        };
        let mut entries: Vec<_> = (0..5000).map(|i| entry(i, 1)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        let (_, before) = grow::<TreeSpine>(entries.clone());
        let place = at.index(entries.len());
        if change == 2 {
            entries.remove(place);
        } else if let EntryValue::Inode(inode) = &mut entries[place].value {
            inode.attributes.mode = 1;
        }
        let (_, after) = grow::<TreeSpine>(entries);
        let new = after.keys().filter(|hash| !before.contains_key(hash)).count();
        assert!(new <= if change == 2 { 10 } else { 4 }, "{new} of {} pages", after.len());
    }
}

#[test]
fn an_empty_directory_is_one_empty_leaf() {
    let (top, objects) = grow::<TreeSpine>(Vec::new());
    assert_eq!(&objects[&top].bytes()[..], [1, 0]);
    assert_eq!(FilePage::decode(&[1, 0]), Err(InvalidObject::BadBoundary));
}

#[test]
fn what_no_honest_writer_makes_is_refused() {
    let hash = ObjectHash::from_bytes([1; 32]);
    let hole = |length| Segment::Hole { length };
    let data = |length| Segment::Data { hash, length };
    let file = |segments| FilePage::decode(&FilePage::Leaf(segments).encode());
    assert_eq!(file(vec![hole(1), hole(1)]), Err(InvalidObject::SplitHole));
    assert_eq!(file(vec![data(0)]), Err(InvalidObject::BadLength));
    assert_eq!(file(vec![data(65537)]), Err(InvalidObject::BadLength));
    assert_eq!(file(vec![hole(u64::MAX)]), Err(InvalidObject::BadLength));
    assert_eq!(
        file(vec![hole(1 << 62), data(1), hole(1 << 62)]),
        Err(InvalidObject::BadLength)
    );
    assert_eq!(file(vec![data(1); 513]), Err(InvalidObject::BadBoundary));
    let ending = Segment::Data {
        hash: ObjectHash::from_bytes([0; 32]),
        length: 1,
    };
    assert_eq!(file(vec![ending; 33]), Err(InvalidObject::BadBoundary));
    assert!(file(vec![ending; 32]).is_ok());

    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
        assert!(EntryName::new(name).is_err());
    }
    assert_eq!(
        TreePage::decode(&[2, 0]),
        Err(InvalidObject::UnknownVersion { version: 2 })
    );
    assert_eq!(
        TreePage::decode(&[1, 16]),
        Err(InvalidObject::BadLevel { level: 16 })
    );
    assert_eq!(TreePage::decode(&[1, 1]), Err(InvalidObject::BadBoundary));
}

#[test]
fn a_leaf_of_large_attributes_ends_early() {
    let entry = |name: &[u8], length| Entry {
        name: EntryName::new(name).expect("a name"),
        value: EntryValue::Inode(Inode {
            attributes: Attributes {
                xattrs: vec![Xattr {
                    name: (*b"user.large").into(),
                    value: vec![0; length].into(),
                }],
                ..Attributes::default()
            },
            kind: InodeKind::Fifo,
        }),
    };
    let decode = |entries| TreePage::decode(&TreePage::Leaf(entries).encode());
    let half = MAX_ITEMS_LENGTH / 2;
    assert!(decode(vec![entry(b"a", 3 * half)]).is_ok());
    assert!(decode(vec![entry(b"a", half - 100), entry(b"b", half - 100)]).is_ok());
    let too_much = vec![entry(b"a", half), entry(b"b", half)];
    assert_eq!(decode(too_much.clone()), Err(InvalidObject::BadBoundary));
    // The writer splits the entries where the reader requires it.
    let (_, objects) = grow::<TreeSpine>(too_much);
    assert_eq!(objects.len(), 3);
    for object in objects.values() {
        TreePage::decode(object.bytes()).expect("a page");
    }
}
