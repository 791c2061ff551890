//! The Docker Engine as the node sees it: containers, what they use, and what they really have mounted.
//!
//! [`Engine`] has two implementations, the real one and one for tests that follows a script. [`Docker`] is what operations
//! work with: it gives every call a time limit.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dotmesh_model::{BranchName, DotName, VolumeName};
use dotmesh_pool::MountEntry;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::timing::Timing;

mod bollard_engine;
mod details;
mod processes;
#[cfg(test)]
pub(crate) mod scripted;
mod unpack;

pub(crate) use bollard_engine::{BollardEngine, connect, proof};

/// Why the Engine did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// There is no such container, or it is being removed.
    #[error("the container is gone")]
    Gone,
    /// It is away. Whether it did what it was asked for is not known.
    #[error("Docker cannot be reached: {0}")]
    Unreachable(String),
    /// It gave no answer in time, and may still do what it was asked for.
    #[error("Docker did not answer within {0} s")]
    Silent(u64),
    /// It answered that it can't, and why.
    #[error("{0}")]
    Refused(String),
}

type Result<T> = std::result::Result<T, EngineError>;

/// The answer to a call.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// The Engine's API, as far as the node needs it.
pub(crate) trait Engine: Send + Sync {
    /// All containers, running or not. Never waits for a container that is being started.
    fn list(&self) -> Answer<'_, Vec<Container>>;

    /// What is known of some containers in detail. One that is gone is left out, and so is one that does not answer
    /// for a moment, as while it is being started.
    fn inspect<'a>(&'a self, containers: &'a [Container]) -> Answer<'a, Vec<Inspected>>;

    /// Stops a container, giving it the time that it was configured with. Fine if it is stopped already.
    fn stop<'a>(&'a self, id: &'a str, grace: Option<Duration>) -> Answer<'a, ()>;

    /// Starts a container. Fine if it runs already.
    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// Pauses a running container. Fine if it is paused already.
    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// What an image is and runs as.
    fn image<'a>(&'a self, id: &'a str) -> Answer<'a, Image>;

    /// Copies a folder of an image into an empty folder, with owners and permissions. Returns the copy's path in there; `None`
    /// when the image has no such folder.
    fn copy_from_image<'a>(
        &'a self,
        image: &'a str,
        from: &'a Path,
        to: &'a Path,
    ) -> Answer<'a, Option<PathBuf>>;

    /// The mounts of this machine's processes, for each namespace of mounts but this daemon's own.
    fn namespaces(&self) -> Answer<'_, Vec<Namespace>>;

    /// Tells of what happens, until nobody listens.
    fn changes(&self) -> mpsc::Receiver<Change>;
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The Engine answers, for the first time or after it was away. What it was about to start before will not start.
    Connected(Timestamp),
    /// A container was started, stopped, removed or renamed.
    Container,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// It was never started.
    #[default]
    Created,
    Running,
    Paused,
    /// Its process has ended, and the Engine is about to start it again.
    Restarting,
    /// It ends or has ended, and will be gone.
    Removing,
    Exited,
    /// It could not be removed as a whole.
    Dead,
}

impl State {
    /// Whether it runs, or would by itself.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// A volume of ours in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeUse {
    pub(crate) volume: VolumeName,
    /// Where the container sees it.
    pub(crate) destination: PathBuf,
    /// Whether an empty volume gets what the image has there.
    pub(crate) copies_image: bool,
}

/// A container, as a list shows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: State,
    /// The volumes of our driver that it mounts.
    pub(crate) uses: Vec<VolumeUse>,
    /// The image as it was asked for.
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

    /// Whether it uses a branch, `current` being the one that unpinned volumes show.
    pub(crate) fn uses(&self, dot: &DotName, branch: &BranchName, current: &BranchName) -> bool {
        self.uses.iter().any(|used| {
            used.volume.dot == *dot && used.volume.pinned.as_ref().unwrap_or(current) == branch
        })
    }

    /// Whether it uses the dot at all.
    pub(crate) fn uses_dot(&self, dot: &DotName) -> bool {
        self.uses.iter().any(|used| used.volume.dot == *dot)
    }

    /// Whether Docker Swarm made it, which replaces it when it stops.
    pub(crate) fn is_swarm_task(&self) -> bool {
        self.labels.contains_key("com.docker.swarm.task.id")
    }
}

