//! The Engine's volumes of any driver, which imports read and exports write.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveVolumeOptions};

use super::answers;
use super::details::state;
use super::failures::failed;
use super::{EngineError, State};

type Result<T> = std::result::Result<T, EngineError>;

/// A volume, and the containers that run with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EngineVolume {
    pub(crate) driver: String,
    /// The folder of its data on the Engine's machine.
    pub(crate) mountpoint: PathBuf,
    /// The driver's options, such as the device that is mounted at the mountpoint while a container runs.
    pub(crate) options: BTreeMap<String, String>,
    /// The ids and names of the containers that run with it.
    pub(crate) running: Vec<(String, String)>,
}

/// Finds a volume.
pub(super) async fn find(client: &Docker, name: &str) -> Result<Option<EngineVolume>> {
    let found = match client.inspect_volume(name).await.map_err(failed) {
        Err(EngineError::Gone) => return Ok(None),
        found => found?,
    };
    let filters = HashMap::from([("volume", vec![name])]);
    let options = ListContainersOptionsBuilder::new().filters(&filters);
    let containers = answers::containers(client, Some(options.build())).await;
    let mut running = Vec::new();
    for container in containers.map_err(failed)? {
        let is_active = container.state.map_or(State::Created, state).is_active();
        // The filter also finds volumes whose names begin with this one.
        let mut mounts = container.mounts.into_iter().flatten();
        let has_it = mounts.any(|mount| mount.name.as_deref() == Some(name));
        if let Some(id) = container.id.filter(|_| is_active && has_it) {
            let names = container.names.unwrap_or_default().into_iter();
            let mut names = names.map(|name| name.trim_start_matches('/').to_owned());
            let name = names.find(|name| !name.contains('/'));
            running.push((id.clone(), name.unwrap_or(id)));
        }
    }
    running.sort_by(|one, other| one.1.cmp(&other.1));
    Ok(Some(EngineVolume {
        driver: found.driver,
        mountpoint: found.mountpoint.into(),
        options: found.options.into_iter().collect(),
        running,
    }))
}

/// Makes a local volume.
pub(super) async fn create(client: &Docker, name: &str) -> Result<()> {
    let request = VolumeCreateRequest {
        name: Some(name.to_owned()),
        driver: Some("local".to_owned()),
        ..VolumeCreateRequest::default()
    };
    client
        .create_volume(request)
        .await
        .map(drop)
        .map_err(failed)
}

/// Removes a volume that no container has.
pub(super) async fn remove(client: &Docker, name: &str) -> Result<()> {
    let options: Option<RemoveVolumeOptions> = None;
    client.remove_volume(name, options).await.map_err(failed)
}
