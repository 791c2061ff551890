//! `dm status`: the current branch, its changes since the head, and the containers that use the dot.

use std::collections::{BTreeMap, HashSet};

use dotmesh_api::node::{Apart, ContainerStatus, DotStatus, SubdotStatus, UpstreamStatus};
use dotmesh_model::{CommitId, History, message};
use dotmesh_sync::{PathChange, What};

use super::bookkeeping::{self, Effort};
use super::forks::FORK;
use super::switch::check;
use crate::engine::{Container, State};
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::node::Node;
use crate::registry::Dot;
use crate::view::{At, Shown, View};

/// The status of a dot.
pub(crate) async fn status(node: &Node, at: impl Into<At>) -> Result<DotStatus, NodeError> {
    let dot = node.settled_view(&at.into()).await?;
    let head = dot.head()?;
    let title = match head {
        CommitId::ROOT => String::new(),
        head => {
            let record = node.registry.decoded(&dot.id, head).await?;
            message::title(&record.message).into_owned()
        }
    };
    let (subdots, containers) = tokio::join!(subdots(node, &dot), containers(node, &dot));
    Ok(DotStatus {
        name: dot.name.clone(),
        branch: dot.here.clone(),
        head,
        title,
        upstreams: upstreams(node, &dot).await?,
        summaries: node.registry.summaries(&dot.id).await?,
        subdots: subdots?,
        containers: containers?,
    })
}

/// How far the current branch is from where this node saw it on hubs.
async fn upstreams(node: &Node, dot: &View) -> Result<Vec<UpstreamStatus>, NodeError> {
    let told = HubHistory::load(node, &dot.name).await?;
    let history = node.registry.history(&dot.id).await?;
    let head = dot.head()?;
    let statuses = told.seen().map(|seen| UpstreamStatus {
        there: seen.place.clone(),
        apart: seen
            .heads
            .get(&dot.here)
            .filter(|there| history.contains(**there))
            .map(|there| apart(&history, head, *there)),
    });
    Ok(statuses.collect())
}

fn apart(history: &History, here: CommitId, there: CommitId) -> Apart {
    let only = |one: CommitId, other: CommitId| {
        let known: HashSet<CommitId> = history.ancestry(other).collect();
        let new = history.ancestry(one).take_while(|id| !known.contains(id));
        new.count() as u64
    };
    Apart {
        ahead: only(here, there),
        behind: only(there, here),
    }
}

/// The subdots, and how many of their files differ from the head.
async fn subdots(node: &Node, dot: &View) -> Result<Vec<SubdotStatus>, NodeError> {
    let changes = bookkeeping::changes(node, dot, &dot.here, Effort::Glance).await?;
    let mut subdots: BTreeMap<String, SubdotStatus> = BTreeMap::new();
    for name in node.pool.subdots(&dot.name, &dot.here).await? {
        subdots.insert(name.to_string(), SubdotStatus::default());
    }
    for (change, is_bookkeeping) in &changes.all {
        let counts = subdots.entry(subdot_of(change)).or_default();
        let is_first = counts.added + counts.removed + counts.modified + counts.moved == 0;
        counts.only_database_files = *is_bookkeeping && (is_first || counts.only_database_files);
        *match change.what {
            What::Added => &mut counts.added,
            What::Removed => &mut counts.removed,
            What::Modified => &mut counts.modified,
            What::Moved { .. } => &mut counts.moved,
        } += 1;
    }
    let named = subdots
        .into_iter()
        .map(|(name, counts)| SubdotStatus { name, ..counts });
    Ok(named.collect())
}

/// The first folder of a path. Files beside the subdots' folders belong to the dot's root.
fn subdot_of(change: &PathChange) -> String {
    let mut names = change.path.split(|byte| *byte == b'/');
    match (names.next(), names.next()) {
        (Some(subdot), Some(_)) => String::from_utf8_lossy(subdot).into_owned(),
        _ => "__root__".to_owned(),
    }
}

/// The containers that use the dot, running or not. Of running ones, the real mounts are checked. For a branch that is not
/// checked out, these are its own containers. Those of forks belong to the forks' own status.
async fn containers(node: &Node, dot: &View) -> Result<Vec<ContainerStatus>, NodeError> {
    // If Docker is down, show the rest.
    let mut users = node.docker.list().await.unwrap_or_default();
    users.retain(|container| match dot.shown() {
        Shown::Unpinned => container.uses_dot(&dot.name) && container.label(FORK).is_none(),
        pinned @ Shown::Pinned(_) => pinned.by(&dot.name, container),
    });
    let inspected = node.docker.inspect(&users).await.unwrap_or_default();
    let wrong = check::wrong(node, &inspected).await?;
    let mut statuses: Vec<ContainerStatus> = users
        .iter()
        .map(|container| {
            let wrong = wrong
                .iter()
                .find(|wrong| wrong.container.id == container.id && wrong.dot == dot.name);
            ContainerStatus {
                name: container.name.clone(),
                service: container
                    .label("com.docker.compose.service")
                    .map(str::to_owned),
                state: state(container.state).to_owned(),
                volumes: volumes(container, dot),
                wrong: wrong.map(|wrong| wrong.reason.clone()),
            }
        })
        .collect();
    statuses.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(statuses)
}

/// The volumes of the dot that a container uses, as Docker names them.
fn volumes(container: &Container, dot: &Dot) -> Vec<String> {
    let uses = container.uses.iter();
    let uses = uses.filter(|used| used.volume.dot == dot.name);
    uses.map(|used| used.volume.to_string()).collect()
}

pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Restarting => "restarting",
        State::Removing => "being removed",
        State::Exited => "stopped",
        State::Dead => "dead",
    }
}
