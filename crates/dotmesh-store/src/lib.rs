//! Content-addressed objects: chunks, the nodes that list them, packs of them, and where packs rest.
//!
//! Knows bytes and hashes only: no dots, no users. `docs/format.md` is the format's specification; whoever
//! holds a decoded value of this crate holds one that follows it.

pub mod attributes;
pub mod chunker;
pub mod error;
pub mod file_node;
pub mod grow;
pub mod object;
pub mod pack;
pub mod pack_store;
pub mod polite;
pub mod references;
pub mod tree;
mod wire;

pub use attributes::{Attributes, EntryName, Timestamp, Xattr};
pub use error::InvalidNode;
pub use file_node::{FileChild, FileNode, Segment};
pub use object::{Kind, MAX_OBJECT_LENGTH, Object, ROOT_SEAL, object_hash, seal};
pub use pack::{Effort, Frame, FrameDecoder, FrameEncoder, PackError, PackReader, PackWriter};
pub use pack_store::{FrameRange, PackId, PackStore, PackStoreError};
pub use references::{End, Named, Reference, named, references};
pub use tree::{Entry, FileContent, Inode, InodeKind, Node, Root, TreeChild, TreeNode};
