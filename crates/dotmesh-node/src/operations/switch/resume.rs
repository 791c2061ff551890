//! Finishes an interrupted switch: starts the containers in its journal, and restarts those on the wrong branch.
//!
//! This is idempotent, since it looks at the present state and not at what was done.

use std::collections::HashSet;

use dotmesh_api::node::SwitchProgress;
use dotmesh_model::{BranchName, DotName};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::check;
use super::execute::{Execution, Trouble, Wishes};
use super::plan;
use crate::engine::{Container, EngineError, Inspected, State};
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::fill;
use crate::registry::{SwitchJournal, ToStart};

/// Processes a journal of a dot. The caller holds the lock of the branch, or of the dot. Returns whether nothing is left
/// to do.
pub(crate) async fn resume(
    node: &Node,
    dot: &DotName,
    pinned: Option<&BranchName>,
) -> Result<bool, NodeError> {
    let Some(mut journal) = node.registry.open_switch(dot, pinned).await? else {
        return Ok(true);
    };
    let listed = node.docker.list().await?;
    // Drop containers that were removed since.
    journal.containers.retain(|left| {
        let found = listed.iter().find(|one| one.id == left.id);
        found.is_some_and(|one| one.state != State::Removing)
    });
    let is_left = |one: &Container| journal.containers.iter().any(|left| left.id == one.id);
    let projects: HashSet<&str> = listed
        .iter()
        .filter(|one| is_left(one))
        .filter_map(|one| one.label(plan::PROJECT))
        .collect();
    // The dependencies are among these.
    let in_projects = |one: &Container| {
        let project = one.label(plan::PROJECT);
        project.is_some_and(|project| projects.contains(project))
    };
    let around = |one: &&Container| is_left(one) || one.state.is_active() || in_projects(one);
    let around: Vec<Container> = listed.iter().filter(around).cloned().collect();
    let around = node.docker.inspect(&around).await?;
    let inspected: Vec<Inspected> = around.iter().filter(|one| is_left(one)).cloned().collect();
    let wrong = check::wrong(node, &inspected).await?;
    let plan = plan::plan_start(&around, &journal.containers);
    let (tell, _) = watch::channel(SwitchProgress::default());
    let work = Execution {
        docker: &node.docker,
        timing: node.timing,
        plan: &plan,
        tell: &tell,
    };
    let mut left: Vec<Trouble> = Vec::new();
    for wrong in wrong.iter().filter(|wrong| wrong.other_copy) {
        let grace = inspected.iter().find(|one| one.id == wrong.container.id);
        let grace = grace.and_then(|one| one.grace);
        // Do not wait for ever for one that never stops. It is stopped again later.
        let stop = node.docker.stop(&wrong.container.id, grace);
        let stopped = timeout(node.timing.start, stop).await;
        if let Err(error) = stopped.unwrap_or(Err(EngineError::Silent(node.timing.start.as_secs())))
        {
            left.push(Trouble {
                id: wrong.container.id.clone(),
                name: wrong.container.name.clone(),
                reason: format!("{}, and it does not stop: {error}", wrong.reason),
            });
        }
    }
    for one in &inspected {
        fill_missing(node, dot, one).await;
    }
    let is_wrong = |one: &Inspected| {
        wrong
            .iter()
            .any(|wrong| wrong.other_copy && wrong.container.id == one.id)
    };
    // A dependency is fine whether it runs or has ended.
    let as_it_should = |one: &&Inspected| match is_left(one) {
        true => one.state.is_active() && !is_wrong(one),
        false => true,
    };
    let running: Vec<Inspected> = around.iter().filter(as_it_should).cloned().collect();
    let wishes = Wishes {
        wait: false,
        deadline: Instant::now() + node.timing.start,
        keep_going: true,
    };
    let started = work.start(&running, wishes).await;
    left.extend(started.failed.into_iter().chain(started.waiting));
    for container in &journal.containers {
        if !inspected.iter().any(|one| one.id == container.id) {
            let reason = "it is being started".to_owned();
            let (id, name) = (container.id.clone(), container.name.clone());
            left.push(Trouble { id, name, reason });
        }
    }
    node.problems.replace(dot, pinned, &left);
    let now = crate::node::now();
    journal.containers.retain(|container| {
        let may_stop = container.stopping_until.is_some_and(|until| until > now);
        may_stop || left.iter().any(|trouble| trouble.id == container.id)
    });
    if journal.containers.is_empty() {
        node.registry.end_switch(dot, pinned).await?;
        tracing::info!(%dot, "an interrupted switch is finished");
        return Ok(true);
    }
    node.registry.begin_switch(&journal).await?;
    Ok(false)
}

/// Fills a container's missing subdots before it is started, since that may take longer than Docker waits.
async fn fill_missing(node: &Node, dot: &DotName, one: &Inspected) {
    let uses = one.uses.iter().filter(|used| used.volume.dot == *dot);
    let uses: Vec<_> = uses
        .map(|used| (one.image_id.clone(), used.clone()))
        .collect();
    if let Err(error) = fill::fill_missing(node, dot, &uses).await {
        tracing::warn!(%dot, container = %one.name, %error, "cannot fill a new subdot yet");
    }
}

/// Adds containers to the dot's journal. The caller holds the dot's operation lock.
pub(crate) async fn shall_run(
    node: &Node,
    dot: &DotName,
    containers: Vec<ToStart>,
) -> Result<(), NodeError> {
    let open = node.registry.open_switch(dot, None).await?;
    let mut journal = open.unwrap_or_else(|| SwitchJournal {
        dot: dot.clone(),
        pinned: None,
        containers: Vec::new(),
        created: None,
    });
    for container in containers {
        if !journal
            .containers
            .iter()
            .any(|known| known.id == container.id)
        {
            journal.containers.push(container);
        }
    }
    node.registry.begin_switch(&journal).await
}
