//! Stops the containers of a fork, each before those that it depends on.

use dotmesh_api::node::{Fork, SwitchProgress};
use dotmesh_model::{BranchName, DotName};
use tokio::sync::watch;

use super::{ForkError, is_of, one};
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::switch::execute::Execution;
use crate::operations::switch::plan;

/// Stops a fork.
pub(crate) async fn stop(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
) -> Result<Fork, NodeError> {
    let _held = node.locks.on_branch(name, branch, "stopped").await;
    if !node.pool.forks(name).await?.forks.contains_key(branch) {
        let (dot, branch) = (name.clone(), branch.clone());
        return Err(ForkError::NoFork { dot, branch }.into());
    }
    stop_locked(node, name, branch).await?;
    one(node, name, branch).await
}

/// Stops a fork whose lock the caller holds. Returns the names of the containers that it stopped.
pub(super) async fn stop_locked(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
) -> Result<Vec<String>, NodeError> {
    let mut containers = node.docker.list().await?;
    containers.retain(|container| container.state.is_active() && is_of(container, name, branch));
    let containers = node.docker.inspect(&containers).await?;
    // A switch that failed must not start them again.
    node.registry.end_switch(name, Some(branch)).await?;
    node.problems.replace(name, Some(branch), &[]);
    let plan = plan::plan(&containers, &[], |_| true);
    let (tell, _) = watch::channel(SwitchProgress::default());
    let work = Execution {
        docker: &node.docker,
        timing: node.timing,
        plan: &plan,
        tell: &tell,
    };
    let stopped = work.stop().await;
    if let Some(trouble) = stopped.failed.first() {
        return Err(NodeError::Docker {
            doing: format!("stopping container {}", trouble.name),
            message: trouble.reason.clone(),
        });
    }
    Ok(containers.iter().map(|one| one.name.clone()).collect())
}