/// What a container's health check says.
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
    /// To the nanosecond: Compose creates several within a second.
    pub(crate) created: Timestamp,
    /// `/target:/source/alias`
    pub(crate) links: Vec<String>,
    /// `target[:mode]`
    pub(crate) volumes_from: Vec<String>,
    /// Network, IPC and PID modes; `container:target` among them.
    pub(crate) namespaces: Vec<String>,
    /// `None` when it has no health check.
    pub(crate) health: Option<Health>,
    /// How long it may take to stop before it is killed; `None`: without an end.
    pub(crate) grace: Option<Duration>,
    /// Whether it is removed when it stops.
    pub(crate) removed_when_stopped: bool,
    /// Whether the Engine starts it again whenever it can.
    pub(crate) restarts_always: bool,
    /// Why the last attempt to start it failed; empty if it did not.
    pub(crate) error: String,
    pub(crate) exit_code: i64,
    /// When it was last started.
    pub(crate) started: Timestamp,
    /// The user that it runs as; empty for root.
    pub(crate) user: String,
    /// Its namespace of mounts while it runs, if its process can be seen.
    pub(crate) mount_namespace: Option<u64>,
}

impl std::ops::Deref for Inspected {
    type Target = Container;
    fn deref(&self) -> &Container {
        &self.container
    }
}

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// The registry digest, or the id where it came from no registry.
    pub(crate) digest: String,
}

/// A namespace of mounts.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) id: u64,
    /// One of its processes, for people: `postgres (4711)`.
    pub(crate) process: String,
    pub(crate) mounts: Vec<MountEntry>,
}

/// The names of containers, for people, sorted.
pub(crate) fn names<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Vec<String> {
    let mut names: Vec<String> = containers
        .into_iter()
        .map(|container| container.name.clone())
        .collect();
    names.sort();
    names
}

/// The containers of a list by the branch of `dot` that they use.
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

/// The Engine with patience: a call that gets no answer in time fails as if the Engine were away.
#[derive(Clone)]
pub(crate) struct Docker {
    engine: Arc<dyn Engine>,
    timing: Timing,
}

impl Docker {
    pub(crate) fn new(engine: Arc<dyn Engine>, timing: Timing) -> Self {
        Self { engine, timing }
    }

    async fn within<T>(&self, limit: Duration, answer: Answer<'_, T>) -> Result<T> {
        tokio::time::timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(EngineError::Silent(limit.as_secs())))
    }

    /// All containers, running or not.
    pub(crate) async fn list(&self) -> Result<Vec<Container>> {
        self.within(self.timing.call, self.engine.list()).await
    }

    /// The containers that run and use dots.
    pub(crate) async fn active(&self) -> Result<Vec<Container>> {
        let mut containers = self.list().await?;
        containers.retain(|container| container.state.is_active() && !container.uses.is_empty());
        Ok(containers)
    }

    /// Some containers in detail; those that are gone or being started are left out.
    pub(crate) async fn inspect(&self, containers: &[Container]) -> Result<Vec<Inspected>> {
        let answer = self.engine.inspect(containers);
        self.within(self.timing.call, answer).await
    }

    /// Stops a container within its own grace.
    pub(crate) async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<()> {
        // One that may take for ever is waited for, and the user sees for what.
        let limit = grace.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        let answer = self.engine.stop(id, grace);
        self.within(limit + self.timing.call, answer).await
    }

    /// Starts a container, which may wait for mounts of others.
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        self.within(self.timing.start, self.engine.start(id)).await
    }

    /// Pauses a container.
    pub(crate) async fn pause(&self, id: &str) -> Result<()> {
        self.within(self.timing.call, self.engine.pause(id)).await
    }

    /// What an image is; its id where that can't be known.
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

    /// The mounts of other processes.
    pub(crate) async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.within(self.timing.call, self.engine.namespaces())
            .await
    }

    /// What happens.
    pub(crate) fn changes(&self) -> mpsc::Receiver<Change> {
        self.engine.changes()
    }
}
