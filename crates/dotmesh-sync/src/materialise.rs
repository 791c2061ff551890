//! Makes a directory equal to the tree of a commit.
//!
//! First the nodes of the directories that differ are fetched, all of a level at once, and the plan is made
//! from them: only they and the lists of segments under way are held in memory, the files' bytes pass through.
//! Then one thread applies the plan in order, while the chunks that it needs next are fetched in batches
//! across files.
//!
//! The tree was made by someone else. Whatever it says, nothing outside the directory is touched.

mod apply;
mod content;
mod pipeline;
mod plan;
mod trees;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::tree::MAX_DEPTH;
use dotmesh_store::{InvalidNode, Kind, Object, Root};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use crate::disk::{self, DiskError};
use crate::objects::{FetchError, ObjectSource};
use crate::progress::Progress;

/// How many nodes are fetched with one request,
const NODES: usize = 256;

/// and how many requests for nodes are under way at a time.
const NODE_REQUESTS: usize = 4;

/// How many files, directories and links a tree may have. A few small objects can describe a tree that fills
/// every disk.
pub const MAX_ENTRIES: u64 = 50_000_000;

/// Why a directory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// Objects did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file could not be written, or something is in the way.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An object is not what its hash promises it to be.
    #[error("the object {hash} is malformed")]
    Malformed {
        hash: ObjectHash,
        #[source]
        source: InvalidNode,
    },
    /// An object does not have the level, the names or the length that the one above it states.
    #[error("the object {hash} is not what the object above it says")]
    Inconsistent { hash: ObjectHash },
    /// Without a base the directory has to be empty.
    #[error("{path} is not empty")]
    NotEmpty { path: String },
    /// Directories too deep inside each other.
    #[error("the tree has more than {MAX_DEPTH} directories inside each other")]
    TooDeep,
    /// More than [`MAX_ENTRIES`].
    #[error("the tree has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// The thread that writes is gone.
    #[error("writing was stopped")]
    Stopped,
}

/// Makes the directory `into` equal to the tree of `target_root`.
///
/// It has to equal the tree of `base_root` exactly, or be empty when there is none; nobody else may change it.
/// On an error, or when the future is dropped, it is left half-way and is good for nothing.
/// Nothing is synced: the caller does that for the whole file system.
pub async fn materialise<S: ObjectSource>(
    source: &Arc<S>,
    target_root: ObjectHash,
    base_root: Option<ObjectHash>,
    into: &Path,
    progress: &Arc<Progress>,
) -> Result<(), MaterialiseError> {
    if base_root == Some(target_root) {
        return Ok(());
    }
    progress.start_phase("comparing");
    let target = fetch_root(source, target_root).await?;
    let base = match base_root {
        Some(root) => Some(fetch_root(source, root).await?),
        None => None,
    };
    let directory = disk::open_root(into)?;
    if base.is_none() {
        let names = disk::names(std::os::fd::AsFd::as_fd(&directory))
            .map_err(|errno| DiskError::new("list", b"", errno))?;
        if !names.is_empty() {
            return Err(MaterialiseError::NotEmpty {
                path: into.display().to_string(),
            });
        }
    }
    let base_tree = base.map(|base| base.tree);
    let trees = trees::Trees::fetch(source, base_tree, target.tree).await?;
    progress.add_total(trees.bytes_to_write(base_tree, target.tree)?);

    progress.start_phase("writing");
    let stop = StopOnDrop::default();
    let (sender, receiver) = mpsc::channel(1);
    let applier = apply::Applier::new(directory, Arc::clone(progress), Arc::clone(&stop.0));
    let applied = tokio::task::spawn_blocking(move || applier.run(receiver));
    let mut pipeline = pipeline::Pipeline::new(Arc::clone(source), sender);
    let produced = plan::produce(source, &trees, base_tree, target, &mut pipeline).await;
    drop(pipeline);
    let applied = applied
        .await
        .unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(MaterialiseError::Stopped),
        });
    // When the thread failed first, the other error only says that it is gone.
    applied.and(produced)
}

/// Makes the thread that writes stop before its next step when nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn fetch_root<S: ObjectSource>(
    source: &Arc<S>,
    hash: ObjectHash,
) -> Result<Root, MaterialiseError> {
    let nodes = fetch_all(source, Kind::Root, vec![hash]).await?;
    let bytes = nodes.get(&hash).ok_or(FetchError::Missing { hash })?;
    Root::decode(bytes).map_err(|source| MaterialiseError::Malformed { hash, source })
}

/// Fetches many small objects, several requests at a time.
async fn fetch_all<S: ObjectSource>(
    source: &Arc<S>,
    kind: Kind,
    mut hashes: Vec<ObjectHash>,
) -> Result<HashMap<ObjectHash, Bytes>, MaterialiseError> {
    hashes.sort_unstable();
    hashes.dedup();
    let requests: Vec<Vec<ObjectHash>> = hashes.chunks(NODES).map(<[_]>::to_vec).collect();
    let answers = futures::stream::iter(requests)
        .map(|request| {
            let source = Arc::clone(source);
            async move { source.fetch(kind, &request).await }
        })
        .buffer_unordered(NODE_REQUESTS);
    let objects: Vec<Vec<Object>> = answers.try_collect().await?;
    Ok(objects
        .into_iter()
        .flatten()
        .map(|object| (object.hash(), object.into_bytes()))
        .collect())
}
