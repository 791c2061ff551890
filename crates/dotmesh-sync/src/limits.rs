//! The limits of what every pool can hold, whatever the size of its btrfs nodes. Only that is pushed.
//!
//! A pool in an image has btrfs nodes of 4 KiB, the smallest size. Each of these must fit into one item of such a node:
//! - an extended attribute,
//! - the target of a symlink,
//! - the names of a directory that have the same hash.

use std::collections::{HashMap, HashSet};

use dotmesh_store::attributes::MAX_XATTRS_LENGTH;
use dotmesh_store::tree::MAX_SYMLINK_LENGTH;
use dotmesh_store::{Attributes, Entry, EntryName, EntryValue, Inode, InodeKind, Xattr};

/// The largest item of a btrfs node of 4 KiB, in bytes: the node without its header and the item's header.
const MAX_ITEM: usize = 4096 - 101 - 25;

/// The bytes of an item that a name takes in addition to its own.
const NAME_HEADER: usize = 30;

/// The most bytes that the name and the value of an extended attribute may have together.
pub const MAX_XATTR_LENGTH: usize = MAX_ITEM - NAME_HEADER;

/// The most bytes that a symlink's target may have: an item without the header of an inline extent.
pub const MAX_TARGET_LENGTH: usize = MAX_ITEM - 21;

/// The limits by which a tree is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// The limits of every pool. Everything beyond them is left out.
    EveryPool,
    /// Only the limits of the format. A device node, and everything beyond the limits, is an error. Older versions
    /// sealed like this, before anything was left out.
    Format,
}

/// Adds up the lengths of names with the same hash, and tells whether they still fit.
#[derive(Default)]
struct Buckets(HashMap<u32, usize>);

impl Buckets {
    fn fits(&mut self, name: &[u8], value: usize) -> bool {
        let length = NAME_HEADER + name.len() + value;
        let taken = self.0.entry(name_hash(name)).or_default();
        if *taken + length > MAX_ITEM {
            return false;
        }
        *taken += length;
        true
    }
}

/// Splits extended attributes, sorted by name, into those that every pool can hold and the names of the others.
pub(crate) fn split_xattrs(xattrs: Vec<Xattr>) -> (Vec<Xattr>, Vec<Box<[u8]>>) {
    let mut buckets = Buckets::default();
    let mut total = 0;
    let (mut kept, mut left_out) = (Vec::with_capacity(xattrs.len()), Vec::new());
    for xattr in xattrs {
        let length = xattr.name.len() + xattr.value.len();
        if total + length <= MAX_XATTRS_LENGTH && buckets.fits(&xattr.name, xattr.value.len()) {
            total += length;
            kept.push(xattr);
        } else {
            left_out.push(xattr.name);
        }
    }
    (kept, left_out)
}

/// Returns the names of a directory that do not fit next to earlier names with the same hash. `names` is in the
/// directory's order.
pub(crate) fn colliding_names<'a>(
    names: impl ExactSizeIterator<Item = &'a EntryName>,
) -> HashSet<EntryName> {
    // So few names always fit.
    const FEW: usize = MAX_ITEM / (NAME_HEADER + 255);
    if names.len() <= FEW {
        return HashSet::new();
    }
    let mut buckets = Buckets::default();
    names
        .filter(|name| !buckets.fits(name.as_bytes(), 0))
        .cloned()
        .collect()
}

/// Whether every pool can hold a directory with these entries. They must be all entries of the directory.
pub(crate) fn can_be_held(entries: &[Entry]) -> bool {
    let exceeds = |entry: &Entry| match &entry.value {
        EntryValue::Inode(inode) => exceeded(&inode.attributes, target_of(inode)).is_some(),
        EntryValue::HardLink { .. } => false,
    };
    !entries.iter().any(exceeds)
        && colliding_names(entries.iter().map(|entry| &entry.name)).is_empty()
}

/// The target, if the inode is a symlink.
pub(crate) fn target_of(inode: &Inode) -> Option<&[u8]> {
    match &inode.kind {
        InodeKind::Symlink { target } => Some(target),
        _ => None,
    }
}

/// Describes the limit that a file exceeds, if it exceeds one.
pub(crate) fn exceeded(attributes: &Attributes, target: Option<&[u8]>) -> Option<String> {
    if let Some(length) = target.map(<[u8]>::len)
        && length > MAX_TARGET_LENGTH
    {
        return Some(format!(
            "the link's target has {length} bytes, and every pool can hold at most {MAX_TARGET_LENGTH}"
        ));
    }
    let mut buckets = Buckets::default();
    let mut beyond = attributes
        .xattrs
        .iter()
        .filter(|xattr| !buckets.fits(&xattr.name, xattr.value.len()));
    beyond.next().map(|xattr| {
        format!(
            "the extended attribute {} has {} bytes with its name, and every pool can hold at most {MAX_XATTR_LENGTH}",
            crate::disk::show(&xattr.name),
            xattr.name.len() + xattr.value.len()
        )
    })
}

const _: () = assert!(MAX_TARGET_LENGTH <= MAX_SYMLINK_LENGTH);

/// The hash by which btrfs finds a name: CRC-32C with its own seed.
fn name_hash(name: &[u8]) -> u32 {
    name.iter().fold(!1, |crc, byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        let plain = b"123456789".iter().fold(!0, |crc: u32, byte| {
            (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
        });
        assert_eq!(!plain, 0xe306_9283, "its check value");
    }

    #[test]
    fn attributes_are_kept_in_their_order_as_far_as_they_fit() {
        let xattr = |name: &str, length: usize| Xattr {
            name: name.as_bytes().into(),
            value: vec![7; length].into(),
        };
        let largest = MAX_XATTR_LENGTH - "user.a".len();
        let (kept, left) = split_xattrs(vec![
            xattr("user.a", largest),
            xattr("user.b", largest + 1),
            xattr("user.c", 0),
        ]);
        assert_eq!(kept, [xattr("user.a", largest), xattr("user.c", 0)]);
        assert_eq!(left, [b"user.b".to_vec().into_boxed_slice()]);
        let many: Vec<_> = (0..200)
            .map(|n| xattr(&format!("user.{n:03}"), 3000))
            .collect();
        let (kept, left) = split_xattrs(many);
        assert_eq!(kept.len(), MAX_XATTRS_LENGTH / 3008);
        assert_eq!(kept.len() + left.len(), 200);
    }
}
