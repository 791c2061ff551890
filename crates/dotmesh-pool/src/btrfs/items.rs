//! Decodes tree items about inodes, their names and their data. The kernel's `linux/btrfs_tree.h` defines the layouts.

use super::ioctl::{u16_at, u64_at};

pub(super) const INODE_ITEM: u32 = 1;
pub(super) const INODE_REF: u32 = 12;
pub(super) const INODE_EXTREF: u32 = 13;
pub(super) const EXTENT_DATA: u32 = 108;
pub(super) const ROOT_REF: u32 = 156;

const INLINE: u8 = 0;
const REGULAR: u8 = 1;

/// A `btrfs_inode_item`.
#[derive(Debug, Clone, Copy)]
pub(super) struct InodeItem {
    /// The transaction that created the inode. Its number can later be used for another inode.
    pub(super) generation: u64,
    /// The transaction that last changed its attributes, names, directory entries or data.
    pub(super) changed: u64,
    pub(super) size: u64,
    pub(super) links: u32,
    pub(super) mode: u32,
}

impl InodeItem {
    pub(super) fn read(body: &[u8]) -> Self {
        Self {
            generation: u64_at(body, 0),
            changed: u64_at(body, 8),
            size: u64_at(body, 16),
            links: super::ioctl::u32_at(body, 40),
            mode: super::ioctl::u32_at(body, 52),
        }
    }

    pub(super) fn is_file(self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }
}

/// A name of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The inode of the directory.
    pub(super) parent: u64,
    pub(super) name: Box<[u8]>,
}

/// The names in an `INODE_REF` item. The offset of the item's key is the inode of the directory.
pub(super) fn names(parent: u64, mut body: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    while body.len() > 10 {
        let end = 10 + usize::from(u16_at(body, 8));
        let Some(name) = body.get(10..end) else { break };
        names.push(Name {
            parent,
            name: name.into(),
        });
        body = &body[end..];
    }
    names
}

/// The names in an `INODE_EXTREF` item, which is used when the names do not fit into an `INODE_REF` item.
pub(super) fn extended_names(mut body: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    while body.len() > 18 {
        let end = 18 + usize::from(u16_at(body, 16));
        let Some(name) = body.get(18..end) else { break };
        names.push(Name {
            parent: u64_at(body, 0),
            name: name.into(),
        });
        body = &body[end..];
    }
    names
}

/// The name of a subvolume in a `ROOT_REF` item: a `btrfs_root_ref`, followed by the name.
pub(super) fn subvolume_name(body: &[u8]) -> Option<Name> {
    let end = 18 + usize::from(u16_at(body, 16));
    Some(Name {
        parent: u64_at(body, 0),
        name: body.get(18..end)?.into(),
    })
}

/// The length of the data of a `btrfs_file_extent_item`, in bytes. A hole has length 0.
pub(super) fn data_length(body: &[u8]) -> u64 {
    match body.get(20) {
        Some(&INLINE) => u64_at(body, 8),
        Some(_) if u64_at(body, 21) != 0 => u64_at(body, 45),
        _ => 0,
    }
}

/// A part of a file that has data. The ranges between extents are holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) source: Source,
}

/// The place of the data. Equal sources mean equal bytes while both snapshots exist, since btrfs never overwrites the data
/// of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// In the item itself.
    Inline(Box<[u8]>),
    /// On disk, in the extent at this address. The offset in the extent is the offset in the file plus `skew` (wrapping).
    Disk { address: u64, skew: u64 },
}

impl Extent {
    /// Decodes the `btrfs_file_extent_item` at a file offset. `None` for a hole, and for space that is preallocated and was
    /// never written, which reads as zeros, too.
    pub(super) fn read(start: u64, body: &[u8]) -> Option<Self> {
        match *body.get(20)? {
            INLINE => Some(Self {
                start,
                end: start.checked_add(u64_at(body, 8))?,
                // Includes the compression type, since the bytes depend on it.
                source: Source::Inline(body[16..].into()),
            }),
            REGULAR if u64_at(body, 21) != 0 => Some(Self {
                start,
                end: start.checked_add(u64_at(body, 45))?,
                source: Source::Disk {
                    address: u64_at(body, 21),
                    skew: u64_at(body, 37).wrapping_sub(start),
                },
            }),
            _ => None,
        }
    }
}
