//! `dm dot delete`: the dot with all its branches and commits goes to the trash.

use std::time::Duration;

use dotmesh_model::{DotName, VolumeName};
use dotmesh_pool::PoolError;

use super::switch::check::{self, Scope};
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// How often it is looked whether a full pool has room again.
const ROOM_LOOKS: u32 = 40;
const ROOM_INTERVAL: Duration = Duration::from_millis(250);

/// Deletes a dot that no container uses. Its name is free at once.
pub(crate) async fn delete_dot(node: &Node, name: &DotName) -> Result<(), NodeError> {
    let _lock = node.locks.operation(name, "deleted").await;
    let _gate = check::close_gate(node, name).await?;
    let dot = node.registry.dot(name).await?;
    let running = node.docker.active().await?;
    let users = engine::names(running.iter().filter(|container| container.uses_dot(name)));
    if !users.is_empty() {
        return Err(NodeError::InUse {
            what: format!("dot {name}"),
            containers: users,
        });
    }
    let _moving = check::unused(node, &dot, Scope::All).await?;
    node.pool.delete_dot(name).await?;
    for (place, volume) in node.registry.shown_at().await? {
        if volume.dot == *name {
            node.mounts.hide_at(&place).await?;
        }
    }
    let mut patience = ROOM_LOOKS;
    loop {
        match forget(node, &dot).await {
            // It is deleted to make room, which the trash gives back first; the pool takes its time for that.
            Err(NodeError::Pool(PoolError::Full { .. })) if patience > 0 => {
                node.pool.empty_trash(Duration::ZERO).await?;
                node.pool.reclaim().await?;
                tokio::time::sleep(ROOM_INTERVAL).await;
                patience -= 1;
            }
            done => return done,
        }
    }
}

/// Removes a dot from the registry.
async fn forget(node: &Node, dot: &Dot) -> Result<(), NodeError> {
    // Docker would bring the dot back to life, empty, for a volume that it still knows.
    for volume in node.registry.volumes().await? {
        if volume
            .parse::<VolumeName>()
            .is_ok_and(|volume| volume.dot == dot.name)
        {
            node.registry.remove_volume(&volume).await?;
        }
    }
    // Its containers would bring it back in the same way.
    node.registry.end_switch(&dot.name).await?;
    node.problems.replace(&dot.name, &[]);
    node.nodes.forget(&dot.name).await?;
    node.registry.delete_dot(&dot.id).await
}
