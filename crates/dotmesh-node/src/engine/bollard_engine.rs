//! The real Engine, through its socket.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerSummary, MountPoint};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptionsBuilder, EventsOptionsBuilder,
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{OnceCell, mpsc};

use super::answers;
use super::details::{about, inspected, is_going, places_without_copy, state};
use super::failures::{explained, failed};
use super::processes::namespaces;
use super::throwaway::{self, Workshop};
use super::unpack::unpack;
use super::volumes::{self, EngineVolume};
use super::{
    About, Answer, Change, Container, Engine, EngineError, Image, Inspected, Namespace, State,
    VolumeUse,
};
use crate::archives::Pieces;
use crate::registry::Registry;

type Result<T> = std::result::Result<T, EngineError>;

/// The client's own timeout, longer than any caller waits. `super::Docker` sets the real timeouts.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The timeout for inspecting a container. The Engine keeps a container locked while it starts it.
const INSPECT_PATIENCE: Duration = Duration::from_secs(2);

/// The interval between attempts to reach the Engine.
const RECONNECT: Duration = Duration::from_millis(300);

/// The number of containers inspected at once.
const AT_ONCE: usize = 16;

/// The label of containers made to read an image.
const COPY_LABEL: &str = "io.dotmesh.copy";

/// The Docker Engine, or a compatible one.
pub(crate) struct BollardEngine {
    host: String,
    /// If `None`, no container can use a dot, and containers are never listed.
    driver: Option<String>,
    registry: Registry,
    /// The key in the status of this daemon's volumes, see [`proof`].
    proof: String,
    client: OnceCell<(Docker, About)>,
    names: Mutex<DriverNames>,
    images: Mutex<HashMap<String, Image>>,
    /// The paths in containers whose volumes stay empty, by container id. A list does not show this option of
    /// `--mount`, and a container that is being started cannot be inspected.
    no_copy: Mutex<HashMap<String, HashSet<PathBuf>>>,
}

/// The Engine's names for this daemon's driver, and for others. A managed plugin is named by its repository and tag.
#[derive(Default)]
struct DriverNames {
    ours: HashSet<String>,
    others: HashSet<String>,
}

/// The key in a volume's status by which a daemon recognises its own volumes.
pub(crate) fn proof(node: &str) -> String {
    format!("dotmesh-node-{node}")
}

impl BollardEngine {
    /// Makes an engine that connects at the first call.
    pub(crate) fn new(
        host: String,
        driver: Option<String>,
        registry: Registry,
        node: &str,
    ) -> Self {
        let ours = driver.iter().cloned().collect();
        Self {
            host,
            driver,
            registry,
            proof: proof(node),
            client: OnceCell::new(),
            names: Mutex::new(DriverNames {
                ours,
                ..DriverNames::default()
            }),
            images: Mutex::default(),
            no_copy: Mutex::default(),
        }
    }

    /// Connects at the first call, and asks which Engine it is. Later Podman may be waiting for a mount, and not answer.
    async fn connected(&self) -> Result<&(Docker, About)> {
        let connect = async || {
            let client = connect(&self.host).await?;
            let version = client.version().await.map_err(failed)?;
            Ok((client, about(version)))
        };
        self.client.get_or_try_init(connect).await
    }

    async fn client(&self) -> Result<&Docker> {
        let (client, _) = self.connected().await?;
        Ok(client)
    }

    async fn summaries(&self) -> Result<Vec<ContainerSummary>> {
        if self.driver.is_none() {
            return Ok(Vec::new());
        }
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let client = self.client().await?;
        let listed = answers::containers(client, Some(options)).await;
        let summaries = listed.map_err(failed)?;
        for summary in &summaries {
            for mount in summary.mounts.iter().flatten() {
                self.learn(client, mount).await;
            }
        }
        let ids: HashSet<&str> = summaries
            .iter()
            .filter_map(|one| one.id.as_deref())
            .collect();
        let mut no_copy = self.no_copy.lock().unwrap_or_else(PoisonError::into_inner);
        no_copy.retain(|id, _| ids.contains(id.as_str()));
        drop(no_copy);
        Ok(summaries)
    }

