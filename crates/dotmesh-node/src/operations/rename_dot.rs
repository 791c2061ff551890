//! `dm dot rename`: renames a dot, with all its branches and commits.

use dotmesh_model::{DotName, Namespace, VolumeName};
use dotmesh_pool::{NewStep, Operation, PoolError, to_redo, to_undo};

use super::switch::check::{self, Scope};
use super::undo::{self, Way};
use crate::engine;
use crate::error::NodeError;
use crate::locks::Held;
use crate::node::Node;

/// Renames a dot. Fails while a container, running or not, has a volume of the old name.
pub(crate) async fn rename_dot(node: &Node, from: &DotName, to: &DotName) -> Result<(), NodeError> {
    if to.namespace != from.namespace && to.namespace != Namespace::default() {
        return Err(NodeError::OtherNamespace { dot: to.clone() });
    }
    let _locks = lock_both(node, from, to).await;
    if from == to {
        return Err(NodeError::DotExists { dot: to.clone() });
    }
    let what = format!("rename of the dot from {from} to {to}");
    let mut volumes = node.registry.volumes().await?;
    volumes.retain(|volume| is_of(volume, from));
    let step = NewStep::RenameDot {
        to: to.clone(),
        volumes,
    };
    let renamed = rename(node, from, to, async || {
        node.pool.begin_operation(from, what, vec![step]).await?;
        node.pool.rename_dot(from, to).await
    });
    let renamed = renamed.await;
    undo::settle(node, if renamed.is_ok() { to } else { from }).await;
    renamed
}

/// Undoes or redoes the rename that is the operation `number` of the dot's log. Returns what the operation was.
pub(crate) async fn again(
    node: &Node,
    from: &DotName,
    to: &DotName,
    number: u64,
    way: Way,
) -> Result<Operation, NodeError> {
    let _locks = lock_both(node, from, to).await;
    node.pool.settle(from).await?;
    let log = node.pool.operations(from).await?;
    let next = match way {
        Way::Back => to_undo(&log),
        Way::Again => to_redo(&log),
    };
    let next = next.filter(|next| next.number == number);
    // Something else was done since the caller looked, or the dot is gone.
    let operation = next.ok_or(PoolError::Forgotten { number })?.clone();
    let renamed = rename(node, from, to, async || {
        node.pool.rename_dot_again(from, to, number).await
    });
    let renamed = renamed.await;
    undo::settle(node, if renamed.is_ok() { to } else { from }).await;
    renamed?;
    if let (Way::Back, Some((_, _, volumes))) = (way, operation.renamed_dot()) {
        for volume in volumes {
            node.registry.add_volume(volume).await?;
        }
    }
    Ok(operation)
}

/// Locks two dots in the order of their names, so that two renames cannot deadlock.
async fn lock_both(node: &Node, one: &DotName, other: &DotName) -> (Held, Option<Held>) {
    let (first, second) = (one.min(other), one.max(other));
    let first_lock = node.locks.operation(first, "renamed").await;
    match first == second {
        true => (first_lock, None),
        false => (
            first_lock,
            Some(node.locks.operation(second, "renamed").await),
        ),
    }
}

/// Renames a dot that nothing uses: in the pool as the caller says, and in the registry.
async fn rename(
    node: &Node,
    from: &DotName,
    to: &DotName,
    in_pool: impl AsyncFnOnce() -> Result<(), PoolError>,
) -> Result<(), NodeError> {
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
    in_pool().await?;
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
        if is_of(&volume, from) {
            node.registry.remove_volume(&volume).await?;
        }
    }
    node.registry.end_switches(from).await?;
    node.problems.forget(from);
    // This only clears a cache.
    node.stored_pages.forget(from).await
}

/// Whether a volume is one of a dot.
fn is_of(volume: &str, dot: &DotName) -> bool {
    let volume = volume.parse::<VolumeName>();
    volume.is_ok_and(|volume| volume.dot == *dot)
}
