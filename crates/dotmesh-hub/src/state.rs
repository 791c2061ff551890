//! What every route works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use dotmesh_store::PackStore;
use tokio::sync::{Notify, Semaphore};

use crate::audit::Written;
use crate::background::Background;
use crate::credentials::HashedPassword;
use crate::database::Database;
use crate::database::ids::UploadId;
use crate::gate::Gate;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::rate_limit::RateLimit;
use crate::routes::health::Readiness;
use crate::settings::Settings;
use crate::turns::Turns;
use crate::{descriptors, limits};

/// Commits whose files are counted at once in the background.
const COUNTING: usize = 1;

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
    /// Where work of requests that costs CPU gets its turn.
    pub gate: Gate,
    /// What is shared: see `limits.rs`.
    pub(crate) turns: Arc<AllTurns>,
    pub(crate) counting: Arc<Semaphore>,
    pub(crate) nobody: Arc<HashedPassword>,
    /// What was written into the access log today.
    pub(crate) written: Arc<Written>,
    pub(crate) rate_limit: Option<Arc<RateLimit>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<tokio::sync::Mutex<Option<(Instant, Readiness)>>>,
    finishing: Arc<Mutex<HashMap<UploadId, Weak<tokio::sync::Mutex<()>>>>>,
}

/// The turns of everything that is shared.
pub(crate) struct AllTurns {
    pub(crate) connections: Turns,
    pub(crate) requests: Turns,
    pub(crate) memory: Turns,
    pub(crate) pages: Turns,
    pub(crate) packs_in: Turns,
    pub(crate) resolving: Turns,
    pub(crate) finishes: Turns,
    pub(crate) packs_out: Turns,
    pub(crate) downloads: Turns,
    pub(crate) passwords: Turns,
}

impl Default for AllTurns {
    fn default() -> Self {
        Self {
            connections: Turns::with(&limits::CONNECTIONS, descriptors::connections()),
            requests: Turns::of(&limits::REQUESTS),
            memory: Turns::of(&limits::MEMORY),
            pages: Turns::of(&limits::PAGES),
            packs_in: Turns::of(&limits::PACKS_IN),
            resolving: Turns::of(&limits::RESOLVING),
            finishes: Turns::of(&limits::FINISHES),
            packs_out: Turns::of(&limits::PACKS_OUT),
            downloads: Turns::of(&limits::DOWNLOADS),
            passwords: Turns::of(&limits::PASSWORDS),
        }
    }
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
            gate: Gate::default(),
            turns: Arc::default(),
            counting: Arc::new(Semaphore::new(COUNTING)),
            nobody: Arc::new(HashedPassword::nobody()),
            written: Arc::default(),
            metrics: Arc::default(),
            readiness: Arc::default(),
            finishing: Arc::default(),
        }
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.turns.connections.used()
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
