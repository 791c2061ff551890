//! Finishes what a switch has left: starts the containers that shall run, and moves those that run on the wrong branch.
//!
//! Safe to do at any time and any number of times: it looks at what is, not at what was done.

use std::collections::HashSet;

use dotmesh_api::node::SwitchProgress;
use dotmesh_model::DotName;
use tokio::sync::watch;
use tokio::time::Instant;

use super::check;
use super::execute::{Execution, Trouble, Wishes};
use super::plan;
use crate::engine::{Inspected, State};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{SwitchJournal, ToStart};

/// Works on a dot's journal. The caller holds the dot's operation lock. Returns whether nothing is left to do.
pub(crate) async fn resume(node: &Node, dot: &DotName) -> Result<bool, NodeError> {
    let Some(mut journal) = node.registry.open_switch(dot).await? else {
        return Ok(true);
    };
    let mut containers = node.docker.list().await?;
    containers.retain(|one| journal.containers.iter().any(|left| left.id == one.id));
    // Those that were removed since need nothing.
    journal.containers.retain(|left| {
        let found = containers.iter().find(|one| one.id == left.id);
        found.is_some_and(|one| one.state != State::Removing)
    });
    let inspected = node.docker.inspect(&containers).await?;
    let wrong = check::wrong(node, &inspected).await?;
    let plan = plan::plan_start(&inspected, &journal.containers);
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
        if let Err(error) = node.docker.stop(&wrong.container.id, grace).await {
            left.push(Trouble {
                id: wrong.container.id.clone(),
                name: wrong.container.name.clone(),
                reason: format!("{}, and it does not stop: {error}", wrong.reason),
            });
        }
    }
    let is_right = |one: &&Inspected| {
        one.state.is_active()
            && !wrong
                .iter()
                .any(|wrong| wrong.other_copy && wrong.container.id == one.id)
    };
    let running: HashSet<String> = inspected
        .iter()
        .filter(is_right)
        .map(|one| one.id.clone())
        .collect();
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
    node.problems.replace(dot, &left);
    let now = jiff::Timestamp::now();
    journal.containers.retain(|container| {
        let may_stop = container.stopping_until.is_some_and(|until| until > now);
        may_stop || left.iter().any(|trouble| trouble.id == container.id)
    });
    if journal.containers.is_empty() {
        node.registry.end_switch(dot).await?;
        tracing::info!(%dot, "an interrupted switch is finished");
        return Ok(true);
    }
    node.registry.begin_switch(&journal).await?;
    Ok(false)
}

/// Adds containers to what shall run of a dot. The caller holds the dot's operation lock.
pub(crate) async fn shall_run(
    node: &Node,
    dot: &DotName,
    containers: Vec<ToStart>,
) -> Result<(), NodeError> {
    let open = node.registry.open_switch(dot).await?;
    let mut journal = open.unwrap_or_else(|| SwitchJournal {
        dot: dot.clone(),
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
