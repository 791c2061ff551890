//! Sealing: reads a directory and turns it into objects.
//!
//! The directory must not change meanwhile: it is a snapshot. One thread walks it, others read, cut and hash the
//! files; the objects go to an asynchronous sink in pieces of about a megabyte, a few of them waiting at most.
//!
//! With a [`SealedBase`], an earlier snapshot that was sealed before, only what differs from it is looked at: the walk enters
//! directories with changes below them, opens changed files, and reads those ranges of them that changed. The result is
//! the same.

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
use dotmesh_store::{InvalidNode, Object};
use tokio::sync::mpsc;

pub use left_out::{CheckedBase, Found, find_left_out};
pub use measure::measure;

use crate::disk::DiskError;
use crate::limits::Limits;
use crate::objects::ObjectSink;
use crate::progress::Progress;
use crate::retry::HubError;

/// How many pieces may wait for the sink.
const PIECES: usize = 4;

/// Why a directory could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A device node, in a commit that was sealed before such were left out.
    #[error("{path} is a device node: Dotmesh keeps none")]
    Device { path: String },
    /// Directories too deep inside each other.
    #[error("{path} is in more than {MAX_DEPTH} directories")]
    TooDeep { path: String },
    /// Extended attributes or a link longer than the format has room for.
    #[error("{path} has more extended attributes, or a longer link, than Dotmesh can keep")]
    TooLarge { path: String },
    /// The directory is not the snapshot that it must be.
    #[error("{path} changed while it was read")]
    Changed { path: String },
    /// What the filesystem knows of the changes cannot be read.
    #[error("cannot tell what changed in a snapshot")]
    Changes(#[from] PoolError),
    /// A node of the base is not kept any more. Sealing without a base always works.
    #[error("the node {hash} of an earlier commit is missing")]
    BaseMissing { hash: ObjectHash },
    /// A node of the base cannot be read.
    #[error("the node {hash} of an earlier commit is malformed")]
    BaseMalformed {
        hash: ObjectHash,
        #[source]
        source: InvalidNode,
    },
    /// The base was sealed by other limits.
    #[error("an earlier commit was sealed by other limits")]
    BaseOtherwise,
    /// The sink failed.
    #[error(transparent)]
    Sink(#[from] HubError),
    /// Nobody waits for the objects any more.
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

/// Keeps the nodes of what was sealed, so that it can be a base. It may forget: then sealing takes longer.
/// Called from threads that may block.
pub trait NodeCache: Send + Sync {
    /// Those of the nodes that are kept, in any order. Their bytes may be damaged.
    fn get(&self, hashes: &[ObjectHash]) -> Vec<(ObjectHash, Bytes)>;
    /// Keeps nodes.
    fn put(&self, nodes: &[Object]);
}

/// An earlier snapshot that was sealed, and what changed since.
#[derive(Clone)]
pub struct SealedBase {
    /// The hash of its root.
    pub root: ObjectHash,
    /// Its directory, which does not change.
    pub data: PathBuf,
    /// How the directory to seal differs from it.
    pub changes: Arc<dyn Difference>,
    /// Whether it is known to be within [`Limits::EveryPool`]. If not, its nodes are looked through first.
    pub is_within_limits: bool,
}

/// What sealing a directory came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The hash of its root.
    pub root: ObjectHash,
    /// Whether a file has several names.
    pub has_links: bool,
    /// Sockets that were passed over, as far as they were met: how many, and the first few paths.
    pub sockets: Sockets,
}

/// Sockets, which are ends of connections and hold nothing to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// How many.
    pub count: u64,
    /// The first few.
    pub first: Vec<String>,
}

/// Turns a directory into objects and gives those to the sink that the base does not have, in any order; one may come
/// several times. All nodes among them go to the cache too.
///
/// Directories on other file systems, or in other subvolumes, count as empty. Sockets are passed over, and all that not
/// every pool can hold is left out: [`find_left_out`] tells of it.
pub async fn seal_directory(
    directory: &Path,
    base: Option<SealedBase>,
    cache: Option<Arc<dyn NodeCache>>,
    sink: &mut impl ObjectSink,
    progress: &Arc<Progress>,
) -> Result<Sealed, SealError> {
    seal_within(Limits::EveryPool, directory, base, cache, sink, progress).await
}

/// The same by other limits. A base has to be of the same.
pub async fn seal_within(
    limits: Limits,
    directory: &Path,
    base: Option<SealedBase>,
    cache: Option<Arc<dyn NodeCache>>,
    sink: &mut impl ObjectSink,
    progress: &Arc<Progress>,
) -> Result<Sealed, SealError> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let (directory, progress) = (directory.to_owned(), Arc::clone(progress));
    let walk = tokio::task::spawn_blocking(move || {
        let output = output::Output::new(sender, cache.clone());
        politely(|| walk::walk(&directory, limits, base, cache, output, &progress))
    });
    // Returning early drops the receiver, and with it ends the walk.
    while let Some(objects) = pieces.recv().await {
        sink.put(objects).await?;
    }
    match walk.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(SealError::Stopped),
    }
}
