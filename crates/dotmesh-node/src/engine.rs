//! The node's view of the Docker Engine: containers, the volumes they use, and what they really have mounted.
//!
//! [`Engine`] has two implementations: the real one, and a scripted one for tests. Operations use [`Docker`], which
//! gives each call a timeout.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_model::{BranchName, DotName, VolumeName};
use dotmesh_pool::MountEntry;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::timing::Timing;

pub(crate) mod answers;
mod bollard_engine;
mod details;
mod failures;
mod processes;
#[cfg(test)]
pub(crate) mod scripted;
mod terminal;
pub(crate) mod throwaway;
mod unpack;
mod volumes;

pub(crate) use bollard_engine::{BollardEngine, connect, proof};
pub(crate) use volumes::EngineVolume;

/// Why a call to the Engine failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// The container does not exist, or is being removed.
    #[error("the container is gone")]
    Gone,
    /// The Engine is unreachable. It may or may not have done what the call asked for.
    #[error("cannot reach Docker: {0}")]
    Unreachable(String),
    /// The Engine did not answer in time. It may still do what the call asked for.
    #[error("Docker did not answer within {0} s")]
    Silent(u64),
    /// The Engine refused, with this message.
    #[error("{0}")]
    Refused(String),
}

type Result<T> = std::result::Result<T, EngineError>;

/// The future of a call.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// Which Engine it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// `Docker` or `Podman`.
    pub(crate) name: String,
    pub(crate) version: String,
}

impl About {
    /// Podman keeps a container locked while it starts it, and until then neither lists nor inspects any.
    pub(crate) fn is_podman(&self) -> bool {
        self.name == "Podman"
    }
}

/// The part of the Engine's API that the node needs.
pub(crate) trait Engine: Send + Sync {
    /// Which Engine it is.
    fn about(&self) -> Answer<'_, About>;

    /// The id that the Engine made for itself. Podman has none.
    fn id(&self) -> Answer<'_, Option<String>>;

    /// The names of the Engine's own volumes, which belong to no plugin.
    fn local_volumes(&self) -> Answer<'_, Vec<String>>;

    /// All containers, running or not. Docker never waits for a container that is being started, but Podman does.
    fn list(&self) -> Answer<'_, Vec<Container>>;

    /// The details of some containers. Leaves out those that are gone, and those that do not answer soon, such as while
    /// they are being started.
    fn inspect<'a>(&'a self, containers: &'a [Container]) -> Answer<'a, Vec<Inspected>>;

    /// Stops a container within its configured grace period. Succeeds if it is stopped already.
    fn stop<'a>(&'a self, id: &'a str, grace: Option<Duration>) -> Answer<'a, ()>;

    /// Starts a container. Succeeds if it runs already.
    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// Pauses a running container. Succeeds if it is paused already.
    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// The details of an image.
    fn image<'a>(&'a self, id: &'a str) -> Answer<'a, Image>;

    /// Copies a folder of an image into an empty folder, with owners and permissions. Returns the copy's path in that
    /// folder, or `None` if the image has no such folder.
    fn copy_from_image<'a>(
        &'a self,
        image: &'a str,
        from: &'a Path,
        to: &'a Path,
    ) -> Answer<'a, Option<PathBuf>>;

    /// A volume of any driver, by its name.
    fn volume<'a>(&'a self, name: &'a str) -> Answer<'a, Option<EngineVolume>>;

    /// Makes a local volume. Succeeds if it exists.
    fn create_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;

    /// Removes a volume.
    fn remove_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;

    /// The mounts of this machine's processes, per mount namespace, without this daemon's own.
    fn namespaces(&self) -> Answer<'_, Vec<Namespace>>;

    /// Sends events until the receiver is dropped.
    fn changes(&self) -> mpsc::Receiver<Change>;

    /// What throwaway containers are made with. Only a real Engine can make some.
    fn workshop(&self) -> Answer<'_, throwaway::Workshop> {
        let refused = EngineError::Refused("this Engine makes no containers".to_owned());
        Box::pin(std::future::ready(Err(refused)))
    }
}

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The Engine is reachable, for the first time or again. It will not start what it was about to start before.
    Connected(Timestamp),
    /// A container was started, stopped, removed or renamed.
    Container,
}

/// A container's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// It was never started.
    #[default]
    Created,
    Running,
    Paused,
    /// Its process has ended, and the Engine is about to start it again.
    Restarting,
    /// It is being removed.
    Removing,
    Exited,
    /// Its removal failed halfway.
    Dead,
}

impl State {
    /// Whether it runs, or will run again by itself.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// A container's use of one of our driver's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeUse {
    pub(crate) volume: VolumeName,
    /// The path in the container.
    pub(crate) destination: PathBuf,
    /// Whether an empty volume is filled from the image.
    pub(crate) copies_image: bool,
}

