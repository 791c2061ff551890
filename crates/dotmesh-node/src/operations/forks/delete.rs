//! `dm down --delete`: forgets a fork, and deletes its branch, which can be undone.

use dotmesh_api::node::DeleteFork;
use dotmesh_model::DotName;

use super::{ForkError, is_of};
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::delete_branch::delete_branch;

/// Deletes a fork whose containers were removed.
pub(crate) async fn delete(
    node: &Node,
    name: &DotName,
    request: &DeleteFork,
) -> Result<(), NodeError> {
    let branch = &request.branch;
    let no_fork = || ForkError::NoFork {
        dot: name.clone(),
        branch: branch.clone(),
    };
    {
        let _held = node.locks.on_branch(name, branch, "removed").await;
        let _choosing = node.locks.choosing().await;
        let mut file = node.pool.forks(name).await?;
        file.forks.remove(branch).ok_or_else(no_fork)?;
        // Without it, nothing would know the containers any more.
        let containers = node.docker.list().await?;
        let own = containers.iter().filter(|one| is_of(one, name, branch));
        let containers = engine::names(own);
        if !containers.is_empty() {
            let what = format!("branch {branch} of {name}");
            return Err(NodeError::InUse { what, containers });
        }
        node.pool.write_forks(name, &file).await?;
        node.registry.end_switch(name, Some(branch)).await?;
        node.problems.replace(name, Some(branch), &[]);
    }
    let dot = node.registry.dot(name).await?;
    if !request.keep_branch && dot.branches.contains_key(branch) {
        delete_branch(node, name, branch, true).await?;
    }
    Ok(())
}
