//! The operations of the pool on dots, branches and commits.
//!
//! Each change is one atomic step of the filesystem, so a crash leaves the state before or after it. Leftovers in
//! `staging/` are deleted at the next start.
//!
//! A commit's record is written into the working copy just before the snapshot is taken, and is part of the snapshot. So
//! every commit has its record, and the record in a working copy identifies its head.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dotmesh_model::ambient::Clock;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, DotName, StashId, SubdotName};

use crate::btrfs::{Btrfs, BtrfsPlace};
use crate::driver::{Difference, FolderUsage, Mode, Room, Space};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DATA, DotFile, Layout, RECORD, write_json};

mod amending;
mod copies;
mod forks;
mod imports;
mod inner;
mod inventory;
mod kept;
mod log;
mod paths;
mod renaming;
mod reserve;
mod restoring;
mod stashes;
mod steps;
mod tags;
mod trash;
mod volumes;

pub use copies::Copy;
pub use forks::{ForksFile, StoredFork, StoredPort};
pub use imports::NewSubdots;
pub use inventory::Inventory;
pub use kept::{Kept, KeptWhere, RestorableDot};
pub use log::NewStep;
pub use paths::{PathInDot, Peek};
pub use stashes::{StashFile, StoredStash};
pub use tags::{StoredTag, TagsFile};
pub use trash::Leftover;
pub use volumes::{FolderId, NewSubdot, OpenFolder};

use inner::{Inner, names_in, temporary};

/// Working copies and snapshots on disk. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

/// The source of a new working copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A commit's snapshot. The root commit has an empty one.
    Commit(CommitId),
    /// The current state of a branch, with uncommitted changes.
    WorkingCopy(BranchName),
    /// A stash.
    Stash(StashId),
}

/// A dot, as read from its folder.
#[derive(Debug, Clone)]
pub struct StoredDot {
    /// Its name.
    pub name: DotName,
    /// Its description.
    pub file: DotFile,
    /// Its branches and their heads.
    pub branches: Vec<(BranchName, CommitId)>,
}

/// All dots of the pool.
#[derive(Debug, Default)]
pub struct Dots {
    /// The dots that can be read.
    pub whole: Vec<StoredDot>,
    /// The dots that cannot be read. Nothing changes them.
    pub damaged: Vec<DamagedDot>,
}

/// A dot whose description, or the record of one of its working copies, cannot be read.
#[derive(Debug, Clone)]
pub struct DamagedDot {
    /// Its name.
    pub name: DotName,
    /// What is wrong.
    pub problem: String,
}

/// A commit that is being received: a writable copy of a base commit, not yet visible.
///
/// If it is dropped, the received data stays, so that [`Pool::begin_import`] can resume.
#[must_use = "an import that is not finished stays in the pool for a while"]
pub struct IncomingCommit {
    inner: Arc<Inner>,
    folder: PathBuf,
    /// Opened before the first write, so that a sync reports every write error since then.
    opened: std::fs::File,
    resumed: bool,
}

impl IncomingCommit {
    /// The folder that the caller changes to the commit's state.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Whether it resumes an interrupted import of the same commit from the same base.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl Drop for IncomingCommit {
    fn drop(&mut self) {
        self.inner.receiving().remove(&self.folder);
    }
}

impl Pool {
    /// Opens the pool, and creates it if it does not exist. `new_id` is then the node's id: 16 hex digits.
    pub async fn open(place: BtrfsPlace, new_id: String, clock: Clock) -> Result<Self, PoolError> {
        blocking(move || {
            let driver = Btrfs::open(&place)?;
            let layout = Layout::new(driver.root().to_owned());
            Ok(Self {
                inner: Arc::new(Inner::prepare(layout, Box::new(driver), new_id, clock)?),
            })
        })
        .await
    }

