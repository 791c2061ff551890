//! Lets tests simulate the death of the daemon between any two steps of a pool: all later steps of the pool fail.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::PoolError;

/// How many steps a pool has taken, and after how many it fails.
#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    limit: AtomicU64,
}

/// Fails the steps of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Fuse(Arc<Counts>);

thread_local! {
    static BURNING: RefCell<Option<Fuse>> = const { RefCell::new(None) };
}

/// While this exists, the steps of this thread count for one pool.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        BURNING.set(None);
    }
}

impl Default for Fuse {
    fn default() -> Self {
        let counts = Counts::default();
        counts.limit.store(u64::MAX, Ordering::Relaxed);
        Self(Arc::new(counts))
    }
}

impl Fuse {
    pub(crate) fn enter(&self) -> Entered {
        BURNING.set(Some(self.clone()));
        Entered
    }

    /// Makes all steps fail after this number of further steps.
    pub(crate) fn burn_after(&self, steps: u64) {
        let limit = self.taken().saturating_add(steps);
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }
}

/// Counts a step, or fails it.
pub(crate) fn burn(path: &Path) -> Result<(), PoolError> {
    let Some(Fuse(counts)) = BURNING.with_borrow(Clone::clone) else {
        return Ok(());
    };
    if counts.taken.load(Ordering::Relaxed) >= counts.limit.load(Ordering::Relaxed) {
        return Err(PoolError::Damaged {
            path: path.to_owned(),
            problem: "the daemon has died".to_owned(),
        });
    }
    counts.taken.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
