//! The state that every route works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use dotmesh_hub_db::Database;
use dotmesh_hub_db::ids::UploadId;
use dotmesh_hub_model::credentials::HashedPassword;
use dotmesh_hub_model::limits;
use dotmesh_model::ambient::{Clock, Random};
use dotmesh_store::PackStore;
use tokio::sync::{Notify, Semaphore};

use crate::background::Background;
use crate::descriptors;
use crate::gate::Gate;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::rate_limit::RateLimit;
use crate::readiness::Readiness;
use crate::settings::Settings;
use crate::turns::Turns;
use crate::written_today::WrittenToday;

/// The most commits that are counted at once in the background.
const COUNTING: usize = 1;

/// The hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    /// The database.
    pub database: Database,
    pub settings: Arc<Settings>,
    /// The clock. `Instant` measures how long something takes.
    pub clock: Clock,
    pub random: Random,
    /// The store of objects.
    pub packs: PackStore,
    /// The listeners of its pages.
    pub live: Live,
    /// Notified when webhooks may have deliveries.
    pub outbox: Arc<Notify>,
    pub(crate) background: Background,
    /// The queue for CPU work of requests.
    pub gate: Gate,
    /// The limits on shared resources, as `limits.rs` defines them.
    pub turns: Arc<AllTurns>,
    pub(crate) counting: Arc<Semaphore>,
    /// The hash that an unknown user's password is compared with, once there was a login by password.
    pub(crate) nobody: Arc<OnceLock<HashedPassword>>,
    /// The access log entries that this process has written today.
    pub(crate) written: Arc<WrittenToday>,
    pub(crate) rate_limit: Option<Arc<RateLimit>>,
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<tokio::sync::Mutex<Option<(Instant, Readiness)>>>,
    finishing: Arc<Mutex<HashMap<UploadId, Weak<tokio::sync::Mutex<()>>>>>,
}

/// The limits on shared resources, except CPU work and listeners: `gate` and `live` have their own.
pub struct AllTurns {
    pub connections: Turns,
    pub requests: Turns,
    pub memory: Turns,
    pub pages: Turns,
    pub packs_in: Turns,
    pub(crate) resolving: Turns,
    pub finishes: Turns,
    pub(crate) packs_out: Turns,
    pub downloads: Turns,
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
    pub fn new(
        database: Database,
        packs: PackStore,
        settings: Settings,
        clock: Clock,
        random: Random,
    ) -> Self {
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
            nobody: Arc::default(),
            clock,
            random,
            written: Arc::default(),
            metrics: Arc::default(),
            readiness: Arc::default(),
            finishing: Arc::default(),
        }
    }

    pub fn connections(&self) -> usize {
        self.turns.connections.used()
    }

    /// Returns the lock for finishing an upload. A repeated request waits for the result of the first one, instead of
    /// verifying everything at the same time. The lock only saves work: the database decides, also between processes.
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
