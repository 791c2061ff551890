//! `dm list`: all dots, with the states of their current branches.

use std::time::Duration;

use dotmesh_api::node::DotSummary;
use dotmesh_pool::FolderUsage;

use super::bookkeeping::{self, Effort};
use super::left_out;
use crate::engine::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::view::View;

/// How long a listing waits for a flush, after which sizes include the applications' last writes.
const FLUSH_PATIENCE: Duration = Duration::from_millis(50);

/// All dots, sorted by displayed name.
pub(crate) async fn list(node: &Node) -> Result<Vec<DotSummary>, NodeError> {
    let containers = prepare(node).await;
    let heights = node.registry.heights().await?;
    let dots = node.registry.dots().await?;
    let mut branches = Vec::with_capacity(dots.len());
    for dot in &dots {
        branches.push((dot.name.clone(), dot.current.clone(), dot.current()?.head));
    }
    let mut rows = Vec::with_capacity(dots.len());
    for (dot, usage) in dots.iter().zip(node.pool.usages(branches).await?) {
        let height = heights.get(&(dot.id.clone(), dot.current.to_string()));
        let usage = match usage {
            Ok(usage) => usage,
            // The dot was deleted since the list was read.
            Err(_) if node.registry.find_dot(&dot.name).await?.is_none() => continue,
            // One damaged dot must not hide all others.
            Err(error) => {
                tracing::error!(dot = %dot.name, %error, "cannot measure a dot");
                FolderUsage::default()
            }
        };
        let height = height.copied().unwrap_or(0);
        let view = View::new(dot.clone(), None)?;
        let mut row = summary(node, &view, usage, &containers, height).await?;
        row.only_database_files =
            usage.dirty > 0 && bookkeeping::is_all(node, dot, &dot.current, Effort::Glance).await;
        rows.push(row);
    }
    rows.sort_by_cached_key(|dot| dot.name.to_string());
    Ok(rows)
}

/// Starts a flush with a short timeout, and lists the running containers. If either fails, the result is only less
/// exact.
pub(crate) async fn prepare(node: &Node) -> Vec<Container> {
    let flush = tokio::time::timeout(FLUSH_PATIENCE, node.pool.flush());
    let (_, containers) = tokio::join!(flush, node.docker.active());
    containers.unwrap_or_default()
}

/// One row.
pub(crate) async fn summary(
    node: &Node,
    dot: &View,
    usage: FolderUsage,
    containers: &[Container],
    commits: u64,
) -> Result<DotSummary, NodeError> {
    let uses = |container: &&Container| container.uses(&dot.name, &dot.here, &dot.current);
    let containers = engine::names(containers.iter().filter(uses));
    Ok(DotSummary {
        name: dot.name.clone(),
        branch: dot.here.clone(),
        server: node.pool.node().to_owned(),
        containers,
        size: usage.size,
        commits,
        dirty: usage.dirty,
        only_database_files: false,
        problems: node.problems.of(&dot.name),
        left_out: left_out::known(node, dot, dot.head()?).await?,
    })
}
