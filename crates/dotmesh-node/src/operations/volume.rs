//! The operations of the volume driver: create, find, mount, unmount and remove volumes.
//!
//! A volume is a view of a dot. Removing it never touches the dot's data, except for a volume without a name. `Get`,
//! `List` and `Path` never wait. `Create` and `Mount` of a volume that follows the current branch wait for a switch, up
//! to a timeout.

use std::path::PathBuf;

use dotmesh_model::{BranchName, CommitId, VolumeName};
use tokio::time::timeout;

use super::create_dot::find_or_create_for_docker;
use super::delete_dot::delete_locked;
use super::fill;
use crate::copies;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{Dot, MadeBy};
use crate::rootless::Rootless;

/// `Create`: creates the dot in the node's own namespace if it doesn't exist. A pinned branch must exist.
pub(crate) async fn create(node: &Node, text: &str) -> Result<(), NodeError> {
    if node.copies.has(text) {
        return Ok(());
    }
    let volume: VolumeName = text.parse()?;
    match &volume.pinned {
        None => {
            let made = timeout(
                node.timing.mount,
                find_or_create_for_docker(node, &volume.dot),
            )
            .await;
            made.unwrap_or_else(|_| {
                Err(NodeError::Busy {
                    dot: volume.dot.clone(),
                    doing: node.locks.doing(&volume.dot),
                })
            })?;
        }
        Some(branch) => {
            let dot = node.registry.find_dot(&volume.dot).await?;
            check_pin(dot.as_ref(), &volume, branch)?;
        }
    }
    node.registry.add_volume(text).await
}

/// `Remove`: forgets the volume. Succeeds if it was unknown.
pub(crate) async fn remove(node: &Node, text: &str) -> Result<(), NodeError> {
    if copies::is_volume(text) {
        return Ok(());
    }
    node.registry.remove_volume(text).await?;
    if is_nameless(text)
        && let Err(error) = remove_nameless(node, text).await
    {
        tracing::warn!(volume = %text, %error, "cannot delete the dot of a volume without a name");
    }
    Ok(())
}

/// Whether the Engine chose the name, for a volume that nobody named. It is a hash.
fn is_nameless(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Deletes the dot of a volume that nobody named, unless somebody has used it as a dot.
async fn remove_nameless(node: &Node, text: &str) -> Result<(), NodeError> {
    let name = text.parse::<VolumeName>()?.dot;
    let _lock = node.locks.operation(&name, "deleted").await;
    let Some(dot) = node.registry.find_dot(&name).await? else {
        return Ok(());
    };
    let made = node.registry.made_by().await?;
    let by_docker = made.contains(&(dot.id.clone(), MadeBy::Docker));
    let is_new = dot.branches.len() == 1 && dot.current()?.head == CommitId::ROOT;
    let stashes = node.pool.stashes(&name).await?;
    if by_docker && is_new && stashes.is_empty() {
        delete_locked(node, &name, None).await?;
    }
    Ok(())
}

/// `Get` and `Path`: the path of a volume that was created. The folder may not exist yet.
pub(crate) async fn find(node: &Node, text: &str) -> Result<PathBuf, NodeError> {
    // Docker asks before it removes one, also after a restart of the daemon.
    if copies::is_volume(text) {
        return Ok(node.copies.place(text).unwrap_or_default());
    }
    let volume: VolumeName = text.parse()?;
    let no_volume = || NodeError::NoVolume {
        name: text.to_owned(),
    };
    if !node.registry.has_volume(text).await? {
        return Err(no_volume());
    }
    let dot = node
        .registry
        .find_dot(&volume.dot)
        .await?
        .ok_or_else(no_volume)?;
    let branch = volume.pinned.as_ref().unwrap_or(&dot.current);
    Ok(node.pool.volume_path(&volume.dot, branch, &volume.folder))
}

/// `List`: all created volumes with their paths.
pub(crate) async fn list(node: &Node) -> Result<Vec<(String, PathBuf)>, NodeError> {
    let mut found = Vec::new();
    for name in node.registry.volumes().await? {
        match find(node, &name).await {
            Ok(path) => found.push((name, path)),
            // One bad name must not hide all others from Docker.
            Err(error) => tracing::warn!(%name, %error, "leaving a volume out of the list"),
        }
    }
    Ok(found)
}

/// `Mount`: mounts the folder of the current or pinned branch at a new place, for a container that is about to start.
pub(crate) async fn mount(
    node: &Node,
    text: &str,
    caller: &str,
    engine: Option<Rootless>,
) -> Result<PathBuf, NodeError> {
    if copies::is_volume(text) {
        return node.copies.mount(&node.mounts, text, engine).await;
    }
    let volume: VolumeName = text.parse()?;
    // A switch doesn't affect a pinned branch, so there is nothing to wait for.
    let _passing = match &volume.pinned {
        Some(_) => None,
        None => {
            let passing = async {
                find_or_create_for_docker(node, &volume.dot).await?;
                Ok(node.locks.pass_gate(&volume.dot).await)
            };
            let patience = match node.docker.is_mute_during_mounts().await {
                // The switch itself would wait until the Engine lists containers again.
                true => node.timing.mute,
                false => node.timing.mount,
            };
            let passing = timeout(patience, passing).await;
            Some(passing.unwrap_or_else(|_| {
                Err(NodeError::StartsLater {
                    dot: volume.dot.clone(),
                    doing: node.locks.doing(&volume.dot),
                })
            })?)
        }
    };
    let branch = shown(node, &volume).await?;
    // Docker waits for 2 minutes in all. If the copy takes longer, the daemon makes it before it starts the container.
    let filled = timeout(
        node.timing.fill,
        fill::fill_for_mount(node, &volume, &branch),
    )
    .await;
    filled.unwrap_or_else(|_| {
        Err(NodeError::StartsLater {
            dot: volume.dot.clone(),
            doing: "filled with the image's files".to_owned(),
        })
    })?;
    let _still = node.locks.hold_still(&volume.dot).await;
    // A pinned branch may have been deleted meanwhile.
    let branch = shown(node, &volume).await?;
    let folder = node
        .pool
        .prepare_volume(&volume.dot, &branch, &volume.folder)
        .await?;
    node.mounts
        .hand_out(caller, &volume, &branch, folder, engine)
        .await
}

/// `Unmount`: the container has stopped, or could not be started.
pub(crate) async fn unmount(node: &Node, text: &str, caller: &str) -> Result<(), NodeError> {
    if copies::is_volume(text) {
        node.copies.unmount(&node.mounts, text);
        return Ok(());
    }
    node.mounts.take_back(caller, text).await
}

/// The branch that a volume shows now.
pub(crate) async fn shown(node: &Node, volume: &VolumeName) -> Result<BranchName, NodeError> {
    let dot = node.registry.find_dot(&volume.dot).await?;
    if let Some(branch) = &volume.pinned {
        check_pin(dot.as_ref(), volume, branch)?;
        return Ok(branch.clone());
    }
    let dot = dot.ok_or_else(|| NodeError::NoDot {
        dot: volume.dot.clone(),
    })?;
    Ok(dot.current)
}

fn check_pin(dot: Option<&Dot>, volume: &VolumeName, branch: &BranchName) -> Result<(), NodeError> {
    let refuse = |why| {
        Err(NodeError::CannotPin {
            dot: volume.dot.clone(),
            branch: branch.clone(),
            why,
        })
    };
    match dot {
        None => refuse("the dot does not exist"),
        Some(dot) if !dot.branches.contains_key(branch) => refuse("the branch does not exist"),
        Some(_) => Ok(()),
    }
}
