//! An Engine for tests: containers in memory, and a script of the calls that fail.
//!
//! It asks the node for mounts as Docker does, and keeps the folders open. So a container's mount follows a renamed
//! folder, as in the kernel.

mod attach;
mod by_hand;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_pool::Pool;
use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};

use super::{
    About, Answer, Change, Container, Engine, EngineError, EngineVolume, Health, Image, Inspected,
    Namespace, State, VolumeUse,
};
use crate::node::Node;
use crate::operations::volume;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call does nothing, and returns an error.
    Refused,
    /// The call does nothing, and the Engine is unreachable.
    Away,
    /// The call is done, but its answer is lost.
    DoneAndAway,
    /// The call does nothing, and never returns.
    Hangs,
    /// The call is done, but never returns.
    DoneAndHangs,
    /// The container is removed before the call.
    Removed,
    /// The container is started before the call.
    StartedByOthers,
}

impl Fault {
    pub(crate) const ALL: [Self; 7] = [
        Self::Refused,
        Self::Away,
        Self::DoneAndAway,
        Self::Hangs,
        Self::DoneAndHangs,
        Self::Removed,
        Self::StartedByOthers,
    ];
}

/// What happens when a container is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    #[default]
    Runs,
    /// It has a health check, and is healthy after this number of inspections.
    HealthyAfter(u32),
    /// Its volumes are mounted, and then the start fails.
    Fails,
}

struct Simulated {
    details: Inspected,
    outcome: Outcome,
    looks: u32,
    /// For each mount: the path, the folder, and Docker's id of the request.
    mounts: Vec<(PathBuf, OwnedFd, String)>,
    starting: bool,
}

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, Simulated>,
    volumes: BTreeMap<String, EngineVolume>,
    faults: HashMap<usize, Fault>,
    /// What containers do when they are stopped the next time.
    last_words: HashMap<String, Box<dyn FnOnce() + Send>>,
    calls: Vec<String>,
    next: u64,
    listeners: Vec<mpsc::Sender<Change>>,
    /// The answers to the next inspections, the next one last.
    coming_back: Vec<Result<Vec<Inspected>, EngineError>>,
}

/// The machine: its containers, and the mounts at the node's places.
#[derive(Clone, Default)]
pub(crate) struct World {
    inner: Arc<Mutex<Inner>>,
    places: Arc<Mutex<HashMap<PathBuf, OwnedFd>>>,
    /// The node that serves the volume driver. Calls in progress fail when it changes.
    node: watch::Sender<Option<Node>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Asks this node for mounts from now on.
    pub(crate) fn serve(&self, node: &Node) {
        self.node.send_replace(Some(node.clone()));
    }

    /// Simulates that the daemon is killed.
    pub(crate) fn serve_nobody(&self) {
        self.node.send_replace(None);
    }

    fn node(&self) -> Option<Node> {
        self.node.borrow().clone()
    }

    /// A call of Docker to the volume driver, which fails when the driver dies.
    async fn driver<T>(
        &self,
        call: impl AsyncFnOnce(Node) -> Result<T, crate::error::NodeError>,
    ) -> Result<T, String> {
        let mut serving = self.node.subscribe();
        let Some(node) = serving.borrow_and_update().clone() else {
            return Err("error while mounting volume: connection refused".to_owned());
        };
        tokio::select! {
            done = call(node) => done.map_err(|error| dotmesh_api::ErrorBody::from(error).message),
            _ = serving.changed() => Err("error while mounting volume: connection reset".to_owned()),
        }
    }

    /// Creates a container whose id is its name.
    pub(crate) fn create(&self, name: &str, volumes: &[&str], change: impl FnOnce(&mut Inspected)) {
        let mut details = Inspected {
            grace: Some(Duration::from_millis(20)),
            ..Inspected::default()
        };
        details.container = Container {
            id: name.to_owned(),
            name: name.to_owned(),
            state: State::Created,
            uses: volumes
                .iter()
                .map(|volume| VolumeUse {
                    volume: volume.parse().expect("a volume's name"),
                    destination: format!("/{volume}").into(),
                    copies_image: true,
                })
                .collect(),
            image: "image".to_owned(),
            image_id: "image-id".to_owned(),
            labels: HashMap::new(),
        };
        change(&mut details);
        let simulated = Simulated {
            details,
            outcome: Outcome::Runs,
            looks: 0,
            mounts: Vec::new(),
            starting: false,
        };
        lock(&self.inner)
            .containers
            .insert(name.to_owned(), simulated);
    }

