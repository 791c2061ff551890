//! Who may work on a dot at the same time.
//!
//! Each dot has two locks. `operation` is held by whatever changes the dot, from beginning to end. `gate` is held
//! while the current branch changes, and by Docker's mounts for a moment: a mount waits until it is known which
//! branch to show. They are two because a checkout starts containers, whose mounts Docker asks for meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

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
}

impl Locks {
    fn of(&self, dot: &DotName) -> Arc<DotLocks> {
        let mut dots = self
            .dots
            .lock()
            .expect("nothing panics while it holds the lock");
        // Names of dots that are no more would pile up; those that nobody holds are as good as new.
        if dots.len() > 10_000 {
            dots.retain(|_, locks| {
                Arc::strong_count(&locks.operation) > 1 || Arc::strong_count(&locks.gate) > 1
            });
        }
        Arc::clone(dots.entry(dot.clone()).or_default())
    }

    /// Waits until nothing else changes the dot.
    pub(crate) async fn operation(&self, dot: &DotName) -> OwnedMutexGuard<()> {
        Arc::clone(&self.of(dot).operation).lock_owned().await
    }

    /// Keeps mounts waiting.
    pub(crate) async fn close_gate(&self, dot: &DotName) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.of(dot).gate).write_owned().await
    }

    /// Waits while the current branch changes.
    pub(crate) async fn pass_gate(&self, dot: &DotName) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.of(dot).gate).read_owned().await
    }
}
