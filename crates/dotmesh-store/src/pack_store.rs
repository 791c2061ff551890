//! Where packs rest: a folder, or any other object store.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_model::ids::InvalidId;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::pack::MAX_PACK_LENGTH;

/// Names a pack: the BLAKE3 hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(ObjectHash);

impl PackId {
    /// The id of a pack.
    pub fn of(pack: &[u8]) -> Self {
        Self(ObjectHash::from_bytes(*blake3::hash(pack).as_bytes()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Wraps raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(ObjectHash::from_bytes(bytes))
    }

    fn path(self) -> object_store::path::Path {
        let name = self.to_string();
        object_store::path::Path::from_iter(["packs", &name[..2], &name])
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PackId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self)
    }
}

/// Where in a pack a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRange {
    /// Its first byte.
    pub offset: u32,
    /// Its length, header included.
    pub length: u32,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum PackStoreError {
    /// The folder cannot be used.
    #[error("cannot use {folder} for packs")]
    Open {
        folder: String,
        #[source]
        source: object_store::Error,
    },
    /// More than [`MAX_PACK_LENGTH`].
    #[error("a pack may have at most {MAX_PACK_LENGTH} bytes, got {length}")]
    TooLong { length: usize },
    /// The pack is not in the store, although it should be.
    #[error("the pack {pack} is not in the store")]
    NotFound { pack: PackId },
    /// What is stored under a pack's id is not that pack.
    #[error("the pack {pack} is damaged in the store")]
    Damaged { pack: PackId },
    /// The store failed.
    #[error("cannot {verb} the pack {pack}")]
    Failed {
        verb: &'static str,
        pack: PackId,
        #[source]
        source: object_store::Error,
    },
    /// Whose packs these are cannot be read or written.
    #[error("cannot {verb} whose packs these are")]
    Owner {
        verb: &'static str,
        #[source]
        source: object_store::Error,
    },
    /// The store failed to list its packs.
    #[error("cannot list the packs")]
    List(#[source] object_store::Error),
}

/// So many bytes of neighbours are read at once, and stay in memory together.
const MAX_RUN: u64 = 1 << 20;

/// A pack is written in pieces of so many bytes. From 2 MiB on Linux takes such large pages for its cache. In a virtual machine that
/// was measured to take 22 ms for 8 MiB instead of 4, probably since large pages are what it has given back to its host.
const PIECE: usize = 256 << 10;

/// Where a store says whose its packs are.
const OWNER: &str = "owner";

/// Keeps packs under `packs/<first two digits>/<id>`, and in `owner` whose they are.
#[derive(Debug, Clone)]
pub struct PackStore {
    objects: Arc<dyn ObjectStore>,
}

impl PackStore {
    /// A store on any object store. It has to be durable when it says that it has stored.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// A store in an existing folder. Files and directories are synced before a put returns.
    pub fn local(folder: &Path) -> Result<Self, PackStoreError> {
        let objects =
            LocalFileSystem::new_with_prefix(folder).map_err(|source| PackStoreError::Open {
                folder: folder.display().to_string(),
                source,
            })?;
        Ok(Self::new(Arc::new(objects.with_fsync(true))))
    }

    /// Puts a pack in safety. Putting one that is there already is no error.
    pub async fn put(&self, pack: Bytes) -> Result<PackId, PackStoreError> {
        if pack.len() > MAX_PACK_LENGTH {
            return Err(PackStoreError::TooLong { length: pack.len() });
        }
        let id = PackId::of(&pack);
        let pieces = (0..pack.len()).step_by(PIECE);
        let pieces = pieces.map(|at| pack.slice(at..pack.len().min(at + PIECE)));
        self.objects
            .put(&id.path(), pieces.collect())
            .await
            .map_err(failed("store", id))?;
        Ok(id)
    }

    /// A whole pack, verified against its id.
    pub async fn get(&self, pack: PackId) -> Result<Bytes, PackStoreError> {
        let result = self
            .objects
            .get(&pack.path())
            .await
            .map_err(failed("read", pack))?;
        if result.meta.size > MAX_PACK_LENGTH as u64 {
            return Err(PackStoreError::Damaged { pack });
        }
        let bytes = result.bytes().await.map_err(failed("read", pack))?;
        if PackId::of(&bytes) == pack {
            Ok(bytes)
        } else {
            Err(PackStoreError::Damaged { pack })
        }
    }

    /// The frames at these places, as stored, in the order asked. Near ones are read together.
    ///
    /// They are not verified: [`crate::Frame::parse`] and [`crate::Frame::object`] do that.
    pub async fn read(
        &self,
        pack: PackId,
        frames: &[FrameRange],
    ) -> Result<Vec<Bytes>, PackStoreError> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut places = Vec::with_capacity(frames.len());
        for FrameRange { offset, length } in frames {
            let (start, end) = (u64::from(*offset), u64::from(*offset) + u64::from(*length));
            match runs.last_mut() {
                Some(run) if run.end == start && end - run.start <= MAX_RUN => run.end = end,
                _ => runs.push(start..end),
            }
            let run = runs.len() - 1;
            let at = (start - runs[run].start) as usize;
            places.push((run, at..at + *length as usize));
        }
        let read = self
            .objects
            .get_ranges(&pack.path(), &runs)
            .await
            .map_err(failed("read", pack))?;
        let whole = read.len() == runs.len()
            && read
                .iter()
                .zip(&runs)
                .all(|(read, asked)| read.len() as u64 == asked.end - asked.start);
        if !whole {
            return Err(PackStoreError::Damaged { pack });
        }
        let frames = places
            .into_iter()
            .map(|(run, place)| read[run].slice(place));
        Ok(frames.collect())
    }

    /// Deletes a pack. Deleting one that is not there is no error.
    pub async fn delete(&self, pack: PackId) -> Result<(), PackStoreError> {
        match self.objects.delete(&pack.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            result => result.map_err(failed("delete", pack)),
        }
    }

    /// Whose packs these are, as far as anybody has said so.
    pub async fn owner(&self) -> Result<Option<String>, PackStoreError> {
        let failed = |source| {
            let verb = "read";
            PackStoreError::Owner { verb, source }
        };
        match self.objects.get(&OWNER.into()).await {
            Ok(owner) => {
                let owner = owner.bytes().await.map_err(failed)?;
                Ok(Some(String::from_utf8_lossy(&owner).into_owned()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Says whose packs these are.
    pub async fn set_owner(&self, owner: String) -> Result<(), PackStoreError> {
        let put = self.objects.put(&OWNER.into(), owner.into()).await;
        let verb = "write";
        put.map(drop)
            .map_err(|source| PackStoreError::Owner { verb, source })
    }

    /// Every pack that is stored, with its length. Files that are no packs are passed over.
    pub async fn list(&self) -> Result<Vec<(PackId, u64)>, PackStoreError> {
        let folder = object_store::path::Path::from("packs");
        self.objects
            .list(Some(&folder))
            .map_err(PackStoreError::List)
            .try_filter_map(async |meta| {
                let id = meta.location.filename().and_then(|name| name.parse().ok());
                Ok(id.map(|id| (id, meta.size)))
            })
            .boxed()
            .try_collect()
            .await
    }
}

fn failed(verb: &'static str, pack: PackId) -> impl FnOnce(object_store::Error) -> PackStoreError {
    move |source| match source {
        object_store::Error::NotFound { .. } => PackStoreError::NotFound { pack },
        source => PackStoreError::Failed { verb, pack, source },
    }
}
