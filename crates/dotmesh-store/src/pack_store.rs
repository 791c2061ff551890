//! Stores packs in a folder or in any other object store.

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

/// The id of a pack: the BLAKE3 hash of its bytes.
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

/// The position of a frame in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRange {
    /// Its first byte.
    pub offset: u32,
    /// Its length, header included.
    pub length: u32,
}

/// The reason why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum PackStoreError {
    /// The folder can't be used.
    #[error("cannot use {folder} for packs")]
    Open {
        folder: String,
        #[source]
        source: object_store::Error,
    },
    /// The pack has more than [`MAX_PACK_LENGTH`] bytes.
    #[error("a pack may have at most {MAX_PACK_LENGTH} bytes, got {length}")]
    TooLong { length: usize },
    /// The pack is not in the store, although it should be.
    #[error("the pack {pack} is not in the store")]
    NotFound { pack: PackId },
    /// The bytes under a pack's id are not that pack.
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
    /// The file `owner` can't be read or written.
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

/// The most bytes of adjacent frames that are read at once. They stay in memory together.
const MAX_RUN: u64 = 1 << 20;

/// The length of the pieces in which a pack is written. For a write of 2 MiB or more, Linux takes large pages for its
/// page cache. In a virtual machine, that took 22 ms instead of 4 ms for 8 MiB. Probably the machine had given its
/// large pages back to its host.
const PIECE: usize = 256 << 10;

/// The file that names the owner of the packs.
const OWNER: &str = "owner";

/// Keeps packs under `packs/<first two digits>/<id>`, and the identity of their owner in `owner`.
#[derive(Debug, Clone)]
pub struct PackStore {
    objects: Arc<dyn ObjectStore>,
}

impl PackStore {
    /// Makes a store on any object store. A successful put of the object store must be durable.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// Makes a store in an existing folder. A put syncs files and directories before it returns.
    pub fn local(folder: &Path) -> Result<Self, PackStoreError> {
        let objects =
            LocalFileSystem::new_with_prefix(folder).map_err(|source| PackStoreError::Open {
                folder: folder.display().to_string(),
                source,
            })?;
        Ok(Self::new(Arc::new(objects.with_fsync(true))))
    }

    /// Stores a pack durably. It is no error if the pack is already there.
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

    /// Returns a whole pack, verified against its id.
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

    /// Returns the bytes of a pack that may be damaged, and whether they are whole.
    pub async fn get_damaged(&self, pack: PackId) -> Result<(Bytes, bool), PackStoreError> {
        let result = self
            .objects
            .get(&pack.path())
            .await
            .map_err(failed("read", pack))?;
        if result.meta.size > MAX_PACK_LENGTH as u64 {
            return Ok((Bytes::new(), false));
        }
        let bytes = result.bytes().await.map_err(failed("read", pack))?;
        let whole = PackId::of(&bytes) == pack;
        Ok((bytes, whole))
    }

    /// Returns the stored frames in the order of `frames`. Adjacent frames are read together.
    ///
    /// The frames are not verified: [`crate::Frame::parse`] and [`crate::Frame::object`] do that.
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
        let read = match self.objects.get_ranges(&pack.path(), &runs).await {
            Ok(read) => read,
            Err(error) => {
                let end = runs.iter().map(|run| run.end).max().unwrap_or_default();
                return Err(self.cannot_read(pack, end, error).await);
            }
        };
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

    /// Says why a pack cannot be read up to `end`. Stores have no error of their own for a file that is too short.
    async fn cannot_read(
        &self,
        pack: PackId,
        end: u64,
        source: object_store::Error,
    ) -> PackStoreError {
        match self.objects.head(&pack.path()).await {
            Ok(meta) if meta.size < end => PackStoreError::Damaged { pack },
            _ => failed("read", pack)(source),
        }
    }

    /// Deletes a pack. It is no error if the pack is not there.
    pub async fn delete(&self, pack: PackId) -> Result<(), PackStoreError> {
        match self.objects.delete(&pack.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            result => result.map_err(failed("delete", pack)),
        }
    }

    /// The identity of the packs' owner, if [`Self::set_owner`] was called before.
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

    /// Stores the identity of the packs' owner.
    pub async fn set_owner(&self, owner: String) -> Result<(), PackStoreError> {
        let put = self.objects.put(&OWNER.into(), owner.into()).await;
        let verb = "write";
        put.map(drop)
            .map_err(|source| PackStoreError::Owner { verb, source })
    }

    /// Lists all stored packs with their lengths. Skips files that are not packs.
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
