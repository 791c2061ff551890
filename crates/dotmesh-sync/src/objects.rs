//! Where objects go to and come from.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object, PackError};

use crate::retry::HubError;

/// An object of a sealed directory.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The object.
    pub object: Object,
    /// One of the base that it probably has much in common with.
    pub like: Option<Like>,
}

/// An object of the base.
#[derive(Debug, Clone)]
pub enum Like {
    /// A chunk, which is read only when it is needed.
    Chunk {
        /// Its hash.
        hash: ObjectHash,
        /// A file that has it.
        file: Arc<File>,
        /// Where it is in the file.
        offset: u64,
        /// How long it is.
        length: u32,
        /// How much further back it begins than the object.
        skew: i32,
        /// What of the file has to be read: the rest of the chunk is what the object has at the same place.
        differs: Range<u64>,
    },
    /// A node.
    Node(Object),
}

impl Like {
    /// Its hash.
    pub fn hash(&self) -> ObjectHash {
        match self {
            Self::Chunk { hash, .. } => *hash,
            Self::Node(node) => node.hash(),
        }
    }

    /// The bytes of what `object` is like; `None` when they cannot be read. They are not verified: who is sent a delta
    /// from others than it has notices. Blocks.
    pub fn read(&self, object: &Object) -> Option<Bytes> {
        let (file, offset, length, skew, differs) = match self {
            Self::Node(node) => return Some(node.bytes().clone()),
            Self::Chunk {
                file,
                offset,
                length,
                skew,
                differs,
                ..
            } => (file, *offset, *length, *skew, differs.clone()),
        };
        let end = offset + u64::from(length);
        let start = offset.checked_add_signed(i64::from(skew))?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        for same in [offset..differs.start, differs.end..end] {
            if !same.is_empty() {
                let there = object.bytes().get(within(&same, start)?)?;
                bytes
                    .get_mut(within(&same, offset)?)?
                    .copy_from_slice(there);
            }
        }
        let read = bytes.get_mut(within(&differs, offset)?)?;
        file.read_exact_at(read, differs.start).ok()?;
        Some(bytes.into())
    }
}

/// A range of a file, counted from an offset.
fn within(range: &Range<u64>, offset: u64) -> Option<Range<usize>> {
    let from = |at: u64| usize::try_from(at.checked_sub(offset)?).ok();
    Some(from(range.start)?..from(range.end)?)
}

/// Takes the objects of a sealed directory.
pub trait ObjectSink: Send {
    /// Takes some objects, in any order; one may come several times.
    fn put(&mut self, objects: Vec<Fresh>) -> impl Future<Output = Result<(), HubError>> + Send;
}

/// Gives objects by their hashes.
pub trait ObjectSource: Send + Sync + 'static {
    /// The objects of these hashes in the order asked, verified, all of them of this kind.
    ///
    /// The caller asks for so many that the answer fits into memory.
    fn fetch(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
    ) -> impl Future<Output = Result<Vec<Object>, FetchError>> + Send;
}

/// Why objects did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The hub did not send them.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// They came damaged.
    #[error("what the hub sent is damaged")]
    Damaged(#[from] PackError),
    /// Another object came, or one more than asked for.
    #[error("the hub sent an object that was not asked for")]
    NotAskedFor,
    /// It is not there.
    #[error("the object {hash} is missing")]
    Missing { hash: ObjectHash },
    /// It is there, but is a chunk where a node must be, or the like.
    #[error("the object {hash} is not of the kind that it must be here")]
    WrongKind { hash: ObjectHash },
}

/// Forgets every object: for sealing without sending.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSink;

impl ObjectSink for NullSink {
    async fn put(&mut self, _: Vec<Fresh>) -> Result<(), HubError> {
        Ok(())
    }
}

/// Keeps objects in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryObjects {
    objects: HashMap<ObjectHash, Object>,
}

impl MemoryObjects {
    /// Adds one object and returns its hash.
    pub fn insert(&mut self, object: Object) -> ObjectHash {
        let hash = object.hash();
        self.objects.insert(hash, object);
        hash
    }

    /// An object, if it is there.
    pub fn get(&self, hash: ObjectHash) -> Option<&Object> {
        self.objects.get(&hash)
    }

    /// Every object, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }
}

impl ObjectSink for MemoryObjects {
    async fn put(&mut self, objects: Vec<Fresh>) -> Result<(), HubError> {
        let objects = objects.into_iter().map(|fresh| fresh.object);
        self.objects
            .extend(objects.map(|object| (object.hash(), object)));
        Ok(())
    }
}

impl ObjectSource for MemoryObjects {
    async fn fetch(&self, kind: Kind, hashes: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
        hashes
            .iter()
            .map(|hash| {
                let object = self.get(*hash).ok_or(FetchError::Missing { hash: *hash })?;
                check_kind(kind, object)?;
                Ok(object.clone())
            })
            .collect()
    }
}

pub(crate) fn check_kind(kind: Kind, object: &Object) -> Result<(), FetchError> {
    if object.kind() == kind {
        Ok(())
    } else {
        Err(FetchError::WrongKind {
            hash: object.hash(),
        })
    }
}