/// A container, as listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: State,
    /// The volumes of our driver that it mounts.
    pub(crate) uses: Vec<VolumeUse>,
    /// The image as it was requested.
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) labels: HashMap<String, String>,
}

impl Container {
    /// A label's value.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Whether it follows the dot's current branch.
    pub(crate) fn uses_unpinned(&self, dot: &DotName) -> bool {
        let unpinned = |used: &VolumeUse| used.volume.dot == *dot && used.volume.pinned.is_none();
        self.uses.iter().any(unpinned)
    }

    /// Whether it uses a branch. `current` is the branch that unpinned volumes show.
    pub(crate) fn uses(&self, dot: &DotName, branch: &BranchName, current: &BranchName) -> bool {
        self.uses.iter().any(|used| {
            used.volume.dot == *dot && used.volume.pinned.as_ref().unwrap_or(current) == branch
        })
    }

    /// Whether it uses the dot at all.
    pub(crate) fn uses_dot(&self, dot: &DotName) -> bool {
        self.uses.iter().any(|used| used.volume.dot == *dot)
    }

    /// Whether it is a task of Docker Swarm, which replaces it when it stops.
    pub(crate) fn is_swarm_task(&self) -> bool {
        self.labels.contains_key("com.docker.swarm.task.id")
    }
}

/// The state of a container's health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

/// A container in detail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inspected {
    pub(crate) container: Container,
    /// With nanoseconds: Compose creates several containers within a second.
    pub(crate) created: Timestamp,
    /// `/target:/source/alias`
    pub(crate) links: Vec<String>,
    /// `target[:mode]`
    pub(crate) volumes_from: Vec<String>,
    /// The network, IPC and PID modes. A shared one is `container:target`.
    pub(crate) namespaces: Vec<String>,
    /// `None` if it has no health check.
    pub(crate) health: Option<Health>,
    /// How long it may take to stop before it is killed. `None` means no limit.
    pub(crate) grace: Option<Duration>,
    /// Whether Docker removes it when it stops.
    pub(crate) removed_when_stopped: bool,
    /// Whether its restart policy is `always` or `unless-stopped`.
    pub(crate) restarts_always: bool,
    /// Whether its restart policy is `on-failure`.
    pub(crate) restarts_on_failure: bool,
    /// Why its last start failed. Empty if it did not.
    pub(crate) error: String,
    pub(crate) exit_code: i64,
    /// When it was last started.
    pub(crate) started: Timestamp,
    /// The user that it runs as. Empty means root.
    pub(crate) user: String,
    /// Its mount namespace while it runs, if its process is visible.
    pub(crate) mount_namespace: Option<u64>,
}

impl std::ops::Deref for Inspected {
    type Target = Container;
    fn deref(&self) -> &Container {
        &self.container
    }
}

/// An image's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// The registry's digest, or the id if it came from no registry.
    pub(crate) digest: String,
}

/// A mount namespace.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) id: u64,
    /// One of its processes, for messages: `postgres (4711)`.
    pub(crate) process: String,
    pub(crate) mounts: Vec<MountEntry>,
}

/// The containers' names, sorted, for messages.
pub(crate) fn names<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Vec<String> {
    let mut names: Vec<String> = containers
        .into_iter()
        .map(|container| container.name.clone())
        .collect();
    names.sort();
    names
}

/// The containers' names by the branch of `dot` that they use.
pub(crate) fn by_branch(
    containers: &[Container],
    dot: &DotName,
    current: &BranchName,
) -> BTreeMap<BranchName, Vec<String>> {
    let mut branches: BTreeMap<BranchName, Vec<String>> = BTreeMap::new();
    for container in containers {
        for used in container.uses.iter().filter(|used| used.volume.dot == *dot) {
            let branch = used.volume.pinned.clone();
            let names = branches.entry(branch.unwrap_or_else(|| current.clone()));
            let names = names.or_default();
            if !names.contains(&container.name) {
                names.push(container.name.clone());
            }
        }
    }
    for names in branches.values_mut() {
        names.sort();
    }
    branches
}

/// The Engine with timeouts. A call that is not answered in time fails with [`EngineError::Silent`].
#[derive(Clone)]
pub(crate) struct Docker {
    engine: Arc<dyn Engine>,
    timing: Timing,
    listed: Arc<Mutex<Listed>>,
}

/// What the last lists of containers were.
#[derive(Default)]
struct Listed {
    /// The last one that there was.
    containers: Option<Vec<Container>>,
    /// Why there is none any more.
    away: Option<EngineError>,
}

impl Docker {
    pub(crate) fn new(engine: Arc<dyn Engine>, timing: Timing) -> Self {
        Self {
            engine,
            timing,
            listed: Arc::default(),
        }
    }