    /// Finds out whether an unknown driver is this daemon. The Engine asks the driver for the volume, and returns its
    /// status.
    async fn learn(&self, client: &Docker, mount: &MountPoint) {
        let (Some(driver), Some(volume)) = (&mount.driver, &mount.name) else {
            return;
        };
        if driver == "local" || driver.is_empty() {
            return;
        }
        {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.ours.contains(driver) || names.others.contains(driver) {
                return;
            }
        }
        if !self.registry.has_volume(volume).await.unwrap_or(false) {
            return;
        }
        // Docker does not ask a managed plugin that it is still enabling.
        let asked = async {
            loop {
                match client.inspect_volume(volume).await {
                    Ok(found) => return found,
                    Err(_) => tokio::time::sleep(RECONNECT).await,
                }
            }
        };
        let Ok(found) = tokio::time::timeout(INSPECT_PATIENCE, asked).await else {
            return;
        };
        let status = found.status.unwrap_or_default();
        let ours = found.driver == *driver && status.contains(&self.proof);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if ours {
            tracing::info!(%driver, "Docker has another name for this daemon's driver");
            names.ours.insert(driver.clone());
        } else {
            names.others.insert(driver.clone());
        }
    }

    fn container(&self, summary: ContainerSummary) -> Option<Container> {
        let id = summary.id?;
        let name = summary.names.unwrap_or_default().into_iter().find(|name| {
            // A legacy link shows as a second name, `/other/alias`.
            name.trim_start_matches('/').find('/').is_none()
        });
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = |mount: &MountPoint| {
            let driver = mount.driver.as_ref();
            driver.is_some_and(|driver| names.ours.contains(driver))
        };
        let state = summary.state.map_or(State::Created, state);
        let no_copy = self.no_copy.lock().unwrap_or_else(PoisonError::into_inner);
        let no_copy = no_copy.get(&id);
        let copies = |destination: &PathBuf| match no_copy {
            Some(places) => !places.contains(destination),
            // It has just been created, and the Engine itself copied the image's files.
            None => state != State::Created,
        };
        let mounts = summary.mounts.unwrap_or_default().into_iter();
        let uses = mounts.filter(is_ours).filter_map(|mount| {
            let destination = PathBuf::from(mount.destination.unwrap_or_default());
            Some(VolumeUse {
                volume: mount.name?.parse().ok()?,
                copies_image: copies(&destination)
                    && !mount.mode.unwrap_or_default().contains("nocopy"),
                destination,
            })
        });
        let uses = uses.collect();
        Some(Container {
            uses,
            name: name.map_or_else(
                || id.get(..12).unwrap_or(&id).to_owned(),
                |name| name.trim_start_matches('/').to_owned(),
            ),
            state,
            image: summary.image.unwrap_or_default(),
            image_id: summary.image_id.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            id,
        })
    }

