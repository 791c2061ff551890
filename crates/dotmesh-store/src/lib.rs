//! Content-addressed objects: chunks, the tree pages and file pages that list them, packs, and stores of packs.
//!
//! This crate knows only bytes and hashes, not dots or users. `docs/format.md` specifies the format. A decoded value of
//! this crate always conforms to it.

pub mod attributes;
pub mod chunker;
pub mod error;
pub mod file_page;
pub mod group;
pub mod grow;
pub mod object;
pub mod pack;
pub mod pack_store;
pub mod polite;
pub mod references;
pub mod tree;
mod wire;

pub use attributes::{Attributes, EntryName, Timestamp, Xattr};
pub use error::InvalidObject;
pub use file_page::{FileChild, FilePage, Segment};
pub use group::{Group, GroupBase, GroupBytes, StoredFrame, StoredPackReader};
pub use object::{Kind, MAX_OBJECT_LENGTH, Object, ROOT_SEAL, object_hash, seal};
pub use pack::{Effort, Frame, FrameDecoder, FrameEncoder, PackError, PackReader, PackWriter};
pub use pack_store::{FrameRange, PackId, PackStore, PackStoreError};
pub use references::{End, Named, ObjectReference, named, references};
pub use tree::{Entry, EntryValue, FileContent, Inode, InodeKind, Root, TreeChild, TreePage};
