//! `dm dot delete`: the dot with all its branches and commits goes to the trash.

use dotmesh_model::{DotName, VolumeName};

use crate::docker;
use crate::error::NodeError;
use crate::node::Node;

/// Deletes a dot that no container uses. Its name is free at once.
pub(crate) async fn delete_dot(node: &Node, name: &DotName) -> Result<(), NodeError> {
    let _lock = node.locks.operation(name).await;
    let _gate = node.locks.close_gate(name).await;
    let dot = node.registry.dot(name).await?;
    let running = node.engine.running().await?;
    let users = docker::names(running.iter().filter(|container| container.uses_dot(name)));
    if !users.is_empty() {
        return Err(NodeError::InUse {
            what: format!("dot {name}"),
            containers: users,
        });
    }
    node.pool.delete_dot(name).await?;
    node.registry.delete_dot(&dot.id).await?;
    // Docker would bring the dot back to life, empty, for a volume that it still knows.
    for volume in node.registry.volumes().await? {
        if volume
            .parse::<VolumeName>()
            .is_ok_and(|volume| volume.dot == *name)
        {
            node.registry.remove_volume(&volume).await?;
        }
    }
    Ok(())
}