    /// The result of a call on a container. Docker also answers 404 if something that the container needs is missing.
    async fn done(
        &self,
        id: &str,
        result: std::result::Result<(), bollard::errors::Error>,
    ) -> Result<()> {
        let error = match result {
            Ok(()) => return Ok(()),
            // The container is in the requested state already.
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 304, ..
            }) => return Ok(()),
            Err(error) => error,
        };
        let message = error.to_string();
        match failed(error) {
            EngineError::Gone => {
                let asked = answers::container(self.client().await?, id);
                match tokio::time::timeout(INSPECT_PATIENCE, asked).await {
                    Ok(Ok(found)) if !is_going(&found) => Err(EngineError::Refused(message)),
                    _ => Err(EngineError::Gone),
                }
            }
            error => Err(error),
        }
    }

    fn known_image(&self, id: &str) -> Option<Image> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.get(id).cloned()
    }

    async fn inspect_one(&self, container: &Container) -> Result<Option<Inspected>> {
        let client = self.client().await?;
        let asked = answers::container(client, &container.id);
        match tokio::time::timeout(INSPECT_PATIENCE, asked).await {
            Err(_) => Ok(None),
            Ok(Ok(details)) => {
                let (mut container, places) = (container.clone(), places_without_copy(&details));
                for used in &mut container.uses {
                    used.copies_image &= !places.contains(&used.destination);
                }
                let mut no_copy = self.no_copy.lock().unwrap_or_else(PoisonError::into_inner);
                no_copy.insert(container.id.clone(), places);
                drop(no_copy);
                Ok(Some(inspected(container, details)))
            }
            Ok(Err(error)) => match failed(error) {
                EngineError::Gone => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn download(&self, id: &str, from: &Path, to: &Path) -> Result<Option<PathBuf>> {
        let path = from.to_string_lossy();
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(&path)
            .build();
        let mut bytes = self
            .client()
            .await?
            .download_from_container(id, Some(options));
        let first = match bytes.next().await {
            None => return Ok(None),
            Some(Err(error)) => match failed(error) {
                // The image has no such path.
                EngineError::Gone => return Ok(None),
                error => return Err(error),
            },
            Some(Ok(first)) => first,
        };
        let (pieces, reader) = Pieces::new();
        let to = to.to_owned();
        let unpacking = tokio::task::spawn_blocking(move || unpack(reader, &to));
        let mut broken = None;
        if pieces.send(first).await.is_ok() {
            while let Some(piece) = bytes.next().await {
                match piece {
                    Ok(piece) => {
                        if pieces.send(piece).await.is_err() {
                            break;
                        }
                    }
                    Err(error) => {
                        broken = Some(failed(error));
                        break;
                    }
                }
            }
        }
        drop(pieces);
        let unpacked = unpacking.await;
        if let Some(error) = broken {
            return Err(error);
        }
        unpacked
            .map_err(|error| EngineError::Refused(error.to_string()))?
            .map_err(|error| {
                EngineError::Refused(format!("cannot unpack the image's files: {error}"))
            })
    }
}

impl Engine for BollardEngine {
    fn about(&self) -> Answer<'_, About> {
        async {
            let (_, about) = self.connected().await?;
            Ok(about.clone())
        }
        .boxed()
    }

    fn id(&self) -> Answer<'_, Option<String>> {
        async {
            let (client, about) = self.connected().await?;
            // Podman makes another one for each answer.
            if about.is_podman() {
                return Ok(None);
            }
            Ok(client.info().await.map_err(failed)?.id)
        }
        .boxed()
    }

    fn local_volumes(&self) -> Answer<'_, Vec<String>> {
        async {
            let filters = HashMap::from([("driver", vec!["local"])]);
            let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
            let listed = self.client().await?.list_volumes(Some(options)).await;
            let volumes = listed.map_err(failed)?.volumes.unwrap_or_default();
            Ok(volumes.into_iter().map(|volume| volume.name).collect())
        }
        .boxed()
    }

    fn list(&self) -> Answer<'_, Vec<Container>> {
        async {
            let mut containers = Vec::new();
            for summary in self.summaries().await? {
                containers.extend(self.container(summary));
            }
            let mut no_copy = self.no_copy.lock().unwrap_or_else(PoisonError::into_inner);
            no_copy.retain(|id, _| containers.iter().any(|one| one.id == *id));
            drop(no_copy);
            Ok(containers)
        }
        .boxed()
    }

    fn inspect<'a>(&'a self, containers: &'a [Container]) -> Answer<'a, Vec<Inspected>> {
        async move {
            let mut inspected = Vec::with_capacity(containers.len());
            for some in containers.chunks(AT_ONCE) {
                let mut asked = Vec::with_capacity(some.len());
                for container in some {
                    asked.push(self.inspect_one(container));
                }
                for answer in futures::future::join_all(asked).await {
                    inspected.extend(answer?);
                }
            }
            Ok(inspected)
        }
        .boxed()
    }

    fn stop<'a>(&'a self, id: &'a str, _: Option<Duration>) -> Answer<'a, ()> {
        async move {
            // Without a timeout in the call, the container's own grace period applies.
            let options = StopContainerOptionsBuilder::new().build();
            let stopped = self.client().await?.stop_container(id, Some(options)).await;
            self.done(id, stopped).await
        }
        .boxed()
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            let started = self.client().await?.start_container(id, None).await;
            self.done(id, started).await.map_err(explained)
        }
        .boxed()
    }

    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            match self
                .done(id, self.client().await?.pause_container(id).await)
                .await
            {
                Err(EngineError::Refused(why)) if why.contains("already paused") => Ok(()),
                done => done,
            }
        }
        .boxed()
    }

    fn image<'a>(&'a self, id: &'a str) -> Answer<'a, Image> {
        async move {
            if let Some(image) = self.known_image(id) {
                return Ok(image);
            }
            let found = self.client().await?.inspect_image(id).await;
            let digests = found.map_err(failed)?.repo_digests.unwrap_or_default();
            let digest = digests.into_iter().next();
            let image = Image {
                digest: digest.unwrap_or_else(|| id.to_owned()),
            };
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            images.insert(id.to_owned(), image.clone());
            Ok(image)
        }
        .boxed()
    }

    /// The API cannot read an image's files. So this creates a container, reads it without starting it, and removes it.
    fn copy_from_image<'a>(
        &'a self,
        image: &'a str,
        from: &'a Path,
        to: &'a Path,
    ) -> Answer<'a, Option<PathBuf>> {
        async move {
            let client = self.client().await?;
            let body = ContainerCreateBody {
                image: Some(image.to_owned()),
                entrypoint: Some(vec!["true".to_owned()]),
                network_disabled: Some(true),
                labels: Some(HashMap::from([(COPY_LABEL.to_owned(), String::new())])),
                ..ContainerCreateBody::default()
            };
            let options: Option<CreateContainerOptions> = None;
            let made = match client
                .create_container(options, body)
                .await
                .map_err(failed)
            {
                // The image was deleted. Its containers can still be started.
                Err(EngineError::Gone) => return Ok(None),
                made => made?,
            };
            let copied = self.download(&made.id, from, to).await;
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            if let Err(error) = client.remove_container(&made.id, Some(options)).await {
                tracing::warn!(id = %made.id, %error, "cannot remove a container that was made to read an image");
            }
            copied
        }
        .boxed()
    }

    fn volume<'a>(&'a self, name: &'a str) -> Answer<'a, Option<EngineVolume>> {
        async move { volumes::find(self.client().await?, name).await }.boxed()
    }

    fn create_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        async move { volumes::create(self.client().await?, name).await }.boxed()
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        async move { volumes::remove(self.client().await?, name).await }.boxed()
    }

    fn namespaces(&self) -> Answer<'_, Vec<Namespace>> {
        async {
            let found = tokio::task::spawn_blocking(namespaces).await;
            found
                .map_err(|error| EngineError::Refused(error.to_string()))?
                .map_err(|error| EngineError::Refused(format!("cannot read /proc: {error}")))
        }
        .boxed()
    }

    fn changes(&self) -> mpsc::Receiver<Change> {
        let (tell, changes) = mpsc::channel(64);
        if self.driver.is_none() {
            return changes;
        }
        let (host, proof) = (self.host.clone(), self.proof.clone());
        tokio::spawn(async move {
            let mut first = true;
            while !tell.is_closed() {
                // Connect anew each time, since the Engine behind the socket may have changed.
                if let Ok(client) = connect(&host).await {
                    if std::mem::take(&mut first) {
                        throwaway::remove_leftovers(&client, COPY_LABEL, &proof).await;
                    }
                    listen(&client, &tell).await;
                }
                tokio::time::sleep(RECONNECT).await;
            }
        });
        changes
    }

    fn workshop(&self) -> Answer<'_, Workshop> {
        async {
            let client = self.client().await?.clone();
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            // A managed plugin has a longer name, which Docker has told since.
            let driver = names.ours.iter().max_by_key(|name| name.len()).cloned();
            let driver = driver.ok_or_else(|| {
                EngineError::Refused("this daemon has no volume driver".to_owned())
            })?;
            let mark = self.proof.clone();
            Ok(Workshop {
                client,
                host: self.host.clone(),
                driver,
                mark,
            })
        }
        .boxed()
    }
}

