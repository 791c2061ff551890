//! Brings to an end what a crash interrupted, and starts containers that could not start without this daemon.

use std::time::Duration;

use dotmesh_model::{BranchName, DotName, VolumeName};

use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// How long to wait before Docker is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Undoes the half of a switch that is in the pool. Called before anything else may use the dots.
pub(crate) async fn undo_half_made(node: &Node) -> Result<(), NodeError> {
    for journal in node.registry.open_switches().await? {
        let Some(mut dot) = node.registry.find_dot(&journal.dot).await? else {
            continue;
        };
        let Some(created) = &journal.created else {
            continue;
        };
        if dot.current == *created {
            continue;
        }
        dot.branches.remove(created);
        match undo_branch(node, &dot, created).await {
            // One dot's folder must not keep the daemon from starting.
            Err(NodeError::Pool(error)) => {
                tracing::error!(dot = %dot.name, branch = %created, %error, "an interrupted switch is not undone");
            }
            done => done?,
        }
    }
    Ok(())
}

/// Removes a branch that a dot does not have any more.
async fn undo_branch(node: &Node, dot: &Dot, branch: &BranchName) -> Result<(), NodeError> {
    if node.pool.has_branch(&dot.name, branch).await? {
        node.save(dot).await?;
        node.pool.delete_branch(&dot.name, branch).await?;
    }
    Ok(())
}

/// Starts what shall run, as soon as Docker can be reached. Runs beside everything else.
pub(crate) async fn restart_containers(node: Node) {
    if node.config.plugin_socket().is_none() {
        return;
    }
    // Docker may start after this daemon, or at the same time.
    let (left, volumes) = loop {
        match tokio::try_join!(node.engine.left_behind(), node.engine.volume_names()) {
            Ok(found) => break found,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    if let Err(error) = know_volumes(&node, &volumes).await {
        tracing::error!(%error, "volumes that containers use cannot be registered");
    }
    let journals = node.registry.open_switches().await.unwrap_or_else(|error| {
        tracing::error!(%error, "the journals of switches cannot be read");
        Vec::new()
    });
    for journal in journals {
        if let Err(error) = finish(&node, &journal.dot).await {
            tracing::error!(dot = %journal.dot, %error, "containers of an interrupted switch do not start");
        }
    }
    let ids: Vec<String> = left.into_iter().map(|container| container.id).collect();
    if !ids.is_empty() {
        tracing::info!(
            count = ids.len(),
            "starting containers that waited for this daemon"
        );
        if let Err(error) = node.engine.start_all(&ids).await {
            tracing::error!(%error, "a container that waited for this daemon does not start");
        }
    }
}

/// Makes sure that the volumes of containers are known: the pool does not tell them to a registry that is rebuilt.
async fn know_volumes(node: &Node, names: &[String]) -> Result<(), NodeError> {
    for name in names {
        let Ok(volume) = name.parse::<VolumeName>() else {
            continue;
        };
        if node.registry.find_dot(&volume.dot).await?.is_some() {
            node.registry.add_volume(name).await?;
        }
    }
    Ok(())
}

async fn finish(node: &Node, dot: &DotName) -> Result<(), NodeError> {
    let _lock = node.locks.operation(dot).await;
    // A switch that came before us has ended this one along with itself.
    let Some(mut journal) = node.registry.open_switch(dot).await? else {
        return Ok(());
    };
    let known = node.engine.containers().await?;
    journal
        .containers
        .retain(|id| known.iter().any(|container| container.id == *id));
    // One that the crash caught between its stop and the change may still be running on the old branch.
    node.engine.stop_all(&journal.containers).await?;
    node.engine.start_all(&journal.containers).await?;
    node.registry.end_switch(dot).await?;
    tracing::info!(%dot, "an interrupted switch is finished");
    Ok(())
}
