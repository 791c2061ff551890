//! Lets tests have the daemon die between any two steps of the pool: from then on, every step of that pool fails.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::PoolError;

/// How many steps a pool has taken, and how many it takes at most.
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

/// While it lives, the steps of this thread are those of a pool.
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

    /// Has every step fail after so many more.
    pub(crate) fn burn_after(&self, steps: u64) {
        let limit = self.taken().saturating_add(steps);
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }
}

/// Takes a step.
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