    /// Sets what happens from the container's next start on.
    pub(crate) fn turns_out(&self, name: &str, outcome: Outcome) {
        if let Some(one) = lock(&self.inner).containers.get_mut(name) {
            one.outcome = outcome;
        }
    }

    /// Has a container do something when it is stopped the next time.
    pub(crate) fn on_stop(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        let mut inner = lock(&self.inner);
        inner.last_words.insert(name.to_owned(), Box::new(work));
    }

    /// Makes a call fail. Calls are counted from 0.
    pub(crate) fn fault(&self, call: usize, fault: Fault) {
        lock(&self.inner).faults.insert(call, fault);
    }

    /// Clears all faults, and counts calls from 0 again.
    pub(crate) fn calm(&self) {
        let mut inner = lock(&self.inner);
        inner.faults.clear();
        inner.calls.clear();
    }

    /// The calls since the last `calm`, such as `start db`.
    pub(crate) fn calls(&self) -> Vec<String> {
        lock(&self.inner).calls.clone()
    }

    pub(crate) fn state(&self, name: &str) -> Option<State> {
        let inner = lock(&self.inner);
        inner
            .containers
            .get(name)
            .map(|one| one.details.container.state)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.inner).containers.keys().cloned().collect()
    }

    /// The content of a file in a running container's first volume.
    pub(crate) fn reads(&self, name: &str, file: &str) -> Option<String> {
        let inner = lock(&self.inner);
        let (_, folder, _) = inner.containers.get(name)?.mounts.first()?;
        let path = format!("/proc/self/fd/{}/{file}", folder.as_raw_fd());
        std::fs::read_to_string(path).ok()
    }

    /// Writes a file in a running container's first volume.
    pub(crate) fn writes(&self, name: &str, file: &str, text: &str) {
        let inner = lock(&self.inner);
        let (_, folder, _) = &inner.containers[name].mounts[0];
        let path = format!("/proc/self/fd/{}/{file}", folder.as_raw_fd());
        std::fs::write(path, text).expect("a folder that is there");
    }

    async fn do_start(&self, id: &str) -> Result<(), EngineError> {
        let uses = {
            let mut inner = lock(&self.inner);
            let one = inner.containers.get_mut(id).ok_or(EngineError::Gone)?;
            match one.details.container.state {
                State::Running | State::Restarting => return Ok(()),
                State::Paused => {
                    return Err(EngineError::Refused(
                        "cannot start a paused container".to_owned(),
                    ));
                }
                State::Removing => return Err(EngineError::Gone),
                State::Created | State::Exited | State::Dead => {}
            }
            // Docker would block a second start until the first is done. Here it returns at once.
            if std::mem::replace(&mut one.starting, true) {
                return Ok(());
            }
            one.details.container.uses.clone()
        };
        let mut mounts = Vec::new();
        let mut problem = None;
        for used in &uses {
            let caller = {
                let mut inner = lock(&self.inner);
                inner.next += 1;
                format!("mount-{}", inner.next)
            };
            let name = used.volume.to_string();
            let mounted =
                self.driver(async |node| volume::mount(&node, &name, &caller, None).await);
            match mounted.await {
                Ok(place) => {
                    let folder = lock(&self.places).get(&place).map(OwnedFd::try_clone);
                    let folder = folder.expect("the place is mounted").expect("a descriptor");
                    mounts.push((used.destination.clone(), folder, caller));
                }
                Err(error) => {
                    problem = Some(error);
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
        let outcome = self.finish_start(id, problem, &mut mounts);
        self.give_back(&uses, mounts).await;
        outcome
    }

    /// Ends a start. If the container runs, it takes `mounts`. Otherwise they are left to be given back.
    fn finish_start(
        &self,
        id: &str,
        problem: Option<String>,
        mounts: &mut Vec<(PathBuf, OwnedFd, String)>,
    ) -> Result<(), EngineError> {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let number = inner.next;
        let one = inner.containers.get_mut(id).ok_or(EngineError::Gone)?;
        // The Engine was killed meanwhile, so it gives nothing back.
        if !std::mem::replace(&mut one.starting, false) {
            mounts.clear();
            return Err(EngineError::Unreachable("connection reset".to_owned()));
        }
        let fails = one.outcome == Outcome::Fails;
        if let Some(problem) = problem.or_else(|| fails.then(|| "no such file: /run".to_owned())) {
            one.details.error.clone_from(&problem);
            return Err(EngineError::Refused(problem));
        }
        one.details.error.clear();
        one.details.container.state = State::Running;
        one.details.exit_code = 0;
        one.details.started = crate::node::now();
        one.details.mount_namespace = Some(number);
        one.details.health =
            matches!(one.outcome, Outcome::HealthyAfter(_)).then_some(Health::Starting);
        one.looks = 0;
        one.mounts = std::mem::take(mounts);
        Ok(())
    }

    async fn give_back(&self, uses: &[VolumeUse], mounts: Vec<(PathBuf, OwnedFd, String)>) {
        for (destination, folder, caller) in mounts {
            drop(folder);
            let used = uses.iter().find(|used| used.destination == destination);
            let name = used.expect("it was mounted").volume.to_string();
            let unmounted = self.driver(async |node| volume::unmount(&node, &name, &caller).await);
            // Docker logs the error and goes on.
            let _ = unmounted.await;
        }
    }

    async fn do_stop(&self, id: &str) -> Result<(), EngineError> {
        let (uses, mounts) = {
            let mut inner = lock(&self.inner);
            let one = inner.containers.get_mut(id).ok_or(EngineError::Gone)?;
            if !one.details.container.state.is_active() {
                return Ok(());
            }
            one.details.container.state = State::Exited;
            one.details.mount_namespace = None;
            let words = inner.last_words.remove(id);
            let one = inner.containers.get_mut(id).ok_or(EngineError::Gone)?;
            if let Some(say) = words {
                say();
            }
            let uses = one.details.container.uses.clone();
            let mounts = std::mem::take(&mut one.mounts);
            if one.details.removed_when_stopped {
                inner.containers.remove(id);
            }
            (uses, mounts)
        };
        self.give_back(&uses, mounts).await;
        Ok(())
    }

    /// Completes work even if the caller is gone, as the Engine does.
    async fn going_on<F>(
        &self,
        id: &str,
        work: impl FnOnce(Self, String) -> F,
    ) -> Result<(), EngineError>
    where
        F: Future<Output = Result<(), EngineError>> + Send + 'static,
    {
        tokio::spawn(work(self.clone(), id.to_owned()))
            .await
            .expect("no panic")
    }

    fn look_at(&self, id: &str) -> Option<Inspected> {
        let mut inner = lock(&self.inner);
        let one = inner.containers.get_mut(id)?;
        if one.details.container.state == State::Running {
            one.looks += 1;
            match one.outcome {
                Outcome::HealthyAfter(looks) if one.looks > looks => {
                    one.details.health = Some(Health::Healthy);
                }
                _ => {}
            }
        }
        (!one.starting).then(|| one.details.clone())
    }

    /// Runs a call, or its scripted fault.
    async fn call<T>(
        &self,
        name: &str,
        id: &str,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let fault = {
            let mut inner = lock(&self.inner);
            let number = inner.calls.len();
            inner
                .calls
                .push(format!("{name} {id}").trim_end().to_owned());
            inner.faults.get(&number).copied()
        };
        tokio::task::yield_now().await;
        let away = || Err(EngineError::Unreachable("connection refused".to_owned()));
        match fault {
            None => work.await,
            Some(Fault::Refused) => Err(EngineError::Refused("no space left on device".to_owned())),
            Some(Fault::Away) => away(),
            Some(Fault::DoneAndAway) => {
                let _ = work.await;
                away()
            }
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::DoneAndHangs) => {
                let _ = work.await;
                std::future::pending().await
            }
            Some(Fault::Removed) => {
                if !id.is_empty() {
                    self.remove_by_hand(id).await;
                }
                work.await
            }
            Some(Fault::StartedByOthers) => {
                if !id.is_empty() {
                    let (world, id) = (self.clone(), id.to_owned());
                    tokio::spawn(async move { world.start_by_hand(&id).await });
                    tokio::task::yield_now().await;
                }
                work.await
            }
        }
    }
}

impl Engine for World {
    fn about(&self) -> Answer<'_, About> {
        let about = About {
            name: "Docker".to_owned(),
            version: "1".to_owned(),
        };
        async { Ok(about) }.boxed()
    }

    fn id(&self) -> Answer<'_, Option<String>> {
        async { Ok(Some("scripted".to_owned())) }.boxed()
    }

    fn local_volumes(&self) -> Answer<'_, Vec<String>> {
        async { Ok(vec!["others".to_owned()]) }.boxed()
    }

    fn list(&self) -> Answer<'_, Vec<Container>> {
        self.call("list", "", async {
            let inner = lock(&self.inner);
            let all = inner.containers.values();
            Ok(all.map(|one| one.details.container.clone()).collect())
        })
        .boxed()
    }

    fn inspect<'a>(&'a self, containers: &'a [Container]) -> Answer<'a, Vec<Inspected>> {
        self.call("inspect", "", async {
            if let Some(answer) = lock(&self.inner).coming_back.pop() {
                return answer;
            }
            Ok(containers
                .iter()
                .filter_map(|one| self.look_at(&one.id))
                .collect())
        })
        .boxed()
    }

    fn stop<'a>(&'a self, id: &'a str, _: Option<Duration>) -> Answer<'a, ()> {
        self.call(
            "stop",
            id,
            self.going_on(id, |world, id| async move { world.do_stop(&id).await }),
        )
        .boxed()
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.call(
            "start",
            id,
            self.going_on(id, |world, id| async move { world.do_start(&id).await }),
        )
        .boxed()
    }

    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.call("pause", id, async {
            let mut inner = lock(&self.inner);
            let one = inner.containers.get_mut(id).ok_or(EngineError::Gone)?;
            match one.details.container.state {
                State::Running | State::Paused => {
                    one.details.container.state = State::Paused;
                    Ok(())
                }
                _ => Err(EngineError::Refused("it is not running".to_owned())),
            }
        })
        .boxed()
    }

    fn image<'a>(&'a self, id: &'a str) -> Answer<'a, Image> {
        self.call("image", id, async {
            Ok(Image {
                digest: id.to_owned(),
            })
        })
        .boxed()
    }

    fn copy_from_image<'a>(
        &'a self,
        _: &'a str,
        from: &'a Path,
        to: &'a Path,
    ) -> Answer<'a, Option<PathBuf>> {
        self.call("copy", "", async move {
            let content = to.join("content");
            let from = from.as_os_str().as_encoded_bytes();
            // The daemon may have died, and its folder may be deleted.
            std::fs::create_dir(&content)
                .and_then(|()| std::fs::write(content.join("from-image"), from))
                .map_err(|error| EngineError::Refused(error.to_string()))?;
            Ok(Some("content".into()))
        })
        .boxed()
    }

    fn volume<'a>(&'a self, name: &'a str) -> Answer<'a, Option<EngineVolume>> {
        self.call("volume", "", async {
            Ok(lock(&self.inner).volumes.get(name).cloned())
        })
        .boxed()
    }

    /// Tests put volumes before, since only they know a folder for them.
    fn create_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        let refused = move || EngineError::Refused(format!("no room for {name}"));
        self.call("create_volume", "", async move {
            let inner = lock(&self.inner);
            inner.volumes.get(name).map(drop).ok_or_else(refused)
        })
        .boxed()
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.call("remove_volume", "", async {
            lock(&self.inner).volumes.remove(name);
            Ok(())
        })
        .boxed()
    }

    fn namespaces(&self) -> Answer<'_, Vec<Namespace>> {
        self.call("namespaces", "", async {
            let pool: Pool = self.node().expect("it asks").pool;
            let inner = lock(&self.inner);
            let running = inner
                .containers
                .values()
                .filter(|one| !one.mounts.is_empty());
            let namespaces = running.map(|one| Namespace {
                id: one.details.mount_namespace.unwrap_or_default(),
                process: one.details.container.name.clone(),
                mounts: one
                    .mounts
                    .iter()
                    .map(|(point, folder, _)| {
                        let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
                        let shown = std::fs::read_link(link).expect("an open folder");
                        pool.mount_entry(&shown, point)
                    })
                    .collect(),
            });
            Ok(namespaces.collect())
        })
        .boxed()
    }

    fn changes(&self) -> mpsc::Receiver<Change> {
        let (tell, changes) = mpsc::channel(64);
        let _ = tell.try_send(Change::Connected(crate::node::now()));
        lock(&self.inner).listeners.push(tell);
        changes
    }
}
