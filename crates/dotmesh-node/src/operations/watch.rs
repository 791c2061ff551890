//! Watches containers while the daemon runs: starts those that could not be started, and restarts those on the wrong
//! branch.

use std::collections::BTreeMap;
use std::time::Duration;

use dotmesh_model::{DotName, VolumeName};
use jiff::Timestamp;
use tokio::time::timeout;

use super::switch::{check, resume, unfinished};
use crate::engine::{Change, Inspected, State};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::ToStart;
use crate::remount;

/// Part of the error that a container gets when its mount is refused during a switch. Docker stores it, and
/// `was_refused` searches for it.
pub(crate) const STARTS_LATER: &str = "Dotmesh starts this container when that is done";

/// The same for a mount that is refused because the pool is full. Docker then gives up, whatever the restart policy.
pub(crate) const STARTS_WITH_ROOM: &str = "Dotmesh starts this container when there is room";

/// What holds the operation lock here, for the errors of other operations.
const DOING: &str = "checked by the daemon";

/// Runs until the daemon ends.
pub(crate) async fn watch(node: Node) {
    let mut changes = node.docker.changes();
    let (first, longest) = node.timing.retry;
    // The time to wait if nothing happens, and the next time to wait if something is left to do.
    let (mut pause, mut retry) = (first, first);
    // When Docker came back, until `welcome` is done.
    let mut back: Option<Timestamp> = None;
    loop {
        let connected = next(&node, &mut changes, pause).await;
        if connected.is_some() {
            retry = first;
        }
        back = connected.or(back);
        if let Some(since) = back {
            match welcome(&node, since).await {
                Ok(true) => back = None,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot check yet what happened while Docker was down");
                }
            }
        }
        let done = match look(&node).await {
            Ok(done) => done && back.is_none(),
            // Docker may be down. Operations that need it report that.
            Err(NodeError::Docker { .. }) => false,
            Err(error) => {
                tracing::error!(%error, "cannot check containers");
                false
            }
        };
        if done {
            (pause, retry) = (node.timing.watch, first);
        } else {
            (pause, retry) = (retry, (retry * 2).min(longest));
        }
    }
}

/// Waits until there is something to do. Returns when Docker came back, if it was down.
async fn next(
    node: &Node,
    changes: &mut tokio::sync::mpsc::Receiver<Change>,
    pause: Duration,
) -> Option<Timestamp> {
    let first = tokio::select! {
        change = changes.recv() => match change {
            Some(change) => Some(change),
            // There are no events without a driver.
            None => std::future::pending().await,
        },
        () = node.wake.notified() => None,
        () = tokio::time::sleep(pause) => None,
    };
    // Handle all pending events at once.
    let others = std::iter::from_fn(|| changes.try_recv().ok());
    let times = first
        .into_iter()
        .chain(others)
        .filter_map(|change| match change {
            Change::Connected(since) => Some(since),
            Change::Container => None,
        });
    times.last()
}

/// Checks everything once. Returns whether nothing is left to do.
pub(crate) async fn look(node: &Node) -> Result<bool, NodeError> {
    let mut containers = node.docker.list().await?;
    containers.retain(|one| !one.uses.is_empty());
    let inspected = node.docker.inspect(&containers).await?;
    let mut chosen: BTreeMap<DotName, Vec<ToStart>> = BTreeMap::new();
    for wrong in check::wrong(node, &inspected).await? {
        if wrong.other_copy && wrong.container.is_swarm_task() {
            // Swarm starts a new task in its place.
            tracing::warn!(container = %wrong.container.name, reason = %wrong.reason, "stopping a task that runs on the wrong branch");
            let stop = node.docker.stop(&wrong.container.id, None);
            let _ = timeout(node.timing.call, stop).await;
        } else if wrong.other_copy {
            tracing::warn!(container = %wrong.container.name, reason = %wrong.reason, "a container runs on the wrong branch");
            let start = to_start(
                &wrong.container.id,
                &wrong.container.name,
                wrong.container.state,
            );
            chosen.entry(wrong.dot).or_default().push(start);
        }
    }
    for one in inspected.iter().filter(|one| was_refused(one)) {
        for used in &one.uses {
            let start = to_start(&one.id, &one.name, one.state);
            chosen
                .entry(used.volume.dot.clone())
                .or_default()
                .push(start);
        }
    }
    let mut done = true;
    for (dot, containers) in chosen {
        match node.locks.try_operation(&dot, DOING) {
            // Check again under the lock, since another operation may have fixed it.
            Some(_lock) => {
                if node.registry.find_dot(&dot).await?.is_some()
                    && still_so(node, &containers).await?
                {
                    resume::shall_run(node, &dot, containers).await?;
                }
            }
            None => done = false,
        }
    }
    for (dot, pinned) in unfinished(node).await? {
        let pinned = pinned.as_ref();
        let held = match pinned {
            None => node.locks.try_operation(&dot, DOING),
            Some(branch) => node.locks.try_on_branch(&dot, branch, DOING),
        };
        done &= match held {
            None => false,
            Some(_held) => match resume::resume(node, &dot, pinned).await {
                Ok(done) => done,
                Err(error @ NodeError::Docker { .. }) => return Err(error),
                // Go on with the other dots.
                Err(error) => {
                    tracing::warn!(%dot, %error, "cannot finish an interrupted switch yet");
                    false
                }
            },
        };
    }
    Ok(done)
}

