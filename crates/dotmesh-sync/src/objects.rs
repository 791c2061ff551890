//! Sinks and sources of objects.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object, PackError};

use crate::retry::HubRequestError;

/// An object of a sealed directory.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The object.
    pub object: Object,
    /// A possible delta base: an object of the base that probably has much in common with this one.
    pub like: Option<Like>,
}

/// A possible delta base.
#[derive(Debug, Clone)]
pub enum Like {
    /// A chunk. It is read only when it is needed.
    Chunk {
        /// Its hash.
        hash: ObjectHash,
        /// A file that contains the chunk.
        file: Arc<File>,
        /// The position in the file.
        offset: u64,
        /// The length in bytes.
        length: u32,
        /// The number of bytes by which the chunk begins before the object.
        skew: i32,
        /// The range of the file that must be read. The object has the same bytes as the rest of the chunk, at the same
        /// place of the file.
        differs: Range<u64>,
    },
    /// A tree page or file page.
    Page(Object),
}

impl Like {
    /// The hash of the delta base.
    pub fn hash(&self) -> ObjectHash {
        match self {
            Self::Chunk { hash, .. } => *hash,
            Self::Page(page) => page.hash(),
        }
    }

    /// Returns the bytes of the delta base for `object`, or `None` if they can't be read. Blocks. The bytes are not
    /// verified: the receiver of a delta notices if its delta base has other bytes.
    pub fn read(&self, object: &Object) -> Option<Bytes> {
        let (file, offset, length, skew, differs) = match self {
            Self::Page(page) => return Some(page.bytes().clone()),
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

/// A range of a file, relative to an offset.
fn within(range: &Range<u64>, offset: u64) -> Option<Range<usize>> {
    let from = |at: u64| usize::try_from(at.checked_sub(offset)?).ok();
    Some(from(range.start)?..from(range.end)?)
}

/// Receives the objects of a sealed directory.
pub trait ObjectSink: Send {
    /// Receives some objects, in any order. The same object may come several times.
    fn put(
        &mut self,
        objects: Vec<Fresh>,
    ) -> impl Future<Output = Result<(), HubRequestError>> + Send;
}

/// Returns objects by their hashes.
pub trait ObjectSource: Send + Sync + 'static {
    /// Returns the verified objects with these hashes, in the order of `hashes`. All of them have this kind.
    ///
    /// The caller must limit the number of hashes so that the answer fits into memory.
    fn fetch(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
    ) -> impl Future<Output = Result<Vec<Object>, FetchError>> + Send;
}

/// The reason why objects could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The hub did not send the objects.
    #[error(transparent)]
    Hub(#[from] HubRequestError),
    /// The objects arrived damaged.
    #[error("what the hub sent is damaged")]
    Damaged(#[from] PackError),
    /// The hub sent an object that was not requested, or more objects than requested.
    #[error("the hub sent an object that was not asked for")]
    NotAskedFor,
    /// The object is not there.
    #[error("the object {hash} is missing")]
    Missing { hash: ObjectHash },
    /// The object has another kind than required, for example it is a chunk instead of a page.
    #[error("the object {hash} is not of the kind that it must be here")]
    WrongKind { hash: ObjectHash },
}

/// Discards every object, for sealing without sending.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSink;

impl ObjectSink for NullSink {
    async fn put(&mut self, _: Vec<Fresh>) -> Result<(), HubRequestError> {
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

    /// All objects, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }
}

impl ObjectSink for MemoryObjects {
    async fn put(&mut self, objects: Vec<Fresh>) -> Result<(), HubRequestError> {
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
