//! Makes a directory equal to the tree of a commit.
//!
//! First the nodes that differ are fetched, all of a level of directories at once, and kept in a file: they say
//! how much there is to do. Then they are walked, several threads apply what comes of it, and the chunks that they
//! need next are fetched in batches across files, each chunk once. The files' bytes pass through; nothing that grows
//! with the tree is held in memory but where each node is.
//!
//! The tree was made by someone else. Whatever it says, nothing outside the directory is touched.

mod apply;
mod content;
mod directory;
mod file;
mod local;
mod nodes;
mod pipeline;
mod plan;
mod shared;
mod survey;
mod trees;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dotmesh_model::ObjectHash;
use dotmesh_store::tree::MAX_DEPTH;
use dotmesh_store::{InvalidNode, Kind, Root};
use rustix::fs::FlockOperation;

use self::apply::Site;
use self::directory::Directory;
use self::nodes::Nodes;
use self::pipeline::Pipeline;
use self::plan::{Pass, Plan};
use self::shared::Shared;
use self::survey::Survey;
use self::trees::Pair;
use crate::disk::{self, DiskError};
use crate::objects::{FetchError, ObjectSource};
use crate::progress::Progress;

/// More threads than that only wait for each other.
const MAX_THREADS: usize = 8;

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

/// What to make, of what, and where.
#[derive(Debug, Clone)]
pub struct Target {
    /// The root of the tree.
    pub root: ObjectHash,
    /// What `into` has at the beginning; it is empty when there is none.
    pub base: Option<Base>,
    /// The directory. Nobody else may change it meanwhile.
    pub into: PathBuf,
    /// An earlier attempt, with the same root and base, stopped somewhere: each thing that differs may be as in
    /// the base, as in the tree, or half-way.
    pub resumed: bool,
}

/// A tree that is here already.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its root.
    pub root: ObjectHash,
    /// A directory that equals it and does not change. What it has need not be fetched.
    pub data: PathBuf,
}

/// Has the kernel write out what an earlier attempt wrote. It reports a failed write once, and its cache keeps the bytes that
/// the disk does not have. `File::open` drops them, so the disk's own bytes are read and compared.
async fn write_out(directory: &OwnedFd) {
    let Ok(directory) = directory.try_clone() else {
        return;
    };
    let syncing = tokio::task::spawn_blocking(move || rustix::fs::syncfs(directory));
    if let Ok(Err(error)) = syncing.await {
        tracing::warn!(%error, "the disk did not take all that an earlier attempt wrote");
    }
}

/// Makes a directory equal to a tree.
///
/// On an error, or when the future is dropped, it is left half-way: good for nothing but to be resumed.
/// Nothing is synced: the caller does that for the whole file system.
pub async fn materialise<S: ObjectSource>(
    source: &Arc<S>,
    target: &Target,
    progress: &Arc<Progress>,
) -> Result<(), MaterialiseError> {
    if target.base.as_ref().map(|base| base.root) == Some(target.root) {
        return Ok(());
    }
    progress.start_phase("comparing");
    let new_root = fetch_root(source, target.root).await?;
    let (base_root, base_data) = match &target.base {
        Some(base) => (
            Some(fetch_root(source, base.root).await?),
            Some(disk::open_root(&base.data)?),
        ),
        None => (None, None),
    };
    let directory = lock(disk::open_root(&target.into)?).await?;
    disk::clear_flags(directory.as_fd());
    if target.base.is_none() && !target.resumed {
        let names =
            disk::names(directory.as_fd()).map_err(|errno| DiskError::new("list", b"", errno))?;
        if !names.is_empty() {
            return Err(MaterialiseError::NotEmpty {
                path: target.into.display().to_string(),
            });
        }
    }
    if target.resumed {
        write_out(&directory).await;
    }
    let mut nodes = Nodes::new_in(&directory)?;
    let pair = Pair {
        base: base_root.as_ref().map(|root| root.tree),
        target: new_root.tree,
    };
    let survey = Survey::make(source, &mut nodes, pair, base_data).await?;
    progress.add_total(survey.total);
    let (has_links, local, repeats) = (survey.has_links, survey.local, survey.repeats);

    progress.start_phase("writing");
    let attributes = disk::attributes_of(directory.as_fd())
        .map_err(|errno| DiskError::new("read the attributes of", b"", errno))?;
    let inherits = directory::hands_down(&attributes);
    // The file of the nodes is new, and shows what becomes of one here.
    let new = disk::New::of(nodes.file())
        .map_err(|errno| DiskError::new("read the attributes of", b"", errno))?;
    let stop = StopOnDrop::default();
    let root = Arc::new(directory);
    let site = Arc::new(Site {
        shared: Shared::new(&root, repeats),
        root,
        resumed: target.resumed,
        local,
        new: (!inherits).then_some(new),
        progress: Arc::clone(progress),
        stop: Arc::clone(&stop.0),
    });
    let threads =
        std::thread::available_parallelism().map_or(2, |cores| cores.get().min(MAX_THREADS));
    for pass in [Pass::Entries, Pass::Links, Pass::Attributes] {
        let threads = match pass {
            Pass::Entries => threads,
            Pass::Links if has_links => threads,
            Pass::Links => continue,
            // The innermost comes first.
            Pass::Attributes => 1,
        };
        let mut pipeline = Pipeline::new(source, &site, threads);
        let mut plan = Plan {
            source,
            nodes: &mut nodes,
            site: &site,
            pass,
            pipeline: &mut pipeline,
        };
        let top = Directory::top(inherits);
        let planned = plan.walk(top, base_root.as_ref(), &new_root).await;
        pipeline.finish(planned).await?;
    }
    Ok(())
}

/// Waits until no thread of an earlier attempt writes there any more, and keeps others away as long as one of
/// ours has the descriptor.
async fn lock(directory: OwnedFd) -> Result<OwnedFd, MaterialiseError> {
    let locked = tokio::task::spawn_blocking(move || {
        rustix::fs::flock(&directory, FlockOperation::LockExclusive)
            .map_err(|errno| DiskError::new("lock", b"", errno))?;
        Ok(directory)
    });
    locked
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Makes the threads stop before their next step when nobody waits for them any more.
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
    let objects = source.fetch(Kind::Root, &[hash]).await?;
    let object = objects.first().ok_or(FetchError::Missing { hash })?;
    Root::decode(object.bytes()).map_err(|source| MaterialiseError::Malformed { hash, source })
}
