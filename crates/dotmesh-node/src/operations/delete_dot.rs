//! `dm dot delete`: sets a dot aside with all its branches and commits. It is deleted for good when it leaves the undo
//! budget.

use std::time::Duration;

use dotmesh_model::{DotName, VolumeName};
use dotmesh_pool::{DeletedWith, NewStep, PoolError};

use super::housekeeping;
use super::switch::check::{self, Scope};
use super::undo;
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// How often a deletion checks whether a full pool has room again.
const ROOM_LOOKS: u32 = 40;
const ROOM_INTERVAL: Duration = Duration::from_millis(250);

/// Deletes a dot that no container uses. Its name is free at once.
pub(crate) async fn delete_dot(node: &Node, name: &DotName) -> Result<(), NodeError> {
    let _lock = node.locks.operation(name, "deleted").await;
    delete_locked(node, name, None).await
}

/// Deletes a dot whose lock the caller holds. `again` is the deletion's number in the dot's log if it is redone.
pub(crate) async fn delete_locked(
    node: &Node,
    name: &DotName,
    again: Option<u64>,
) -> Result<(), NodeError> {
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
    let is_here = node.pool.stored_dot(name).await?.is_some();
    let number = match again {
        // An earlier attempt set it aside, and failed later.
        _ if !is_here => Ok(None),
        Some(number) => Ok(Some(number)),
        None => begin(node, &dot).await.map(Some),
    };
    match number {
        Ok(None) => {}
        Ok(Some(number)) => {
            let set_aside = node.pool.set_dot_aside(name, number).await;
            if set_aside.is_err() {
                undo::settle(node, name).await;
            }
            set_aside?;
        }
        // A full pool has no room for the log. Deleting makes room, so it is done without undo.
        Err(NodeError::Pool(PoolError::Full { .. })) => node.pool.delete_dot(name).await?,
        Err(error) => return Err(error),
    }
    for (place, volume) in node.registry.shown_at().await? {
        if volume.dot == *name {
            node.mounts.hide_at(&place).await?;
        }
    }
    let mut patience = ROOM_LOOKS;
    loop {
        match forget(node, &dot).await {
            // Deleted data goes to the trash first, and the pool takes time to free its space.
            Err(NodeError::Pool(PoolError::Full { .. })) if patience > 0 => {
                housekeeping::drop_oldest(node).await?;
                node.pool.empty_trash(Duration::ZERO).await?;
                node.pool.reclaim().await?;
                tokio::time::sleep(ROOM_INTERVAL).await;
                patience -= 1;
            }
            done => return done,
        }
    }
}

/// Logs the deletion, with what only the registry knows of the dot.
async fn begin(node: &Node, dot: &Dot) -> Result<u64, NodeError> {
    let mut volumes = node.registry.volumes().await?;
    volumes.retain(|volume| {
        let volume = volume.parse::<VolumeName>();
        volume.is_ok_and(|volume| volume.dot == dot.name)
    });
    let made_by = node.registry.made_by().await?;
    let made_by = made_by.into_iter().find(|(id, _)| *id == dot.id);
    let with = DeletedWith {
        volumes,
        made_by: made_by.map(|(_, maker)| maker.as_str().to_owned()),
    };
    let (what, steps) = ("deletion of the dot".to_owned(), NewStep::DeleteDot(with));
    Ok(node
        .pool
        .begin_operation(&dot.name, what, vec![steps])
        .await?)
}

/// Removes a dot from the registry.
async fn forget(node: &Node, dot: &Dot) -> Result<(), NodeError> {
    // Docker would create the dot again, empty, for a volume that it still knows.
    for volume in node.registry.volumes().await? {
        if volume
            .parse::<VolumeName>()
            .is_ok_and(|volume| volume.dot == dot.name)
        {
            node.registry.remove_volume(&volume).await?;
        }
    }
    // Starting its containers would create it again as well.
    node.registry.end_switches(&dot.name).await?;
    node.problems.forget(&dot.name);
    node.stored_pages.forget(&dot.name).await?;
    node.registry.delete_dot(&dot.id).await
}
