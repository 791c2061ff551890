//! `dm dot rename`: renames a dot, with all its branches and commits.

use dotmesh_model::{DotName, Namespace, VolumeName};

use super::switch::check::{self, Scope};
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;

/// Renames a dot. Fails while a container, running or not, has a volume of the old name.
pub(crate) async fn rename_dot(node: &Node, from: &DotName, to: &DotName) -> Result<(), NodeError> {
    if to.namespace != from.namespace && to.namespace != Namespace::default() {
        return Err(NodeError::OtherNamespace { dot: to.clone() });
    }
    // Lock in name order, so that two renames cannot deadlock.
    let (first, second) = (from.min(to), from.max(to));
    let _first = node.locks.operation(first, "renamed").await;
    if first == second {
        return Err(NodeError::DotExists { dot: to.clone() });
    }
    let _second = node.locks.operation(second, "renamed").await;
    let _gate = check::close_gate(node, from).await?;
    let mut dot = node.registry.dot(from).await?;
    if node.registry.find_dot(to).await?.is_some() {
        return Err(NodeError::DotExists { dot: to.clone() });
    }
    let containers = node.docker.list().await?;
    let users = engine::names(containers.iter().filter(|one| one.uses_dot(from)));
    if !users.is_empty() {
        return Err(NodeError::InVolumes {
            dot: from.clone(),
            containers: users,
        });
    }
    let _moving = check::unused(node, &dot, Scope::All).await?;
    node.pool.rename_dot(from, to).await?;
    dot.name = to.clone();
    if let Err(error) = node.registry.put_dot(&dot).await {
        node.pool.rename_dot(to, from).await?;
        return Err(error);
    }
    for (place, mut volume) in node.registry.shown_at().await? {
        if volume.dot == *from {
            volume.dot = to.clone();
            node.registry.add_shown_at(&place, &volume).await?;
        }
    }
    // Docker would create an empty dot with the old name for a volume that it still knows.
    for volume in node.registry.volumes().await? {
        if volume
            .parse::<VolumeName>()
            .is_ok_and(|volume| volume.dot == *from)
        {
            node.registry.remove_volume(&volume).await?;
        }
    }
    node.registry.end_switches(from).await?;
    node.problems.forget(from);
    // This only clears a cache.
    node.stored_pages.forget(from).await
}