    /// Opens a pool in an ordinary folder, for tests. It copies instead of taking snapshots, so it does not need root.
    #[cfg(feature = "testing")]
    #[expect(clippy::disallowed_methods, reason = "tests have no other clock")]
    pub async fn open_copying(folder: PathBuf) -> Result<Self, PoolError> {
        blocking(move || {
            std::fs::create_dir_all(&folder).during("create", &folder)?;
            let driver = Box::new(crate::driver::copying::Copying);
            Ok(Self {
                inner: Arc::new(Inner::prepare(
                    Layout::new(folder),
                    driver,
                    "0".repeat(16),
                    Clock::new(jiff::Timestamp::now),
                )?),
            })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, PoolError> + Send + 'static,
    ) -> Result<T, PoolError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            #[cfg(feature = "testing")]
            let _entered = inner.fuse.enter();
            work(&inner)
        })
        .await
    }

    /// Makes all changes of the pool fail after this number of further changes, as if the daemon had died.
    #[cfg(feature = "testing")]
    pub fn die_after(&self, steps: u64) {
        self.inner.fuse.burn_after(steps);
    }

    /// The number of changes so far.
    #[cfg(feature = "testing")]
    pub fn steps(&self) -> u64 {
        self.inner.fuse.taken()
    }

    /// The node's id.
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// The path of the registry, which indexes the pool's contents.
    pub fn registry_file(&self) -> PathBuf {
        self.inner.layout.root().join("registry.db")
    }

    /// The size of the pool and its free space.
    pub async fn space(&self) -> Result<Space, PoolError> {
        self.run(|inner| inner.driver.space()).await
    }

    /// Fits the size of the pool to the space that the disk below has now, and returns the state of both.
    pub async fn fit(&self) -> Result<Room, PoolError> {
        self.run(|inner| inner.driver.fit()).await
    }

    /// Reserves some space for [`Self::lend_reserve`], if the pool has enough free space.
    pub async fn keep_reserve(&self) -> Result<(), PoolError> {
        self.run(Inner::keep_reserve).await
    }

    /// Frees the reserved space if little other space is left. Operations that free space, and the start, need some.
    pub async fn lend_reserve(&self) -> Result<(), PoolError> {
        self.run(Inner::lend_reserve).await
    }

    /// Reads all dots and their branches from the folders, and deletes or completes unfinished work. It must be called before
    /// anything else works on the dots.
    pub async fn dots(&self) -> Result<Dots, PoolError> {
        self.run(Inner::dots).await
    }

    /// The commits of a dot that have a snapshot in the pool.
    pub async fn commits(&self, dot: &DotName) -> Result<Vec<CommitId>, PoolError> {
        let commits = self.inner.layout.commits(dot);
        self.run(move |_| {
            Ok(names_in(&commits)?
                .iter()
                .filter_map(|id| id.parse().ok())
                .collect())
        })
        .await
    }

    /// The bytes of a commit's record.
    pub async fn record(&self, dot: &DotName, commit: CommitId) -> Result<Vec<u8>, PoolError> {
        let path = self.inner.layout.commit(dot, commit).join(RECORD);
        self.run(move |_| std::fs::read(&path).during("read", &path))
            .await
    }

    /// Creates an empty dot with one branch, in one step.
    pub async fn create_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let (dot, file) = (dot.clone(), file.clone());
        self.run(move |inner| inner.create_dot(&dot, &file)).await
    }

    /// Creates the folders of a dot, which stays invisible until [`Self::write_dot`] writes its description. Data of an
    /// earlier attempt is kept for a while.
    pub async fn begin_dot(&self, dot: &DotName) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            for folder in [inner.layout.branches(&dot), inner.layout.commits(&dot)] {
                std::fs::create_dir_all(&folder).during("create", &folder)?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes all branches of a dot without a description, and all its commits except those in `keep`.
    pub async fn clear_draft(&self, dot: &DotName, keep: Vec<CommitId>) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.clear_draft(&dot, &keep)).await
    }

    /// Replaces a dot's description durably.
    pub async fn write_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let (dot, file) = (dot.clone(), file.clone());
        self.run(move |inner| write_json(&inner.layout.dot_file(&dot), &file))
            .await
    }

    /// Moves a dot to the trash, which frees its name at once. A missing dot is not an error, since an earlier attempt may
    /// have failed after this step.
    pub async fn delete_dot(&self, dot: &DotName) -> Result<(), PoolError> {
        let path = self.inner.layout.dot(dot);
        self.run(move |inner| match inner.discard(&path) {
            Err(_) if !path.exists() => Ok(()),
            done => done,
        })
        .await
    }

    /// Creates a branch's working copy. Fails if it exists.
    pub async fn create_branch(
        &self,
        dot: &DotName,
        branch: &BranchName,
        start: Start,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let from = match &start {
                Start::Commit(id) => inner.layout.commit(&dot, *id),
                Start::WorkingCopy(other) => inner.layout.branch(&dot, other),
                Start::Stash(id) => inner.layout.stash(&dot, *id),
            };
            let working = inner.layout.branch(&dot, &branch);
            inner.driver.snapshot(&from, &working, Mode::Writable)?;
            stashes::forget_note(&working)
        })
        .await
    }

    /// Moves a branch's working copy to the trash.
    pub async fn delete_branch(&self, dot: &DotName, branch: &BranchName) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.discard(&inner.layout.branch(&dot, &branch)))
            .await
    }

    /// Whether a branch has a working copy.
    pub async fn has_branch(&self, dot: &DotName, branch: &BranchName) -> Result<bool, PoolError> {
        let path = self.inner.layout.branch(dot, branch);
        self.run(move |_| path.try_exists().during("look at", &path))
            .await
    }

    /// Captures all subdots of a branch at one instant, even while programs write to them.
    pub async fn commit(
        &self,
        dot: &DotName,
        branch: &BranchName,
        id: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let working = inner.layout.branch(&dot, &branch);
            inner.freeze(&working, &inner.layout.commit(&dot, id), &record)
        })
        .await
    }

    /// Deletes a commit that nothing refers to yet. The head of its branch is then the commit's parent again.
    pub async fn take_back(&self, dot: &DotName, id: CommitId) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.driver.delete(&inner.layout.commit(&dot, id)))
            .await
    }

    /// The head of a branch, as read from its working copy.
    pub async fn head(&self, dot: &DotName, branch: &BranchName) -> Result<CommitId, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.head(&dot, &branch)).await
    }

    /// The folder of a commit's data, which is read-only.
    pub fn commit_data(&self, dot: &DotName, commit: CommitId) -> PathBuf {
        self.inner.layout.commit(dot, commit).join(DATA)
    }

    /// The difference between a commit and an earlier one that it is derived from. Both must have a snapshot in the pool.
    /// `base_links` is whether a file of the earlier one may have several hard links. `true` is always correct, but slower.
    pub async fn difference(
        &self,
        dot: &DotName,
        base: CommitId,
        commit: CommitId,
        base_links: bool,
    ) -> Result<Box<dyn Difference>, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let base = inner.layout.commit(&dot, base);
            let commit = inner.layout.commit(&dot, commit);
            inner.driver.difference(&base, &commit, DATA, base_links)
        })
        .await
    }

    /// Begins to receive a commit as a change of a base commit, which must be in the pool. A similar base saves work.
    pub async fn begin_import(
        &self,
        dot: &DotName,
        base: CommitId,
        commit: CommitId,
    ) -> Result<IncomingCommit, PoolError> {
        let dot = dot.clone();
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let (folder, opened, resumed) = inner.begin_import(&dot, base, commit)?;
            Ok(IncomingCommit {
                inner,
                folder,
                opened,
                resumed,
            })
        })
        .await
    }

    /// Deletes an import, so that the next one starts from the beginning.
    pub async fn discard_import(&self, import: IncomingCommit) -> Result<(), PoolError> {
        self.run(move |inner| {
            // `throw_away` ignores errors, and the next import would then resume this one.
            let to = temporary(&inner.layout.staging());
            std::fs::rename(&import.folder, &to).during("delete", &import.folder)?;
            inner.throw_away(&to);
            Ok(())
        })
        .await
    }

    /// Makes a received commit visible, read-only and durable, in one step.
    pub async fn finish_import(
        &self,
        dot: &DotName,
        import: IncomingCommit,
        id: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let dot = dot.clone();
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let snapshot = inner.layout.commit(&dot, id);
            // Another transfer may have received the same commit already.
            if !snapshot.exists() {
                rustix::fs::syncfs(&import.opened).during("flush", &import.folder)?;
                inner.freeze(&import.folder, &snapshot, &record)?;
            }
            // The deletion drops cached pages, which takes a while, so the caller does not wait for it.
            let done_with = temporary(&inner.layout.staging());
            std::fs::rename(&import.folder, &done_with).during("delete", &import.folder)?;
            tokio::task::spawn_blocking(move || inner.remove_for_good(&done_with));
            Ok(())
        })
        .await
    }

    /// Deletes data of interrupted transfers that nothing has resumed for this time.
    pub async fn forget_incoming(&self, age: Duration) -> Result<(), PoolError> {
        self.run(move |inner| inner.forget_incoming(age)).await
    }

    /// The bytes that [`Self::write_hub_history`] wrote.
    pub async fn hub_history(&self, dot: &DotName) -> Result<Option<Vec<u8>>, PoolError> {
        let path = self.inner.layout.hub_history(dot);
        self.run(move |_| match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.during("read", &path).map(Some),
        })
        .await
    }

    /// Saves durably what hubs have reported about a dot's history.
    pub async fn write_hub_history(&self, dot: &DotName, bytes: Vec<u8>) -> Result<(), PoolError> {
        let path = self.inner.layout.hub_history(dot);
        self.run(move |_| durable::replace(&path, &bytes)).await
    }

    /// The size of a branch, and the size of its uncommitted changes. `head` is the branch's head.
    pub async fn usage(
        &self,
        dot: &DotName,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<FolderUsage, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.usage(&dot, &branch, head))
            .await
    }

    /// The usage of many branches in one call, each given with its head.
    pub async fn usages(
        &self,
        branches: Vec<(DotName, BranchName, CommitId)>,
    ) -> Result<Vec<Result<FolderUsage, PoolError>>, PoolError> {
        self.run(move |inner| {
            let usages = branches
                .iter()
                .map(|(dot, branch, head)| inner.usage(dot, branch, *head));
            Ok(usages.collect())
        })
        .await
    }

    /// Speeds up the release of deleted data. The space may become free only a moment after this call.
    pub async fn reclaim(&self) -> Result<(), PoolError> {
        self.run(|inner| inner.driver.reclaim()).await
    }

    /// Flushes dirty pages to disk, so that [`Self::usage`] counts them.
    pub async fn flush(&self) -> Result<(), PoolError> {
        self.run(|inner| {
            let root = inner.layout.root();
            let folder = std::fs::File::open(root).during("open", root)?;
            rustix::fs::syncfs(&folder).during("flush", root)
        })
        .await
    }

    /// The subdots of a branch.
    pub async fn subdots(
        &self,
        dot: &DotName,
        branch: &BranchName,
    ) -> Result<Vec<SubdotName>, PoolError> {
        let data = self.volume_path(dot, branch, &Folder::Root);
        self.run(move |_| {
            let mut names = names_in(&data)?;
            // A container may have created a symlink, which must not be followed.
            let is_folder = |path: &Path| {
                std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
            };
            names.retain(|name| is_folder(&data.join(name)));
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    /// Permanently deletes items that have been in the trash for longer than `grace`. Items that cannot be deleted become
    /// [`Self::leftovers`], and a later call tries again.
    pub async fn empty_trash(&self, grace: Duration) -> Result<(), PoolError> {
        self.run(move |inner| inner.empty_trash(grace)).await
    }

    /// The items that could not be deleted since the pool was opened, and that still exist.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, PoolError> {
        self.run(|inner| Ok(inner.list_leftovers())).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PoolError> + Send + 'static,
) -> Result<T, PoolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            // Only a runtime that shuts down cancels the task, and then nothing polls this future.
            std::panic::resume_unwind(error.into_panic())
        })
}
