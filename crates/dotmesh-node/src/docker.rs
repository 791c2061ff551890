//! The Docker Engine as the node sees it: the containers that use dots.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListContainersOptionsBuilder, StopContainerOptionsBuilder};
use dotmesh_model::{BranchName, DotName, ImageUse, VolumeName};
use tokio::sync::OnceCell;

use crate::error::NodeError;

mod order;

type Result<T> = std::result::Result<T, NodeError>;

/// Seconds that the Engine may take for an answer; stopping a stubborn container takes its own grace on top.
const TIMEOUT_SECONDS: u64 = 120;

/// A container that uses at least one dot.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) running: bool,
    /// The volumes of our driver that it mounts.
    pub(crate) volumes: Vec<VolumeName>,
    image: String,
    image_id: String,
    labels: HashMap<String, String>,
}

impl Container {
    /// Whether it follows the dot's current branch.
    pub(crate) fn uses_unpinned(&self, dot: &DotName) -> bool {
        self.volumes
            .iter()
            .any(|volume| volume.dot == *dot && volume.pinned.is_none())
    }

    /// Whether it uses a branch, `current` being the one that unpinned volumes show.
    pub(crate) fn uses(&self, dot: &DotName, branch: &BranchName, current: &BranchName) -> bool {
        self.volumes
            .iter()
            .any(|volume| volume.dot == *dot && volume.pinned.as_ref().unwrap_or(current) == branch)
    }

    /// Whether it uses the dot at all.
    pub(crate) fn uses_dot(&self, dot: &DotName) -> bool {
        self.volumes.iter().any(|volume| volume.dot == *dot)
    }
}

/// The names of containers, for people.
pub(crate) fn names<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Vec<String> {
    containers
        .into_iter()
        .map(|container| container.name.clone())
        .collect()
}

/// The Engine's API, as far as the node needs it.
pub(crate) struct Engine {
    host: String,
    driver: Option<String>,
    client: OnceCell<Docker>,
    digests: Mutex<HashMap<String, String>>,
}

impl Engine {
    /// Nothing is connected yet. Without a driver no container can use a dot, and the Engine is never asked.
    pub(crate) fn new(host: String, driver: Option<String>) -> Self {
        Self {
            host,
            driver,
            client: OnceCell::new(),
            digests: Mutex::default(),
        }
    }

    async fn client(&self) -> Result<&Docker> {
        self.client
            .get_or_try_init(|| async {
                let host = self.host.as_str();
                let version = bollard::API_DEFAULT_VERSION;
                let docker = if host.starts_with("unix://") {
                    Docker::connect_with_unix(host, TIMEOUT_SECONDS, version)
                } else {
                    Docker::connect_with_http(host, TIMEOUT_SECONDS, version)
                };
                let connecting = || format!("connecting to {host}");
                docker
                    .map_err(|error| failed(connecting(), error))?
                    .negotiate_version()
                    .await
                    .map_err(|error| failed(connecting(), error))
            })
            .await
    }

    /// All containers that use dots, running or not.
    pub(crate) async fn containers(&self) -> Result<Vec<Container>> {
        let Some(driver) = &self.driver else {
            return Ok(Vec::new());
        };
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = self.client().await?.list_containers(Some(options)).await;
        let list = list.map_err(|error| failed("listing containers".to_owned(), error))?;
        Ok(list
            .into_iter()
            .filter_map(|summary| container(summary, driver))
            .collect())
    }

    /// The names of the volumes that containers use, running or not, as Docker will ask for them.
    pub(crate) async fn volume_names(&self) -> Result<Vec<String>> {
        let driver = self.driver.as_deref();
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = self.client().await?.list_containers(Some(options)).await;
        let list = list.map_err(|error| failed("listing containers".to_owned(), error))?;
        Ok(list
            .into_iter()
            .flat_map(|container| container.mounts.unwrap_or_default())
            .filter(|mount| mount.driver.as_deref() == driver)
            .filter_map(|mount| mount.name)
            .collect())
    }

    /// The running containers that use dots.
    pub(crate) async fn running(&self) -> Result<Vec<Container>> {
        let mut containers = self.containers().await?;
        containers.retain(|container| container.running);
        Ok(containers)
    }

    /// Stops a container, giving it the time that it was configured with. Fine if it is stopped or gone already.
    pub(crate) async fn stop(&self, id: &str) -> Result<()> {
        let options = StopContainerOptionsBuilder::new().build();
        match self.client().await?.stop_container(id, Some(options)).await {
            Err(error) if matches!(status(&error), Some(304 | 404)) => Ok(()),
            done => {
                done.map_err(|error| failed(format!("stopping container {}", short(id)), error))
            }
        }
    }

