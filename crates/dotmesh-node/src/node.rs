//! The state that all operations share.

use std::sync::Arc;

use dotmesh_api::network::Network;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::ambient::Clock;
use dotmesh_model::{CommitId, DotName, StashId};
use dotmesh_pool::{BtrfsPlace, Pool};
use jiff::Timestamp;
use rand::Rng as _;
use tokio::sync::Notify;

use crate::config::Config;
use crate::copies::Copies;
use crate::engine::{BollardEngine, Docker, Engine};
use crate::error::NodeError;
use crate::leftovers::Leftovers;
use crate::locks::Locks;
use crate::mounts::{Attach, Kernel, Mounts};
use crate::operations::rows::Rooms;
use crate::problems::Problems;
use crate::registry::{Dot, Registry};
use crate::running::Running;
use crate::sqlite;
use crate::stored_pages::StoredPages;
use crate::timing::Timing;

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub(crate) pool: Pool,
    pub(crate) registry: Registry,
    pub(crate) stored_pages: StoredPages,
    pub(crate) docker: Docker,
    pub(crate) mounts: Mounts,
    pub(crate) locks: Arc<Locks>,
    pub(crate) problems: Arc<Problems>,
    /// The long operations, to which clients can attach.
    pub(crate) running: Arc<Running>,
    /// Wakes the task that restarts containers.
    pub(crate) wake: Arc<Notify>,
    pub(crate) timing: Timing,
    pub(crate) leftovers: Arc<Leftovers>,
    /// Held while a commit is searched for files that cannot be pushed.
    pub(crate) searching: Arc<tokio::sync::Mutex<()>>,
    /// The copies of data that throwaway containers use.
    pub(crate) copies: Arc<Copies>,
    /// What throwaway containers may take of the machine.
    pub(crate) rooms: Rooms,
    /// Wakes the task that reads the databases of pushed commits.
    pub(crate) summaries: Arc<Notify>,
    pub(crate) config: Arc<Config>,
    pub(crate) network: Arc<Network>,
}

impl Node {
    /// Attaches the pool and opens the registry. Interrupted operations are not completed yet.
    pub async fn open(config: Config) -> Result<Self, NodeError> {
        let pool = Pool::open(place(&config), random_hex::<8>(), Clock::new(now)).await?;
        // The registry cannot be opened in a full pool.
        pool.lend_reserve().await?;
        let file = pool.registry_file();
        if config.rebuild_registry {
            sqlite::remove(&file).await?;
        }
        let registry = Registry::open(&file).await?;
        let engine = BollardEngine::new(
            config.docker_host.clone(),
            config.driver(),
            registry.clone(),
            pool.node(),
        );
        let (engine, attach) = (Arc::new(engine), Arc::new(Kernel));
        let timing = if config.is_managed_plugin() {
            Timing::of_managed_plugin()
        } else {
            Timing::default()
        };
        Self::assemble(pool, registry, engine, attach, timing, config).await
    }

    /// Builds a node from its parts. Interrupted operations are not completed yet.
    pub(crate) async fn assemble(
        pool: Pool,
        registry: Registry,
        engine: Arc<dyn Engine>,
        attach: Arc<dyn Attach>,
        timing: Timing,
        config: Config,
    ) -> Result<Self, NodeError> {
        let network = config
            .network()
            .map_err(|message| ErrorBody::new(ErrorCode::Invalid, message))?;
        let stored_pages =
            StoredPages::open(&pool.registry_file().with_file_name("nodes.db")).await?;
        let mounts = Mounts::open(
            config.mounts(),
            config.rootless_mounts(),
            attach,
            registry.clone(),
        )
        .await?;
        Ok(Self {
            mounts,
            pool,
            registry,
            stored_pages,
            docker: Docker::new(engine, timing),
            locks: Arc::default(),
            problems: Arc::default(),
            running: Arc::default(),
            wake: Arc::default(),
            timing,
            leftovers: Arc::default(),
            searching: Arc::default(),
            copies: Arc::default(),
            rooms: Rooms::of_users(),
            summaries: Arc::default(),
            config: Arc::new(config),
            network: Arc::new(network),
        })
    }

    /// Writes a dot's description into the pool, then into the registry.
    pub(crate) async fn save(&self, dot: &Dot) -> Result<(), NodeError> {
        self.pool.write_dot(&dot.name, &dot.to_file()).await?;
        self.registry.put_dot(dot).await
    }

    /// The dot's state once no switch is under way.
    pub(crate) async fn settled(&self, name: &DotName) -> Result<Dot, NodeError> {
        let _passing = self.locks.pass_gate(name).await;
        self.registry.dot(name).await
    }
}

impl Dot {
    /// The dot's description as the pool stores it.
    pub(crate) fn to_file(&self) -> dotmesh_pool::DotFile {
        let origins = self
            .branches
            .iter()
            .filter_map(|(name, branch)| Some((name.clone(), branch.origin.clone()?)));
        dotmesh_pool::DotFile {
            id: self.id.clone(),
            current: self.current.clone(),
            origins: origins.collect(),
        }
    }
}

/// Where the pool is.
pub(crate) fn place(config: &Config) -> BtrfsPlace {
    let mountpoint = config.root.join("pool");
    match &config.pool {
        None => BtrfsPlace::Image {
            file: config.root.join("pool.img"),
            mountpoint,
            limit: config.pool_limit.unwrap_or(u64::MAX),
        },
        Some(path) if path.is_dir() => BtrfsPlace::Folder(path.clone()),
        Some(device) => BtrfsPlace::Device {
            device: device.clone(),
            mountpoint,
        },
    }
}

/// Random bytes as lowercase hex digits.
pub(crate) fn random_hex<const BYTES: usize>() -> String {
    random::<BYTES>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A new commit's id.
pub(crate) fn random_commit_id() -> CommitId {
    CommitId::from_bytes(random())
}

/// A new stash's id.
pub(crate) fn random_stash_id() -> StashId {
    StashId::from_bytes(random())
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Fills a buffer with random bytes.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(crate) fn fill(bytes: &mut [u8]) {
    rand::rng().fill_bytes(bytes);
}

fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    fill(&mut bytes);
    bytes
}
