//! Seals directories: reads a directory and turns it into objects.
//!
//! The directory must not change meanwhile, so it must be a snapshot. One thread walks it, and others read, cut and
//! hash the files. The objects go to an asynchronous sink, about 1 MiB at a time. At most a few of these pieces wait.
//!
//! A [`SealedBase`] is an earlier snapshot that was sealed before. With one, only the differences from it are
//! processed:
//! - the walk enters only directories with changes below them,
//! - it opens only changed files,
//! - it reads only the changed ranges of these files.
//!
//! The result is the same as without a base.

mod base;
mod content;
mod files;
mod left_out;
mod list;
mod measure;
mod output;
mod reader;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_pool::{Difference, PoolError};
use dotmesh_store::polite::politely;
use dotmesh_store::tree::MAX_DEPTH;
use dotmesh_store::{InvalidObject, Object};
use tokio::sync::mpsc;

pub use left_out::{CheckedBase, FoundLeftOut, find_left_out};
pub use measure::measure;

use crate::disk::DiskError;
use crate::limits::Limits;
use crate::objects::ObjectSink;
use crate::progress::Progress;
use crate::retry::HubRequestError;

/// The number of pieces that may wait for the sink.
const PIECES: usize = 4;

/// The reason why a directory could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory has a device node. Only [`Limits::Format`] returns this error: [`Limits::EveryPool`] leaves it
    /// out.
    #[error("{path} is a device node: Dotmesh keeps none")]
    Device { path: String },
    /// There are too many nested directories.
    #[error("{path} is in more than {MAX_DEPTH} directories")]
    TooDeep { path: String },
    /// Extended attributes or a link's target are longer than the format allows.
    #[error("{path} has more extended attributes, or a longer link, than Dotmesh can keep")]
    TooLarge { path: String },
    /// The directory changed, so it is not a snapshot.
    #[error("{path} changed while it was read")]
    Changed { path: String },
    /// The file system's list of changes can't be read.
    #[error("cannot tell what changed in a snapshot")]
    Changes(#[from] PoolError),
    /// A page of the base is not in the cache any more. Sealing without a base always works.
    #[error("the object {hash} of an earlier commit is missing")]
    BaseMissing { hash: ObjectHash },
    /// A page of the base can't be decoded.
    #[error("the object {hash} of an earlier commit is malformed")]
    BaseMalformed {
        hash: ObjectHash,
        #[source]
        source: InvalidObject,
    },
    /// The base was sealed with other limits.
    #[error("an earlier commit was sealed by other limits")]
    BaseOtherwise,
    /// The sink failed.
    #[error(transparent)]
    Sink(#[from] HubRequestError),
    /// The receiver of the objects is gone.
    #[error("sealing was stopped")]
    Stopped,
}

impl SealError {
    /// Whether sealing without the base may succeed.
    pub fn is_about_base(&self) -> bool {
        matches!(
            self,
            Self::BaseMissing { .. }
                | Self::BaseMalformed { .. }
                | Self::BaseOtherwise
                | Self::Changes(_)
        )
    }
}

/// Keeps the tree pages, file pages and roots of sealed directories, so that they can be bases. It may forget some, and
/// then sealing takes longer. Threads that may block call it.
pub trait PageCache: Send + Sync {
    /// Returns those pages that it has, in any order. Their bytes may be damaged.
    fn get(&self, hashes: &[ObjectHash]) -> Vec<(ObjectHash, Bytes)>;
    /// Stores pages.
    fn put(&self, pages: &[Object]);
}

/// An earlier snapshot that was sealed, and the changes since.
#[derive(Clone)]
pub struct SealedBase {
    /// The hash of its root.
    pub root: ObjectHash,
    /// Its directory. It must not change.
    pub data: PathBuf,
    /// The differences between it and the directory to seal.
    pub changes: Arc<dyn Difference>,
    /// Whether the base is known to be within [`Limits::EveryPool`]. If not, its pages are checked first.
    pub is_within_limits: bool,
}

/// The result of sealing a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The hash of its root.
    pub root: ObjectHash,
    /// Whether a file has several names.
    pub has_links: bool,
    /// The skipped sockets that the walk met. With a base, it does not enter unchanged directories.
    pub sockets: Sockets,
}

/// Sockets are endpoints of connections and have no content, so a commit does not contain them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Their number.
    pub count: u64,
    /// The first few paths.
    pub first: Vec<String>,
}

/// Turns a directory into objects, and passes the objects that the base does not have to the sink. They come in any
/// order, and the same object may come several times. All pages among them are cached too.
///
/// Directories on other file systems or in other subvolumes count as empty. Sockets, device nodes, and everything that
/// some pools can't hold are left out. [`find_left_out`] lists them, except sockets.
pub async fn seal_directory(
    directory: &Path,
    base: Option<SealedBase>,
    cache: Option<Arc<dyn PageCache>>,
    sink: &mut impl ObjectSink,
    progress: &Arc<Progress>,
) -> Result<Sealed, SealError> {
    seal_within(Limits::EveryPool, directory, base, cache, sink, progress).await
}

/// Like [`seal_directory`], with other limits. The base must have been sealed with the same limits.
pub async fn seal_within(
    limits: Limits,
    directory: &Path,
    base: Option<SealedBase>,
    cache: Option<Arc<dyn PageCache>>,
    sink: &mut impl ObjectSink,
    progress: &Arc<Progress>,
) -> Result<Sealed, SealError> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let (directory, progress) = (directory.to_owned(), Arc::clone(progress));
    let walk = tokio::task::spawn_blocking(move || {
        let output = output::Output::new(sender, cache.clone());
        politely(|| walk::walk(&directory, limits, base, cache, output, &progress))
    });
    // An early return drops the receiver, and that ends the walk.
    while let Some(objects) = pieces.recv().await {
        sink.put(objects).await?;
    }
    match walk.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(SealError::Stopped),
    }
}
