//! The pool in terms of dots, branches and commits.
//!
//! Every change is one atomic step of the filesystem, so a crash leaves the state before or after it, and
//! at most something in `staging/` that the next start deletes. The record of a commit is written into the working copy just
//! before the snapshot is taken, and so is part of it: no commit is without its record, and a working copy's own record says
//! what its head is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, DotName, StashId, SubdotName};

use crate::btrfs::{Btrfs, BtrfsPlace};
use crate::driver::{Difference, Mode, Room, Space, Usage};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DATA, DotFile, Layout, RECORD, write_json};

mod amending;
mod inner;
mod kept;
mod log;
mod paths;
mod renaming;
mod reserve;
mod stashes;
mod tags;
mod trash;
mod volumes;

pub use kept::{DeletedDot, Kept, KeptWhere};
pub use log::NewStep;
pub use paths::{DotPath, Peek, Restore};
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

/// What a working copy is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A commit's snapshot; the root commit gives an empty one.
    Commit(CommitId),
    /// A branch as it is now, uncommitted changes included.
    WorkingCopy(BranchName),
    /// What was put aside.
    Stash(StashId),
}

/// A dot as its folder describes it.
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
    /// Those that can be read.
    pub whole: Vec<StoredDot>,
    /// Those that cannot. They are left as they are.
    pub damaged: Vec<DamagedDot>,
}

/// A dot whose description, or a working copy's record, cannot be read.
#[derive(Debug, Clone)]
pub struct DamagedDot {
    /// Its name.
    pub name: DotName,
    /// What is wrong.
    pub problem: String,
}

/// A commit that is being received: a writable copy of another, not yet visible.
///
/// Dropping it keeps what was received, for [`Pool::begin_import`] to go on with.
#[must_use = "an import that is not finished stays in the pool for a while"]
pub struct Import {
    inner: Arc<Inner>,
    folder: PathBuf,
    /// Open before anything is written: its sync tells of all that could not be written out since.
    opened: std::fs::File,
    resumed: bool,
}

impl Import {
    /// The folder to bring to the commit's state.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Whether an earlier import from the same base to the same commit ended somewhere on the way.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.inner.receiving().remove(&self.folder);
    }
}

impl Pool {
    /// Makes or attaches the pool. `new_id` gives the node its id when the pool is new: 16 hex digits.
    pub async fn open(place: BtrfsPlace, new_id: String) -> Result<Self, PoolError> {
        blocking(move || {
            let driver = Btrfs::open(&place)?;
            let layout = Layout::new(driver.root().to_owned());
            Ok(Self {
                inner: Arc::new(Inner::prepare(layout, Box::new(driver), new_id)?),
            })
        })
        .await
    }

    /// A pool in an ordinary folder, for tests: it copies, which takes no root and is no snapshot.
    #[cfg(feature = "testing")]
    pub async fn open_copying(folder: PathBuf) -> Result<Self, PoolError> {
        blocking(move || {
            std::fs::create_dir_all(&folder).during("create", &folder)?;
            let driver = Box::new(crate::driver::copying::Copying);
            Ok(Self {
                inner: Arc::new(Inner::prepare(Layout::new(folder), driver, "0".repeat(16))?),
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

    /// Has every change of the pool fail after so many more, as if the daemon had died.
    #[cfg(feature = "testing")]
    pub fn die_after(&self, steps: u64) {
        self.inner.fuse.burn_after(steps);
    }

    /// How many changes of the pool were made.
    #[cfg(feature = "testing")]
    pub fn steps(&self) -> u64 {
        self.inner.fuse.taken()
    }

    /// The node's id.
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// Where the registry of the pool's contents belongs.
    pub fn registry_file(&self) -> PathBuf {
        self.inner.layout.root().join("registry.db")
    }

    /// How full it is.
    pub async fn space(&self) -> Result<Space, PoolError> {
        self.run(|inner| inner.driver.space()).await
    }

    /// Makes the pool as large as what the disk below can give now, and says how it stands.
    pub async fn fit(&self) -> Result<Room, PoolError> {
        self.run(|inner| inner.driver.fit()).await
    }

    /// Keeps some space back for [`Self::lend_reserve`], where there is room for that.
    pub async fn keep_reserve(&self) -> Result<(), PoolError> {
        self.run(Inner::keep_reserve).await
    }

    /// Frees the space that was kept back, if there is little else: for what makes room, or must be written to start.
    pub async fn lend_reserve(&self) -> Result<(), PoolError> {
        self.run(Inner::lend_reserve).await
    }

    /// Reads all dots, with their branches, from the folders alone, and throws away what was never finished. To be called
    /// before anything else works on them.
    pub async fn dots(&self) -> Result<Dots, PoolError> {
        self.run(Inner::dots).await
    }

    /// The commits of a dot whose snapshots are here.
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

    /// A commit's record, as it was written.
    pub async fn record(&self, dot: &DotName, commit: CommitId) -> Result<Vec<u8>, PoolError> {
        let path = self.inner.layout.commit(dot, commit).join(RECORD);
        self.run(move |_| std::fs::read(&path).during("read", &path))
            .await
    }

    /// Makes an empty dot with one branch, in one step.
    pub async fn create_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let (dot, file) = (dot.clone(), file.clone());
        self.run(move |inner| inner.create_dot(&dot, &file)).await
    }

    /// Makes the folders of a dot that is not to be seen before [`Self::write_dot`] describes it. What is there from an
    /// earlier attempt stays, for a while.
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

    /// Removes from a dot that is not described yet all branches, and all commits but those to keep.
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

    /// Moves a dot to the trash. Its name is free at once. Fine if it is there already, as after an attempt that
    /// failed later.
    pub async fn delete_dot(&self, dot: &DotName) -> Result<(), PoolError> {
        let path = self.inner.layout.dot(dot);
        self.run(move |inner| match inner.discard(&path) {
            Err(_) if !path.exists() => Ok(()),
            done => done,
        })
        .await
    }

    /// Makes a branch's working copy. Fails if there is one.
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

    /// Freezes all subdots of a branch at one instant, whatever is writing to them.
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

    /// Takes a commit back that nothing refers to yet. Its branch's head is the commit's parent again.
    pub async fn take_back(&self, dot: &DotName, id: CommitId) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.driver.delete(&inner.layout.commit(&dot, id)))
            .await
    }

    /// The head of a branch, as its working copy says.
    pub async fn head(&self, dot: &DotName, branch: &BranchName) -> Result<CommitId, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.head(&dot, &branch)).await
    }

