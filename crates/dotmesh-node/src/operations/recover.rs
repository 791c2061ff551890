//! Takes back what a crash left in the pool of a switch that did not happen. The containers are `watch.rs`'s.

use crate::error::NodeError;
use crate::node::Node;

/// Undoes the half of a switch that is in the pool. Called before anything else may use the dots.
pub(crate) async fn undo_half_made(node: &Node) -> Result<(), NodeError> {
    for mut journal in node.registry.open_switches().await? {
        let Some(mut dot) = node.registry.find_dot(&journal.dot).await? else {
            node.registry.end_switch(&journal.dot).await?;
            continue;
        };
        let Some(created) = journal.created.take() else {
            continue;
        };
        if dot.current != created && node.pool.has_branch(&dot.name, &created).await? {
            dot.branches.remove(&created);
            node.save(&dot).await?;
            node.pool.delete_branch(&dot.name, &created).await?;
        }
        node.registry.begin_switch(&journal).await?;
    }
    Ok(())
}