fn to_start(id: &str, name: &str, state: State) -> ToStart {
    ToStart {
        id: id.to_owned(),
        name: name.to_owned(),
        pause: state == State::Paused,
        stopping_until: None,
    }
}

/// Whether a container is stopped because its mount was refused for a temporary reason. Swarm retries by itself.
fn was_refused(one: &Inspected) -> bool {
    let lacked_room = one.restarts_always && one.error.contains(STARTS_WITH_ROOM);
    !one.state.is_active()
        && (one.error.contains(STARTS_LATER) || lacked_room)
        && !one.is_swarm_task()
}

/// Whether any of these containers is still wrong or refused.
async fn still_so(node: &Node, chosen: &[ToStart]) -> Result<bool, NodeError> {
    let mut containers = node.docker.list().await?;
    containers.retain(|one| chosen.iter().any(|start| start.id == one.id));
    let inspected = node.docker.inspect(&containers).await?;
    let wrong = check::wrong(node, &inspected).await?;
    Ok(inspected.iter().any(was_refused) || wrong.iter().any(|wrong| wrong.other_copy))
}

/// Handles that Docker is reachable, for the first time or again. Containers that it could not start without this
/// daemon are started.
///
/// A Docker that was restarted will not start what it was about to start. A restart of this daemon alone looks the
/// same, so the same is assumed. If such a container starts anyway, it is checked then.
///
/// Returns whether all is done. A dot that another operation holds has to wait.
async fn welcome(node: &Node, since: Timestamp) -> Result<bool, NodeError> {
    let containers = node.docker.list().await?;
    let mut dots: BTreeMap<DotName, Vec<ToStart>> = BTreeMap::new();
    for used in containers.iter().flat_map(|one| &one.uses) {
        know_volume(node, &used.volume).await?;
    }
    node.mounts.void_before(since).await;
    let mut idle = containers;
    idle.retain(|one| !one.state.is_active() && !one.uses.is_empty());
    for one in node.docker.inspect(&idle).await? {
        // Docker started without the driver. The container's error says so. Docker itself starts a container with one of
        // these policies only after a crash of the machine, or of the container.
        let restarts = one.restarts_always || one.restarts_on_failure;
        if restarts && one.error.contains("volume") && !one.is_swarm_task() {
            for used in &one.uses {
                let start = to_start(&one.id, &one.name, one.state);
                dots.entry(used.volume.dot.clone()).or_default().push(start);
            }
        }
    }
    let stopped = remount::stopped(&node.config.root);
    for start in &stopped {
        let known = idle.iter().find(|one| one.id == start.id);
        for used in known.into_iter().flat_map(|one| &one.uses) {
            let containers = dots.entry(used.volume.dot.clone()).or_default();
            containers.retain(|one| one.id != start.id);
            containers.push(start.clone());
        }
    }
    let mut done = true;
    for (dot, containers) in dots {
        if node.registry.find_dot(&dot).await?.is_none() {
            continue;
        }
        let Some(_lock) = node.locks.try_operation(&dot, DOING) else {
            done = false;
            continue;
        };
        tracing::info!(%dot, count = containers.len(), "starting containers that waited for this daemon");
        resume::shall_run(node, &dot, containers).await?;
    }
    if done && !stopped.is_empty() {
        remount::forget_stopped(&node.config.root);
    }
    Ok(done)
}

/// Registers a volume that a container has: a registry rebuilt from the pool lacks it.
async fn know_volume(node: &Node, volume: &VolumeName) -> Result<(), NodeError> {
    if node.registry.find_dot(&volume.dot).await?.is_some() {
        node.registry.add_volume(&volume.to_string()).await?;
    }
    Ok(())
}