    async fn within<T>(&self, limit: Duration, answer: Answer<'_, T>) -> Result<T> {
        tokio::time::timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(EngineError::Silent(limit.as_secs())))
    }

    /// Which Engine it is.
    pub(crate) async fn about(&self) -> Result<About> {
        self.within(self.timing.call, self.engine.about()).await
    }

    /// Whether it answers nothing about containers while it waits for a mount. Podman does not even tell its version then,
    /// so no answer is one.
    pub(crate) async fn is_mute_during_mounts(&self) -> bool {
        match tokio::time::timeout(self.timing.mute, self.engine.about()).await {
            Ok(about) => about.is_ok_and(|about| about.is_podman()),
            Err(_) => true,
        }
    }

    /// The id that the Engine made for itself.
    pub(crate) async fn id(&self) -> Result<Option<String>> {
        self.within(self.timing.call, self.engine.id()).await
    }

    /// The names of the Engine's own volumes.
    pub(crate) async fn local_volumes(&self) -> Result<Vec<String>> {
        let answer = self.engine.local_volumes();
        self.within(self.timing.call, answer).await
    }

    /// All containers, running or not.
    pub(crate) async fn list(&self) -> Result<Vec<Container>> {
        let answer = self.within(self.timing.call, self.engine.list()).await;
        let mut listed = self.listed();
        listed.away = answer.as_ref().err().cloned();
        if let Ok(containers) = &answer {
            listed.containers = Some(containers.clone());
        }
        drop(listed);
        answer
    }

    /// All containers, for the Engine that waits for a mount. Podman does not list them then, so this is its last list.
    pub(crate) async fn list_during_mount(&self) -> Result<Vec<Container>> {
        if self.is_mute_during_mounts().await {
            return Ok(self.listed().containers.clone().unwrap_or_default());
        }
        self.list().await
    }

    /// Why containers are not shown any more, if the Engine is away that was there before.
    pub(crate) fn problem(&self) -> Option<String> {
        let listed = self.listed();
        listed.containers.as_ref()?;
        let why = listed.away.as_ref()?;
        Some(format!(
            "containers are not shown, although they may run: {why}"
        ))
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The containers that run and use dots.
    pub(crate) async fn active(&self) -> Result<Vec<Container>> {
        let mut containers = self.list().await?;
        containers.retain(|container| container.state.is_active() && !container.uses.is_empty());
        Ok(containers)
    }

    /// The details of containers. Leaves out those that are gone or being started.
    pub(crate) async fn inspect(&self, containers: &[Container]) -> Result<Vec<Inspected>> {
        let answer = self.engine.inspect(containers);
        self.within(self.timing.call, answer).await
    }

    /// Stops a container within its own grace period.
    pub(crate) async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<()> {
        // If it has no limit, wait without one. The progress shows the user what is waited for.
        let limit = grace.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        let answer = self.engine.stop(id, grace);
        self.within(limit + self.timing.call, answer).await
    }

    /// Starts a container. This may wait for mounts.
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        self.within(self.timing.start, self.engine.start(id)).await
    }

    /// Pauses a container.
    pub(crate) async fn pause(&self, id: &str) -> Result<()> {
        self.within(self.timing.call, self.engine.pause(id)).await
    }

    /// An image's identity, or its id if that is unknown.
    pub(crate) async fn image(&self, id: &str) -> Image {
        let answer = self.within(self.timing.call, self.engine.image(id)).await;
        answer.unwrap_or_else(|_| Image {
            digest: id.to_owned(),
        })
    }

    /// Copies a folder of an image into an empty folder.
    pub(crate) async fn copy_from_image(
        &self,
        image: &str,
        from: &Path,
        to: &Path,
    ) -> Result<Option<PathBuf>> {
        let answer = self.engine.copy_from_image(image, from, to);
        self.within(self.timing.copy, answer).await
    }

    /// A volume of any driver, by its name.
    pub(crate) async fn volume(&self, name: &str) -> Result<Option<EngineVolume>> {
        self.within(self.timing.call, self.engine.volume(name))
            .await
    }

    /// Makes a local volume. Succeeds if it exists.
    pub(crate) async fn create_volume(&self, name: &str) -> Result<()> {
        self.within(self.timing.call, self.engine.create_volume(name))
            .await
    }

    /// Removes a volume.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<()> {
        self.within(self.timing.call, self.engine.remove_volume(name))
            .await
    }

    /// The mounts of other processes.
    pub(crate) async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.within(self.timing.call, self.engine.namespaces())
            .await
    }

    /// What throwaway containers are made with.
    pub(crate) async fn workshop(&self) -> Result<throwaway::Workshop> {
        self.within(self.timing.call, self.engine.workshop()).await
    }

    /// The Engine's events.
    pub(crate) fn changes(&self) -> mpsc::Receiver<Change> {
        self.engine.changes()
    }
}
