//! Random values of the format's types.

use dotmesh_model::ObjectHash;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, Inode, InodeKind, Segment, Timestamp,
    Xattr,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

pub(crate) fn hash() -> impl Strategy<Value = ObjectHash> {
    any::<[u8; 32]>().prop_map(ObjectHash::from_bytes)
}

pub(crate) fn name() -> impl Strategy<Value = EntryName> {
    vec(any::<u8>(), 1..20).prop_filter_map("a name", |bytes| EntryName::new(&bytes).ok())
}

pub(crate) fn attributes() -> impl Strategy<Value = Attributes> {
    let xattrs = btree_map(vec(1..=255u8, 1..20), vec(any::<u8>(), 0..40), 0..3);
    (
        0..=0o7777u16,
        0..u32::MAX,
        0..u32::MAX,
        any::<i64>(),
        0..1_000_000_000u32,
        xattrs,
    )
        .prop_map(
            |(mode, uid, gid, seconds, nanoseconds, xattrs)| Attributes {
                mode,
                uid,
                gid,
                mtime: Timestamp {
                    seconds,
                    nanoseconds,
                },
                xattrs: xattrs
                    .into_iter()
                    .map(|(name, value)| Xattr {
                        name: name.into(),
                        value: value.into(),
                    })
                    .collect(),
            },
        )
}

fn value() -> impl Strategy<Value = EntryValue> {
    let content = prop_oneof![
        Just((0, FileContent::Empty)),
        (1..=65536u64, hash()).prop_map(|(size, hash)| (size, FileContent::Chunk(hash))),
        (2..1u64 << 40, hash()).prop_map(|(size, hash)| (size, FileContent::Page(hash))),
        (1..1u64 << 40).prop_map(|size| (size, FileContent::Hole)),
    ];
    let kind = prop_oneof![
        content.prop_map(|(size, content)| InodeKind::File { size, content }),
        hash().prop_map(|tree| InodeKind::Directory { tree }),
        vec(1..=255u8, 1..60).prop_map(|target| InodeKind::Symlink {
            target: target.into()
        }),
        Just(InodeKind::Fifo),
    ];
    let inode = (attributes(), kind).prop_map(|(mut attributes, kind)| {
        if matches!(kind, InodeKind::Symlink { .. }) {
            attributes.mode = 0o777;
        }
        EntryValue::Inode(Inode { attributes, kind })
    });
    let link = vec(name(), 1..4).prop_map(|names| {
        let names: Vec<_> = names.iter().map(EntryName::as_bytes).collect();
        EntryValue::HardLink {
            first: names.join(&b'/').into(),
        }
    });
    prop_oneof![9 => inode, 1 => link]
}

/// Entries sorted by name, each name once.
pub(crate) fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    btree_map(name(), value(), 0..most).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(name, value)| Entry { name, value })
            .collect()
    })
}

/// Segments as in a file: no two adjacent holes.
pub(crate) fn segments(most: usize) -> impl Strategy<Value = Vec<Segment>> {
    let segment = prop_oneof![
        9 => (hash(), 1..=65536u32).prop_map(|(hash, length)| Segment::Data { hash, length }),
        1 => (1..1u64 << 40).prop_map(|length| Segment::Hole { length }),
    ];
    vec(segment, 2..most).prop_map(|mut segments| {
        segments.dedup_by(|a, b| matches!((a, b), (Segment::Hole { .. }, Segment::Hole { .. })));
        segments
    })
}
