//! `dm dot show`: shows one dot with its branches.

use dotmesh_api::node::{BranchDetail, DotDetail};

use super::list;
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::view::At;

/// The details of a dot.
pub(crate) async fn show(node: &Node, at: impl Into<At>) -> Result<DotDetail, NodeError> {
    let containers = list::prepare(node).await;
    let dot = node.settled_view(&at.into()).await?;
    let heights = node.registry.heights().await?;
    let height = heights
        .get(&(dot.id.clone(), dot.here.to_string()))
        .copied()
        .unwrap_or(0);
    let usage = node.pool.usage(&dot.name, &dot.here, dot.head()?).await?;
    let summary = list::summary(node, &dot, usage, &containers, height).await?;
    let mut users = engine::by_branch(&containers, &dot.name, &dot.current);
    let branches = dot.branches.iter().map(|(branch, state)| BranchDetail {
        name: branch.clone(),
        head: state.head,
        origin: state.origin.clone(),
        containers: users.remove(branch).unwrap_or_default(),
    });
    Ok(DotDetail {
        branches: branches.collect(),
        id: dot.id.clone(),
        summary,
    })
}
