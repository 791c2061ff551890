//! Copies the image's folder into a new subdot, as Docker does for an empty local volume.
//!
//! Docker copies only when it creates a container. A container that was created on one branch would find an empty
//! folder when it is started on another branch that lacks the subdot.

use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, DotName, VolumeName};

use crate::engine::{State, VolumeUse};
use crate::error::NodeError;
use crate::node::Node;

/// Fills the missing subdots of volumes. Each volume comes with the id of its container's image.
pub(crate) async fn fill_missing(
    node: &Node,
    dot: &DotName,
    uses: &[(String, VolumeUse)],
) -> Result<(), NodeError> {
    let dot = node.registry.dot(dot).await?;
    for (image, used) in uses {
        let branch = used.volume.pinned.as_ref().unwrap_or(&dot.current);
        fill(node, &used.volume, branch, image, used).await?;
    }
    Ok(())
}

/// Fills the missing subdot of a volume that is about to be mounted, from the image of a container that has the volume.
/// For a container that is being created, Docker fills the volume itself.
pub(crate) async fn fill_for_mount(
    node: &Node,
    volume: &VolumeName,
    branch: &BranchName,
) -> Result<(), NodeError> {
    if node
        .pool
        .open_volume(&volume.dot, branch, &volume.folder)
        .await?
        .is_some()
    {
        return Ok(());
    }
    let is_mute = node.docker.is_mute_during_mounts().await;
    for container in node.docker.list_during_mount().await? {
        for used in container.uses.iter().filter(|used| used.volume == *volume) {
            if !is_mute {
                fill(node, volume, branch, &container.image_id, used).await?;
            } else if used.copies_image && container.state != State::Created {
                // The Engine copies nothing while it waits. It fills new volumes itself.
                return Err(NodeError::StartsLater {
                    dot: volume.dot.clone(),
                    doing: "filled with the image's files".to_owned(),
                });
            }
        }
    }
    Ok(())
}

async fn fill(
    node: &Node,
    volume: &VolumeName,
    branch: &BranchName,
    image: &str,
    used: &VolumeUse,
) -> Result<(), NodeError> {
    let (pool, dot) = (&node.pool, &volume.dot);
    let Folder::Subdot(subdot) = &volume.folder else {
        return Ok(());
    };
    if !used.copies_image
        || image.is_empty()
        || pool
            .open_volume(dot, branch, &volume.folder)
            .await?
            .is_some()
    {
        return Ok(());
    }
    let new = pool.begin_subdot(dot, branch, subdot).await?;
    let copied = node
        .docker
        .copy_from_image(image, &used.destination, new.folder())
        .await
        .map_err(|error| NodeError::Docker {
            doing: format!("copying {} from image {image}", used.destination.display()),
            message: error.to_string(),
        })?;
    if let Some(content) = copied {
        pool.finish_subdot(new, &content).await?;
    }
    Ok(())
}