    /// Starts a container. Fine if it runs already.
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        match self.client().await?.start_container(id, None).await {
            Err(error) if status(&error) == Some(304) => Ok(()),
            done => {
                done.map_err(|error| failed(format!("starting container {}", short(id)), error))
            }
        }
    }

    /// Stops containers, all at once. Fails when all are done and one of them failed.
    pub(crate) async fn stop_all(&self, ids: &[String]) -> Result<()> {
        let stops = ids.iter().map(|id| self.stop(id));
        futures::future::join_all(stops).await.into_iter().collect()
    }

    /// Starts containers, each after those that it depends on.
    pub(crate) async fn start_all(&self, ids: &[String]) -> Result<()> {
        for step in self.steps(ids).await? {
            let starts = step.iter().map(|id| self.start(id));
            futures::future::join_all(starts)
                .await
                .into_iter()
                .collect::<Result<()>>()?;
        }
        Ok(())
    }

    /// Sorts containers into steps: those of one step do not depend on each other.
    async fn steps(&self, ids: &[String]) -> Result<Vec<Vec<String>>> {
        if ids.len() < 2 {
            return Ok(vec![ids.to_vec()]);
        }
        let containers = self.containers().await?;
        let chosen: Vec<_> = containers
            .iter()
            .filter(|container| ids.contains(&container.id))
            .collect();
        let client = self.client().await?;
        let inspected = chosen
            .iter()
            .map(|container| client.inspect_container(&container.id, None));
        let mut nodes = Vec::new();
        for (container, details) in chosen
            .iter()
            .zip(futures::future::join_all(inspected).await)
        {
            // One that is gone by now has no say in the order.
            let details = details.unwrap_or_default();
            let created = details.created.and_then(|time| time.parse().ok());
            let host = details.host_config.unwrap_or_default();
            nodes.push(order::Node {
                id: container.id.clone(),
                name: container.name.clone(),
                created: created.unwrap_or_default(),
                labels: container.labels.clone(),
                links: host.links.unwrap_or_default(),
                volumes_from: host.volumes_from.unwrap_or_default(),
                namespaces: [host.network_mode, host.ipc_mode, host.pid_mode]
                    .into_iter()
                    .flatten()
                    .collect(),
            });
        }
        Ok(order::steps(&nodes))
    }

    /// What the containers run, for a commit's record.
    pub(crate) async fn images(&self, containers: &[Container]) -> Vec<ImageUse> {
        let mut images = Vec::new();
        for container in containers {
            images.push(ImageUse {
                container: container.name.clone(),
                image: container.image.clone(),
                digest: self.digest(&container.image_id).await,
            });
        }
        images.sort();
        images
    }

    /// The registry digest of an image, or its id where it came from no registry.
    async fn digest(&self, image_id: &str) -> String {
        let known = self
            .digests
            .lock()
            .expect("no panic under the lock")
            .get(image_id)
            .cloned();
        if let Some(digest) = known {
            return digest;
        }
        let Ok(client) = self.client().await else {
            return image_id.to_owned();
        };
        let Ok(image) = client.inspect_image(image_id).await else {
            return image_id.to_owned();
        };
        let digest = image.repo_digests.unwrap_or_default().into_iter().next();
        let digest = digest.unwrap_or_else(|| image_id.to_owned());
        let mut digests = self.digests.lock().expect("no panic under the lock");
        digests.insert(image_id.to_owned(), digest.clone());
        digest
    }

    /// Containers that Docker wanted to start and could not while this daemon was away.
    pub(crate) async fn left_behind(&self) -> Result<Vec<Container>> {
        let client = self.client().await?;
        let mut left = Vec::new();
        for container in self.containers().await? {
            if container.running {
                continue;
            }
            let Ok(details) = client.inspect_container(&container.id, None).await else {
                continue;
            };
            let error = details
                .state
                .and_then(|state| state.error)
                .unwrap_or_default();
            let policy = details.host_config.and_then(|host| host.restart_policy);
            let restarts = policy.and_then(|policy| policy.name).is_some_and(|name| {
                use bollard::models::RestartPolicyNameEnum::{ALWAYS, UNLESS_STOPPED};
                matches!(name, ALWAYS | UNLESS_STOPPED)
            });
            let ours = self.driver.as_deref().unwrap_or_default();
            if restarts && error.contains("volume") && error.contains(ours) {
                left.push(container);
            }
        }
        Ok(left)
    }
}

fn container(summary: ContainerSummary, driver: &str) -> Option<Container> {
    let volumes: Vec<VolumeName> = summary
        .mounts
        .unwrap_or_default()
        .into_iter()
        .filter(|mount| mount.driver.as_deref() == Some(driver))
        .filter_map(|mount| mount.name?.parse().ok())
        .collect();
    if volumes.is_empty() {
        return None;
    }
    let id = summary.id?;
    let name = summary.names.unwrap_or_default().into_iter().find(|name| {
        // A legacy link shows as a second name, `/other/alias`.
        name.trim_start_matches('/').find('/').is_none()
    });
    Some(Container {
        name: name.map_or_else(
            || short(&id).to_owned(),
            |n| n.trim_start_matches('/').to_owned(),
        ),
        running: matches!(
            summary.state,
            Some(
                ContainerSummaryStateEnum::RUNNING
                    | ContainerSummaryStateEnum::PAUSED
                    | ContainerSummaryStateEnum::RESTARTING
            )
        ),
        volumes,
        image: summary.image.unwrap_or_default(),
        image_id: summary.image_id.unwrap_or_default(),
        labels: summary.labels.unwrap_or_default(),
        id,
    })
}

/// The containers of a list by the branch of `dot` that they use.
pub(crate) fn by_branch(
    containers: &[Container],
    dot: &DotName,
    current: &BranchName,
) -> BTreeMap<BranchName, Vec<String>> {
    let mut branches: BTreeMap<BranchName, Vec<String>> = BTreeMap::new();
    for container in containers {
        for volume in container.volumes.iter().filter(|volume| volume.dot == *dot) {
            let names = branches.entry(volume.pinned.clone().unwrap_or_else(|| current.clone()));
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

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn failed(doing: String, error: bollard::errors::Error) -> NodeError {
    let message = match error {
        bollard::errors::Error::DockerResponseServerError { message, .. } => message,
        other => other.to_string(),
    };
    NodeError::Docker { doing, message }
}