    /// The folder of a commit's frozen data.
    pub fn commit_data(&self, dot: &DotName, commit: CommitId) -> PathBuf {
        self.inner.layout.commit(dot, commit).join(DATA)
    }

    /// How a commit's data differs from that of an earlier commit of its line; both are here. `base_links` says whether
    /// a file of the earlier one may have several names: yes is always right, and slower.
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

    /// Begins to receive a commit on top of another, which must be here: at best one that has much in common with it.
    pub async fn begin_import(
        &self,
        dot: &DotName,
        base: CommitId,
        commit: CommitId,
    ) -> Result<Import, PoolError> {
        let dot = dot.clone();
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let (folder, opened, resumed) = inner.begin_import(&dot, base, commit)?;
            Ok(Import {
                inner,
                folder,
                opened,
                resumed,
            })
        })
        .await
    }

    /// Gives an import up for good: after this the next one begins anew.
    pub async fn discard_import(&self, import: Import) -> Result<(), PoolError> {
        self.run(move |inner| {
            // Not `throw_away`: if it stays, the next import would go on with it.
            let to = temporary(&inner.layout.staging());
            std::fs::rename(&import.folder, &to).during("delete", &import.folder)?;
            inner.throw_away(&to);
            Ok(())
        })
        .await
    }

    /// Makes a received commit visible: frozen, durable, in one step.
    pub async fn finish_import(
        &self,
        dot: &DotName,
        import: Import,
        id: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let dot = dot.clone();
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let snapshot = inner.layout.commit(&dot, id);
            // Another transfer may have been faster.
            if !snapshot.exists() {
                rustix::fs::syncfs(&import.opened).during("flush", &import.folder)?;
                inner.freeze(&import.folder, &snapshot, &record)?;
            }
            // To let go of all that it has in memory takes a while, for which nobody need wait.
            let done_with = temporary(&inner.layout.staging());
            std::fs::rename(&import.folder, &done_with).during("delete", &import.folder)?;
            tokio::task::spawn_blocking(move || inner.remove_for_good(&done_with));
            Ok(())
        })
        .await
    }

    /// Forgets what transfers that ended early had received, where nobody went on with it for so long.
    pub async fn forget_incoming(&self, age: Duration) -> Result<(), PoolError> {
        self.run(move |inner| inner.forget_incoming(age)).await
    }

    /// What was written as [`Self::write_hub_history`].
    pub async fn hub_history(&self, dot: &DotName) -> Result<Option<Vec<u8>>, PoolError> {
        let path = self.inner.layout.hub_history(dot);
        self.run(move |_| match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.during("read", &path).map(Some),
        })
        .await
    }

    /// Keeps, durably, what hubs have told of a dot's history.
    pub async fn write_hub_history(&self, dot: &DotName, bytes: Vec<u8>) -> Result<(), PoolError> {
        let path = self.inner.layout.hub_history(dot);
        self.run(move |_| durable::replace(&path, &bytes)).await
    }

    /// How much a branch holds, and how much of it no commit holds. `head` is the branch's head.
    pub async fn usage(
        &self,
        dot: &DotName,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<Usage, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.usage(&dot, &branch, head))
            .await
    }

    /// The usage of many branches in one go, each with its head.
    pub async fn usages(
        &self,
        branches: Vec<(DotName, BranchName, CommitId)>,
    ) -> Result<Vec<Result<Usage, PoolError>>, PoolError> {
        self.run(move |inner| {
            let usages = branches
                .iter()
                .map(|(dot, branch, head)| inner.usage(dot, branch, *head));
            Ok(usages.collect())
        })
        .await
    }

    /// Hastens the return of the space of what was deleted. It may take a moment longer than this call.
    pub async fn reclaim(&self) -> Result<(), PoolError> {
        self.run(|inner| inner.driver.reclaim()).await
    }

    /// Writes out what the kernel still holds in memory, so that [`Self::usage`] sees it.
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
            // What a container makes is never followed.
            let is_folder = |path: &Path| {
                std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
            };
            names.retain(|name| is_folder(&data.join(name)));
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    /// Deletes for good what has been in the trash for longer than `grace`. What cannot be deleted stays, as one of
    /// [`Self::leftovers`], and is tried again at a later call.
    pub async fn empty_trash(&self, grace: Duration) -> Result<(), PoolError> {
        self.run(move |inner| inner.empty_trash(grace)).await
    }

    /// What was to be deleted and could not be, since the pool was opened.
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
            // A cancelled task would mean that the runtime is going down, and then nobody is here to see it.
            std::panic::resume_unwind(error.into_panic())
        })
}
