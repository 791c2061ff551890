//! What every route works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use dotmesh_store::PackStore;
use tokio::sync::{Notify, Semaphore};

use crate::background::Background;
use crate::credentials::HashedPassword;
use crate::database::Database;
use crate::database::ids::UploadId;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::rate_limit::RateLimit;
use crate::routes::health::Readiness;
use crate::settings::Settings;

/// Passwords hashed at once: each takes a core and 19 MiB.
const PASSWORD_CHECKS: usize = 2;

/// Bytes of packs in memory at once, on their way in.
pub(crate) const PACKS_IN_LENGTH: usize = 64 << 20;

/// Packs with deltas that are resolved at once: each takes some packs' memory more.
const RESOLVING: usize = 2;

/// Packs on their way out at once, of each a few parts in memory. Pushes cannot hold up clones, nor these those.
const PACKS_OUT: usize = 8;

/// Files on their way out at once, of each a megabyte in memory.
const DOWNLOADS: usize = 64;

/// Commits whose files are counted at once in the background.
const COUNTING: usize = 1;

/// Pushes being finished, most of them waiting for the walk of another.
const FINISHES: usize = 16;

/// The hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    /// Its records.
    pub database: Database,
    /// What its administrator has decided.
    pub settings: Arc<Settings>,
    /// Its objects.
    pub packs: PackStore,
    /// Who looks at its pages at this moment.
    pub live: Live,
    /// Notified when webhooks may have something to be told.
    pub outbox: Arc<Notify>,
    pub(crate) background: Background,
    pub(crate) password_checks: Arc<Semaphore>,
    pub(crate) packs_in: Arc<Semaphore>,
    pub(crate) resolving: Arc<Semaphore>,
    pub(crate) packs_out: Arc<Semaphore>,
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) counting: Arc<Semaphore>,
    pub(crate) finishes: Arc<Semaphore>,
    pub(crate) nobody: Arc<HashedPassword>,
    pub(crate) rate_limit: Option<Arc<RateLimit>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<tokio::sync::Mutex<Option<(Instant, Readiness)>>>,
    finishing: Arc<Mutex<HashMap<UploadId, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Hub {
    /// Puts the parts together.
    pub fn new(database: Database, packs: PackStore, settings: Settings) -> Self {
        let rate_limit = settings.rate_limit.map(RateLimit::new).map(Arc::new);
        Self {
            rate_limit,
            settings: Arc::new(settings),
            database,
            packs,
            live: Live::default(),
            outbox: Arc::default(),
            background: Background::default(),
            password_checks: Arc::new(Semaphore::new(PASSWORD_CHECKS)),
            packs_in: Arc::new(Semaphore::new(PACKS_IN_LENGTH)),
            resolving: Arc::new(Semaphore::new(RESOLVING)),
            packs_out: Arc::new(Semaphore::new(PACKS_OUT)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            counting: Arc::new(Semaphore::new(COUNTING)),
            finishes: Arc::new(Semaphore::new(FINISHES)),
            nobody: Arc::new(HashedPassword::nobody()),
            metrics: Arc::default(),
            readiness: Arc::default(),
            finishing: Arc::default(),
        }
    }

    /// The lock of one upload's finishing: a repeated request waits for the first one's outcome instead of
    /// verifying everything beside it. Saves work only: the database decides, between processes as well.
    pub(crate) fn finishing(&self, upload: UploadId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self
            .finishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&upload).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(upload, Arc::downgrade(&lock));
        lock
    }
}
