//! Lists the objects that an object refers to, for walks over all objects of a commit.

use dotmesh_model::ObjectHash;

use crate::chunker::MAX_CHUNK;
use crate::error::InvalidObject;
use crate::file_page::{FilePage, Segment};
use crate::object::Kind;
use crate::tree::{EntryValue, FileContent, InodeKind, Root, TreePage};

/// The kind and the hash of an object.
pub type ObjectReference = (Kind, ObjectHash);

/// The end of a range of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The range ends before this byte.
    Offset(u64),
    /// The range ends with this name.
    Name(Box<[u8]>),
}

/// A reference in an object, and its range in the file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The object.
    pub reference: ObjectReference,
    /// The end of its range. The range begins where the one before it ends. It includes the holes, and the entries
    /// without an object, that come before the referenced object.
    pub end: End,
    /// Whether it is a page of the same file or directory, below this one.
    pub is_part: bool,
}

/// Returns the objects that a verified object refers to, in its order. Validates this object in full. The levels,
/// counts and sizes of several pages are compared when the pages are read together.
pub fn references(kind: Kind, bytes: &[u8]) -> Result<Vec<ObjectReference>, InvalidObject> {
    let named = named(kind, bytes, None)?;
    Ok(named.into_iter().map(|named| named.reference).collect())
}

/// Like [`references`], with the ranges. `after` is where the page begins in its file or directory, and `None` is the
/// start.
pub fn named(kind: Kind, bytes: &[u8], after: Option<&End>) -> Result<Vec<Named>, InvalidObject> {
    match kind {
        Kind::Chunk if (1..=MAX_CHUNK).contains(&bytes.len()) => Ok(Vec::new()),
        Kind::Chunk => Err(InvalidObject::BadLength),
        Kind::Root => Ok(vec![Named {
            reference: (Kind::TreePage, Root::decode(bytes)?.tree),
            end: End::Offset(0),
            is_part: false,
        }]),
        Kind::FilePage => Ok(in_file(FilePage::decode(bytes)?, after)),
        Kind::TreePage => Ok(in_directory(TreePage::decode(bytes)?)),
    }
}

fn in_file(page: FilePage, after: Option<&End>) -> Vec<Named> {
    let mut offset = match after {
        Some(End::Offset(offset)) => *offset,
        Some(End::Name(_)) | None => 0,
    };
    let mut advance = |length| {
        // An impossible sum is refused when the pages are read together.
        offset = u64::saturating_add(offset, length);
        End::Offset(offset)
    };
    match page {
        FilePage::Leaf(segments) => segments
            .iter()
            .filter_map(|segment| {
                let end = advance(segment.length());
                match segment {
                    Segment::Data { hash, .. } => Some(Named {
                        reference: (Kind::Chunk, *hash),
                        end,
                        is_part: false,
                    }),
                    Segment::Hole { .. } => None,
                }
            })
            .collect(),
        FilePage::Inner { children, .. } => children
            .iter()
            .map(|child| Named {
                reference: (Kind::FilePage, child.hash),
                end: advance(child.length),
                is_part: true,
            })
            .collect(),
    }
}

fn in_directory(page: TreePage) -> Vec<Named> {
    match page {
        TreePage::Leaf(entries) => entries
            .iter()
            .filter_map(|entry| {
                Some(Named {
                    reference: reference(&entry.value)?,
                    end: End::Name(entry.name.as_bytes().into()),
                    is_part: false,
                })
            })
            .collect(),
        TreePage::Inner { children, .. } => children
            .iter()
            .map(|child| Named {
                reference: (Kind::TreePage, child.hash),
                end: End::Name(child.last.as_bytes().into()),
                is_part: true,
            })
            .collect(),
    }
}

fn reference(value: &EntryValue) -> Option<ObjectReference> {
    let EntryValue::Inode(inode) = value else {
        return None;
    };
    match &inode.kind {
        InodeKind::File {
            content: FileContent::Chunk(hash),
            ..
        } => Some((Kind::Chunk, *hash)),
        InodeKind::File {
            content: FileContent::Page(hash),
            ..
        } => Some((Kind::FilePage, *hash)),
        InodeKind::Directory { tree } => Some((Kind::TreePage, *tree)),
        InodeKind::File { .. } | InodeKind::Symlink { .. } | InodeKind::Fifo => None,
    }
}
