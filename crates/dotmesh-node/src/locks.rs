//! Each dot has three locks, taken in this order:
//! - `operation`: held by each operation that changes the dot, from beginning to end.
//! - `gate`: held while the current branch changes, and by each mount of an unpinned volume. Such a mount waits until
//!   it is known which branch to show.
//! - `still`: held for the moment in which a working copy is moved, replaced or deleted. Each mount holds it from when
//!   it looks at the working copy until it is recorded as handed out.
//!
//! One lock would deadlock: a checkout starts containers, and Docker asks for their mounts before the checkout ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_model::DotName;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

#[derive(Default)]
pub(crate) struct Locks {
    dots: Mutex<HashMap<DotName, Arc<DotLocks>>>,
}

#[derive(Default)]
struct DotLocks {
    operation: Arc<tokio::sync::Mutex<()>>,
    gate: Arc<RwLock<()>>,
    still: Arc<RwLock<()>>,
    /// What the holder of the operation lock does, in a few words.
    doing: Mutex<String>,
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
                ];
                held.iter().any(|count| *count > 1)
            });
        }
        Arc::clone(dots.entry(dot.clone()).or_default())
    }

    /// Waits until nothing else changes the dot. `doing` appears in the errors of other operations: "dot app is being …".
    pub(crate) async fn operation(&self, dot: &DotName, doing: &str) -> OwnedMutexGuard<()> {
        let locks = self.of(dot);
        let guard = Arc::clone(&locks.operation).lock_owned().await;
        doing.clone_into(&mut lock(&locks.doing));
        guard
    }

    /// Like `operation`, but returns `None` instead of waiting.
    pub(crate) fn try_operation(&self, dot: &DotName, doing: &str) -> Option<OwnedMutexGuard<()>> {
        let locks = self.of(dot);
        let guard = Arc::clone(&locks.operation).try_lock_owned().ok()?;
        doing.clone_into(&mut lock(&locks.doing));
        Some(guard)
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
