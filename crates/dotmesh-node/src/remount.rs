//! Remounts a pool that btrfs has made read-only, which it does after a failed write to the disk below.
//!
//! Only a new mount of the filesystem is writable, and the old one lasts as long as anything uses it. So the daemon
//! stops the containers that have it mounted, unmounts it, and opens the pool again. Once it serves, it starts those
//! containers again. Their list is kept beside the pool, in case the daemon is killed in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bollard::Docker;
use dotmesh_pool::{BtrfsPlace, Disk, read_mount_table, replace_durably};
use futures::future::join_all;
use jiff::Timestamp;

use crate::config::Config;
use crate::engine::{answers, connect};
use crate::node::place;
use crate::registry::ToStart;

/// The free space in bytes that the disk below must have. With less, btrfs would soon be read-only again.
pub(crate) const ENOUGH: u64 = 64 << 20;

/// Polling interval.
const LOOK: Duration = Duration::from_secs(1);

/// Whether the disk below can take writes again.
pub(crate) fn has_room(disk: Option<Disk>) -> bool {
    disk.is_none_or(|disk| disk.free >= ENOUGH)
}

/// Waits until the disk below has room, then unmounts the pool so that it can be mounted again.
pub(crate) async fn unmount(config: &Config) -> Result<()> {
    let place = place(config);
    tracing::error!("the pool is read-only and must be mounted again");
    let mut waits = false;
    while !has_room(place.disk()?) {
        if !waits {
            tracing::error!(
                "waiting until the disk below the pool has {} MiB of free space",
                ENOUGH >> 20
            );
        }
        waits = true;
        tokio::time::sleep(LOOK).await;
    }
    loop {
        // If Docker is down, its containers' mounts may be gone as well.
        if let Err(error) = stop_containers(config, &place).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot stop the containers that use the pool"
            );
        }
        if place.unmount()? {
            return Ok(());
        }
        tracing::warn!(
            "another process uses the pool: end it, so that the pool can be mounted again"
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Stops the containers that have the pool mounted, and saves their list.
async fn stop_containers(config: &Config, place: &BtrfsPlace) -> Result<()> {
    let (Some(filesystem), Some(_)) = (place.filesystem()?, config.driver()) else {
        return Ok(());
    };
    let docker = connect(&config.docker_host).await?;
    let users = users(&docker, &filesystem).await?;
    if users.is_empty() {
        return Ok(());
    }
    let mut stopped = stopped(&config.root);
    stopped.retain(|earlier| users.iter().all(|user| user.id != earlier.id));
    stopped.extend(users.iter().cloned());
    let text = serde_json::to_vec(&stopped).expect("a list has only string keys");
    replace_durably(&list(&config.root), &text)?;
    let stops = users.iter().map(async |user| {
        tracing::warn!(container = %user.name, "stopping the container while the pool is mounted again");
        if let Err(error) = docker.stop_container(&user.id, None).await {
            tracing::warn!(container = %user.name, %error, "cannot stop the container");
        }
    });
    join_all(stops).await;
    Ok(())
}

/// The running containers in which a filesystem is mounted.
async fn users(docker: &Docker, filesystem: &str) -> Result<Vec<ToStart>> {
    let running = answers::containers(docker, None).await;
    let running = running.context("list containers")?;
    let mut users = Vec::new();
    for id in running.into_iter().filter_map(|one| one.id) {
        // The container may be gone.
        let Ok(details) = answers::container(docker, &id).await else {
            continue;
        };
        let state = details.state.unwrap_or_default();
        let process = state.pid.unwrap_or_default();
        let mounts = read_mount_table(&process.to_string()).unwrap_or_default();
        if process != 0 && mounts.iter().any(|mount| mount.filesystem == filesystem) {
            let name = details.name.unwrap_or_default();
            users.push(ToStart {
                id,
                name: name.trim_start_matches('/').to_owned(),
                pause: state.paused.unwrap_or_default(),
                stopping_until: None::<Timestamp>,
            });
        }
    }
    Ok(users)
}

fn list(root: &Path) -> PathBuf {
    root.join("stopped-containers.json")
}

/// The stopped containers that no switch journal lists yet.
pub(crate) fn stopped(root: &Path) -> Vec<ToStart> {
    let text = std::fs::read(list(root)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Deletes the list, once the containers are in the journals.
pub(crate) fn forget_stopped(root: &Path) {
    let _ = std::fs::remove_file(list(root));
}
