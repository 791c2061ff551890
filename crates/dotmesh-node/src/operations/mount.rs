//! `dm mount` and `dm unmount`: mount a volume's folder for programs outside containers.

use std::path::{Path, PathBuf};

use dotmesh_api::node::{MountVolume, MountedVolume, UnmountVolume};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::VolumeName;

use super::create_dot::find_or_create;
use super::volume::shown;
use crate::error::NodeError;
use crate::node::Node;

/// Mounts a volume's folder at a place of the user's, which must be an empty folder. The dot and the subdot are created
/// only on request.
pub(crate) async fn mount(node: &Node, request: MountVolume) -> Result<MountedVolume, NodeError> {
    let volume: VolumeName = request.volume.parse()?;
    let place = absolute(&request.place)?;
    if node.config.is_managed_plugin() {
        let message =
            "this node is a managed plugin of Docker, and its mounts do not show outside of it";
        return Err(ErrorBody::new(ErrorCode::Invalid, message).into());
    }
    refuse_own(node, &place)?;
    if request.create && volume.pinned.is_none() {
        find_or_create(node, &volume.dot).await?;
    }
    let dot = node.registry.dot(&volume.dot).await?;
    let _still = node.locks.hold_still(&volume.dot).await;
    let branch = shown(node, &volume).await?;
    let opened = node
        .pool
        .open_volume(&dot.name, &branch, &volume.folder)
        .await?;
    let folder = match opened {
        Some(folder) => folder,
        None if request.create => {
            node.pool
                .prepare_volume(&dot.name, &branch, &volume.folder)
                .await?
        }
        None => {
            let subdots = node.pool.subdots(&dot.name, &branch).await?;
            return Err(NodeError::NoSubdot {
                volume: Box::new(volume),
                branch,
                subdots: subdots.iter().map(ToString::to_string).collect(),
            });
        }
    };
    node.mounts.show_at(&place, &volume, folder).await?;
    Ok(MountedVolume { branch })
}

/// Unmounts a user's place.
pub(crate) async fn unmount(node: &Node, request: UnmountVolume) -> Result<(), NodeError> {
    node.mounts.hide_at(&absolute(&request.place)?).await
}

/// Mounts the users' places again after the machine was restarted.
pub(crate) async fn restore(node: &Node) -> Result<(), NodeError> {
    let here = node.mounts.attached();
    for (place, volume) in node.registry.shown_at().await? {
        if !here.contains(&place)
            && let Err(error) = show_again(node, &place, &volume).await
        {
            tracing::warn!(place = %place.display(), %volume, %error, "cannot mount a user's volume again");
        }
    }
    Ok(())
}

/// Updates the users' mounts of a dot to the current branch.
pub(crate) async fn refresh(node: &Node, dot: &dotmesh_model::DotName) -> Result<(), NodeError> {
    for (place, volume) in node.registry.shown_at().await? {
        if volume.dot == *dot
            && let Err(error) = show_again(node, &place, &volume).await
        {
            tracing::warn!(place = %place.display(), %volume, %error, "cannot update a user's mount, it still shows the previous branch");
        }
    }
    Ok(())
}

async fn show_again(node: &Node, place: &Path, volume: &VolumeName) -> Result<(), NodeError> {
    let Ok(branch) = shown(node, volume).await else {
        // The branch doesn't exist any more.
        return node.mounts.hide_at(place).await;
    };
    let opened = node
        .pool
        .open_volume(&volume.dot, &branch, &volume.folder)
        .await?;
    // If the branch lacks the subdot, there is nothing to mount.
    match opened {
        Some(folder) => node.mounts.show_at(place, volume, folder).await,
        None => node.mounts.hide_for_now(place).await,
    }
}

/// Refuses places inside Dotmesh's own folders. A mount in the pool would show in each container that has that folder.
fn refuse_own(node: &Node, place: &Path) -> Result<(), NodeError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = real(place);
    for own in [&node.config.root, &node.config.mounts()] {
        if path.starts_with(real(own)) {
            return Err(NodeError::Place {
                place: place.to_owned(),
                problem: format!("it is inside Dotmesh's own folder {}", own.display()),
            });
        }
    }
    Ok(())
}

fn absolute(place: &str) -> Result<PathBuf, NodeError> {
    let place = PathBuf::from(place);
    if place.is_absolute() {
        Ok(place)
    } else {
        Err(NodeError::Place {
            place,
            problem: "it is not an absolute path".to_owned(),
        })
    }
}
