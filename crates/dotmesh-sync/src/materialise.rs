//! Makes a directory equal to the tree of a commit.
//!
//! First the survey fetches the pages that differ, one level of directories after the other, and keeps them in a file.
//! They say how much there is to do. Then a plan walks through the pages, and several threads carry out its steps.
//! Their chunks are fetched in batches across files. A chunk with several places is usually fetched once (`shared.rs`).
//!
//! The files' bytes are not kept in memory. Only these grow in memory with the tree:
//! - the positions of the pages,
//! - the changed directories of one level,
//! - the list of removed files.
//!
//! Someone else made the tree. Whatever it contains, nothing outside the directory is changed.

mod apply;
mod content;
mod directory;
mod file;
mod local;
mod pages;
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
use dotmesh_store::{InvalidObject, Kind, Root};
use rustix::fs::FlockOperation;

use self::apply::Site;
use self::directory::Directory;
use self::pages::Pages;
use self::pipeline::Pipeline;
use self::plan::{Pass, Plan};
use self::shared::Shared;
use self::survey::Survey;
use self::trees::Pair;
use crate::disk::{self, DiskError};
use crate::objects::{FetchError, ObjectSource};
use crate::progress::Progress;

/// The most threads that write. More of them would only wait for each other.
const MAX_THREADS: usize = 8;

/// The most files, directories and links that a tree may have. Without this limit, a few small objects can describe a
/// tree that fills every disk.
pub const MAX_ENTRIES: u64 = 50_000_000;

/// The reason why a directory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// Objects could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file could not be written, or something is in the way.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An object with a correct hash can't be decoded.
    #[error("the object {hash} is malformed")]
    Malformed {
        hash: ObjectHash,
        #[source]
        source: InvalidObject,
    },
    /// An object does not have the level, the names or the length that its parent states.
    #[error("the object {hash} is not what the object above it says")]
    Inconsistent { hash: ObjectHash },
    /// There is no base, and the directory is not empty.
    #[error("{path} is not empty")]
    NotEmpty { path: String },
    /// There are too many nested directories.
    #[error("the tree has more than {MAX_DEPTH} directories inside each other")]
    TooDeep,
    /// The tree has more than [`MAX_ENTRIES`] entries, or its pages are too large.
    #[error("the tree has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// A thread that writes is gone, or stopped after the failure of another.
    #[error("writing was stopped")]
    Stopped,
}

/// The tree to make, the directory, and what is already there.
#[derive(Debug, Clone)]
pub struct Target {
    /// The root of the tree.
    pub root: ObjectHash,
    /// The tree that `into` has at the start. Without one, `into` is empty.
    pub base: Option<Base>,
    /// The directory. Nobody else may change it meanwhile.
    pub into: PathBuf,
    /// Whether an earlier attempt with the same root and base was interrupted. Each difference may then be as in the
    /// base, as in the tree, or half-written.
    pub resumed: bool,
}

/// A tree that is already on this machine.
#[derive(Debug, Clone)]
pub struct Base {
    /// The hash of its root.
    pub root: ObjectHash,
    /// A directory with this tree, which must not change. Its bytes need not be fetched.
    pub data: PathBuf,
}

/// Makes the kernel write to disk what an earlier attempt wrote. The kernel reports a failed write only once, and its
/// cache keeps the bytes that are not on the disk. `File::open` drops them from the cache, so that the bytes on the
/// disk are read and compared.
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
/// On an error, or when the future is dropped, the directory is incomplete, and useful only for a resumed attempt.
/// Nothing is synced: the caller must sync the whole file system.
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
    let mut pages = Pages::new_in(&directory)?;
    let pair = Pair {
        base: base_root.as_ref().map(|root| root.tree),
        target: new_root.tree,
    };
    let survey = Survey::make(source, &mut pages, pair, base_data).await?;
    progress.add_total(survey.total);
    let (has_links, local, repeats) = (survey.has_links, survey.local, survey.repeats);

    progress.start_phase("writing");
    let attributes = disk::attributes_of(directory.as_fd())
        .map_err(|errno| DiskError::new("read the attributes of", b"", errno))?;
    let inherits = directory::hands_down(&attributes);
    // This file was just created in the directory, so it shows the owner and mode of new files.
    let new = disk::New::of(pages.file())
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
            // The innermost directories must come first, so one thread does this in order.
            Pass::Attributes => 1,
        };
        let mut pipeline = Pipeline::new(source, &site, threads);
        let mut plan = Plan {
            source,
            pages: &mut pages,
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

/// Waits until no thread of an earlier attempt writes in the directory. As long as one of our threads has the
/// descriptor, no other attempt can start.
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

/// Stops the threads before their next step when nobody waits for them any more.
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
