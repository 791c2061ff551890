//! Each dot has these locks, taken in this order:
//! - `operation`: held by each operation that changes the dot, from beginning to end. An operation on one branch holds it
//!   shared, any other exclusively.
//! - `branches`: one for each branch, held by an operation on that branch. So forks do not wait for each other's
//!   containers.
//! - `changing`: held by an operation on one branch for the moment in which it writes to the dot's log and to the
//!   registry's entry of the dot.
//! - `gate`: held while the current branch changes, and by each mount of an unpinned volume. Such a mount waits until
//!   it is known which branch to show.
//! - `still`: held for the moment in which a working copy is moved, replaced or deleted. Each mount holds it from when
//!   it looks at the working copy until it is recorded as handed out.
//!
//! One lock would deadlock: a checkout starts containers, and Docker asks for their mounts before the checkout ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_model::{BranchName, DotName};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

#[derive(Default)]
pub(crate) struct Locks {
    /// Held while ports of forks are chosen, and while forks are written.
    choosing: Arc<tokio::sync::Mutex<()>>,
    dots: Mutex<HashMap<DotName, Arc<DotLocks>>>,
}

#[derive(Default)]
struct DotLocks {
    operation: Arc<RwLock<()>>,
    branches: Mutex<HashMap<BranchName, Arc<tokio::sync::Mutex<()>>>>,
    changing: Arc<tokio::sync::Mutex<()>>,
    gate: Arc<RwLock<()>>,
    still: Arc<RwLock<()>>,
    /// What the holder of the operation lock does, in a few words.
    doing: Mutex<String>,
}

impl DotLocks {
    fn branch(&self, branch: &BranchName) -> Arc<tokio::sync::Mutex<()>> {
        let mut branches = lock(&self.branches);
        // A lock that nobody holds can be created again.
        branches.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(branches.entry(branch.clone()).or_default())
    }
}

/// The right to change a dot, or one branch of it.
#[must_use]
pub(crate) struct Held {
    _whole: Option<OwnedRwLockWriteGuard<()>>,
    _shared: Option<OwnedRwLockReadGuard<()>>,
    _branch: Option<OwnedMutexGuard<()>>,
}

impl Held {
    fn whole(whole: OwnedRwLockWriteGuard<()>) -> Self {
        Self {
            _whole: Some(whole),
            _shared: None,
            _branch: None,
        }
    }

    fn branch(shared: OwnedRwLockReadGuard<()>, own: OwnedMutexGuard<()>) -> Self {
        Self {
            _whole: None,
            _shared: Some(shared),
            _branch: Some(own),
        }
    }
}

impl Locks {
    fn of(&self, dot: &DotName) -> Arc<DotLocks> {
        let mut dots = lock(&self.dots);
        // Entries of deleted dots would pile up. A lock that nobody holds can be created again.
        if dots.len() > 10_000 {
            dots.retain(|_, locks| {
                let held = [
                    Arc::strong_count(&locks.operation),
                    Arc::strong_count(&locks.gate),
                    Arc::strong_count(&locks.still),
                    Arc::strong_count(&locks.changing),
                ];
                held.iter().any(|count| *count > 1)
            });
        }
        Arc::clone(dots.entry(dot.clone()).or_default())
    }

    /// Waits until nothing else changes the dot. `doing` appears in the errors of other operations: "dot app is being …".
    pub(crate) async fn operation(&self, dot: &DotName, doing: &str) -> Held {
        let locks = self.of(dot);
        let whole = Arc::clone(&locks.operation).write_owned().await;
        doing.clone_into(&mut lock(&locks.doing));
        Held::whole(whole)
    }

    /// Waits until nothing else changes the branch, or the dot as a whole.
    pub(crate) async fn on_branch(&self, dot: &DotName, branch: &BranchName, doing: &str) -> Held {
        let locks = self.of(dot);
        let shared = Arc::clone(&locks.operation).read_owned().await;
        let own = locks.branch(branch).lock_owned().await;
        doing.clone_into(&mut lock(&locks.doing));
        Held::branch(shared, own)
    }

    /// Like `on_branch`, but returns `None` instead of waiting.
    pub(crate) fn try_on_branch(
        &self,
        dot: &DotName,
        branch: &BranchName,
        doing: &str,
    ) -> Option<Held> {
        let locks = self.of(dot);
        let shared = Arc::clone(&locks.operation).try_read_owned().ok()?;
        let own = locks.branch(branch).try_lock_owned().ok()?;
        doing.clone_into(&mut lock(&locks.doing));
        Some(Held::branch(shared, own))
    }

    /// Waits until no operation on another branch writes to the dot's log. Hold it for a moment only.
    pub(crate) async fn changing(&self, dot: &DotName) -> OwnedMutexGuard<()> {
        Arc::clone(&self.of(dot).changing).lock_owned().await
    }

    /// Like `operation`, but returns `None` instead of waiting.
    pub(crate) fn try_operation(&self, dot: &DotName, doing: &str) -> Option<Held> {
        let locks = self.of(dot);
        let whole = Arc::clone(&locks.operation).try_write_owned().ok()?;
        doing.clone_into(&mut lock(&locks.doing));
        Some(Held::whole(whole))
    }

    /// Waits until nothing else chooses ports or writes forks of any dot. Hold it for a moment only.
    pub(crate) async fn choosing(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.choosing).lock_owned().await
    }

    /// The `doing` of the operation that holds the lock, or held it last.
    pub(crate) fn doing(&self, dot: &DotName) -> String {
        lock(&self.of(dot).doing).clone()
    }

    /// Makes mounts of unpinned volumes wait.
    pub(crate) async fn close_gate(&self, dot: &DotName) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.of(dot).gate).write_owned().await
    }

    /// Waits while the current branch changes.
    pub(crate) async fn pass_gate(&self, dot: &DotName) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.of(dot).gate).read_owned().await
    }

    /// Keeps the dot's working copies in place. Hold it for a moment only.
    pub(crate) async fn hold_still(&self, dot: &DotName) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.of(dot).still).read_owned().await
    }

    /// Waits until no mount is being answered, and makes new ones wait. Hold it for a moment only.
    pub(crate) async fn moving(&self, dot: &DotName) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.of(dot).still).write_owned().await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
