//! Rolls back what an interrupted switch left in the pool. `watch.rs` starts the containers.

use dotmesh_model::BranchName;

use crate::error::NodeError;
use crate::node::Node;
use crate::operations::switch::execute::Trouble;
use crate::registry::Dot;

/// Rolls back half-made switches. Must run before anything else uses the dots.
pub(crate) async fn undo_half_made(node: &Node) -> Result<(), NodeError> {
    for mut journal in node.registry.open_switches().await? {
        let Some(mut dot) = node.registry.find_dot(&journal.dot).await? else {
            let pinned = journal.pinned.as_ref();
            node.registry.end_switch(&journal.dot, pinned).await?;
            continue;
        };
        let left: Vec<Trouble> = journal
            .containers
            .iter()
            .map(|left| Trouble {
                id: left.id.clone(),
                name: left.name.clone(),
                reason: "a switch stopped it, and it has not been started again yet".to_owned(),
            })
            .collect();
        node.problems
            .replace(&journal.dot, journal.pinned.as_ref(), &left);
        let Some(created) = journal.created.take() else {
            continue;
        };
        if dot.current != created {
            dot.branches.remove(&created);
            match undo_branch(node, &dot, &created).await {
                // One damaged dot must not keep the daemon from starting.
                Err(NodeError::Pool(error)) => {
                    tracing::error!(dot = %dot.name, branch = %created, %error, "cannot roll back an interrupted switch");
                }
                done => done?,
            }
        }
        node.registry.begin_switch(&journal).await?;
    }
    Ok(())
}

/// Deletes the data of a branch that was removed from the dot.
async fn undo_branch(node: &Node, dot: &Dot, branch: &BranchName) -> Result<(), NodeError> {
    if node.pool.has_branch(&dot.name, branch).await? {
        node.save(dot).await?;
        node.pool.delete_branch(&dot.name, branch).await?;
    }
    Ok(())
}