/// Connects to an Engine.
pub(crate) async fn connect(host: &str) -> Result<Docker> {
    let version = bollard::API_DEFAULT_VERSION;
    let seconds = NO_LIMIT.as_secs();
    let docker = if host.starts_with("unix://") {
        Docker::connect_with_unix(host, seconds, version)
    } else {
        Docker::connect_with_http(host, seconds, version)
    };
    let docker = docker.map_err(failed)?;
    docker.negotiate_version().await.map_err(failed)
}

/// Forwards events until the Engine disconnects or the receiver is dropped.
async fn listen(client: &Docker, tell: &mpsc::Sender<Change>) {
    let kinds = [
        "create",
        "start",
        "die",
        "destroy",
        // What Podman calls it.
        "remove",
        "rename",
        "unpause",
        "health_status",
    ];
    let filters = HashMap::from([("type", vec!["container"]), ("event", kinds.to_vec())]);
    let options = EventsOptionsBuilder::new().filters(&filters).build();
    let mut events = client.events(Some(options));
    // After the ping, the subscription is active.
    if client.ping().await.is_err()
        || tell
            .send(Change::Connected(crate::node::now()))
            .await
            .is_err()
    {
        return;
    }
    while let Some(Ok(_)) = events.next().await {
        // If the channel is full, the pending event stands for this one, too.
        if let Err(mpsc::error::TrySendError::Closed(_)) = tell.try_send(Change::Container) {
            return;
        }
    }
}
