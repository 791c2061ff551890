//! `dm branch -m`: renames a branch. Containers that follow the current branch keep running.

use dotmesh_api::node::RenameBranch;
use dotmesh_model::{BranchName, DotName};
use dotmesh_pool::NewStep;

use super::delete_branch::carry_out;
use super::{forks, undo};
use crate::engine::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// Renames a branch. Fails while a container has a volume that pins the old name.
pub(crate) async fn rename_branch(
    node: &Node,
    name: &DotName,
    request: &RenameBranch,
) -> Result<(), NodeError> {
    let RenameBranch { from, to } = request;
    to.check_new()?;
    let doing = format!("branch {from} renamed");
    let _lock = node.locks.operation(name, &doing).await;
    let before = node.registry.dot(name).await?;
    let mut dot = before.clone();
    dot.branch(from)?;
    if dot.branches.contains_key(to) {
        return Err(NodeError::BranchExists { branch: to.clone() });
    }
    // Block mounts meanwhile.
    let _gate = node.locks.close_gate(name).await;
    let _moving = node.locks.moving(name).await;
    refuse_pinned(node, name, from).await?;
    rename(&mut dot, from, to);
    let what = format!("rename of branch {from} to {to}");
    let (from, to) = (from.clone(), to.clone());
    let steps = vec![
        NewStep::RenameBranch {
            from: from.clone(),
            to: to.clone(),
        },
        NewStep::Describe(dot.to_file()),
    ];
    let number = node.pool.begin_operation(name, what, steps).await?;
    let made = carry_out(node, &before, &dot, number).await;
    undo::settle(node, name).await;
    made?;
    forks::rename(node, name, &from, &to).await?;
    node.mounts.rename_branch(name, &from, &to).await
}

/// Undoes or redoes a rename, which `apply` does in the pool and in the registry.
pub(crate) async fn again(
    node: &Node,
    name: &DotName,
    (from, to): (&BranchName, &BranchName),
    apply: impl Future<Output = Result<(), NodeError>>,
) -> Result<(), NodeError> {
    let _gate = node.locks.close_gate(name).await;
    let _moving = node.locks.moving(name).await;
    refuse_pinned(node, name, from).await?;
    apply.await?;
    forks::rename(node, name, from, to).await?;
    node.mounts.rename_branch(name, from, to).await
}

/// Fails if a container, running or not, has a volume that pins the branch.
async fn refuse_pinned(node: &Node, name: &DotName, branch: &BranchName) -> Result<(), NodeError> {
    let containers = node.docker.list().await?;
    let pins = |one: &&Container| {
        let mut volumes = one.uses.iter().map(|used| &used.volume);
        volumes.any(|volume| volume.dot == *name && volume.pinned.as_ref() == Some(branch))
    };
    let users = engine::names(containers.iter().filter(pins));
    if users.is_empty() {
        return Ok(());
    }
    Err(NodeError::Pinned {
        dot: name.clone(),
        branch: branch.clone(),
        containers: users,
    })
}

/// Replaces the name everywhere in the dot's description.
fn rename(dot: &mut Dot, from: &BranchName, to: &BranchName) {
    if dot.current == *from {
        dot.current = to.clone();
    }
    if let Some(branch) = dot.branches.remove(from) {
        dot.branches.insert(to.clone(), branch);
    }
    for branch in dot.branches.values_mut() {
        if let Some(origin) = &mut branch.origin
            && origin.branch == *from
        {
            origin.branch = to.clone();
        }
    }
}
