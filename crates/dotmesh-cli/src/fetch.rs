//! Fetches the data of commits from a hub when a command needs data that is not on this node.

use std::collections::BTreeSet;

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Fetch, Log, LogQuery};
use dotmesh_api::node_client::Direction;
use dotmesh_model::DotName;

use crate::config::{Remote, RemoteName};
use crate::context::Context;
use crate::error::Result;
use crate::{network, transfer};

/// How much data a command needs.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// Only the data of the commit.
    Commit,
    /// The data of the commit and of its ancestors.
    History,
}

/// Acts. If that fails because a commit's data is missing, fetches the data and acts again.
pub async fn with_data<T>(
    context: &Context,
    dot: &DotName,
    revisions: &[&str],
    extent: Extent,
    act: impl AsyncFn() -> Result<T>,
) -> Result<T> {
    match act().await {
        Err(error) if error.is_absent() => {
            let node = context.node()?;
            let config = context.config.load()?;
            for revision in revisions {
                let log = node.log(dot, &LogQuery::from(Some(revision))).await?;
                for hub in hubs(&log, extent) {
                    let Some((name, remote)) = config.remote_at(&hub) else {
                        return Err(error);
                    };
                    fetch(context, &node, dot, revision, extent, name, remote).await?;
                }
            }
            act().await
        }
        done => done,
    }
}

/// Fetches the missing data of commits and their ancestors as far as possible. Returns why the rest cannot be fetched.
pub async fn what_can_be(
    context: &Context,
    dot: &DotName,
    revisions: &[&str],
) -> Result<BTreeSet<String>> {
    let node = context.node()?;
    let config = context.config.load()?;
    let mut problems = BTreeSet::new();
    for revision in revisions {
        let log = node.log(dot, &LogQuery::from(Some(revision))).await?;
        for hub in hubs(&log, Extent::History) {
            let Some((name, remote)) = config.remote_at(&hub) else {
                problems.insert(format!("no remote has a login at {hub}"));
                continue;
            };
            let extent = Extent::History;
            match fetch(context, &node, dot, revision, extent, name, remote).await {
                Err(error) if error.is_interruption() => return Err(error),
                Err(error) => {
                    problems.insert(error.message());
                }
                Ok(()) => {}
            }
        }
    }
    Ok(problems)
}

/// The hubs that have the missing data.
fn hubs(log: &Log, extent: Extent) -> BTreeSet<String> {
    let commits = log.commits.iter().map(|commit| commit.id);
    let wanted = match extent {
        Extent::Commit => commits.take(1).collect::<Vec<_>>(),
        Extent::History => commits.collect(),
    };
    let absent = wanted.iter().filter_map(|id| log.absent.get(id));
    absent.map(|source| source.hub.clone()).collect()
}

async fn fetch(
    context: &Context,
    node: &NodeClient,
    dot: &DotName,
    revision: &str,
    extent: Extent,
    name: &RemoteName,
    remote: &Remote,
) -> Result<()> {
    let what = match extent {
        Extent::Commit => revision.to_owned(),
        Extent::History => format!("{revision} and what led to it"),
    };
    let full = dot.full();
    context
        .ui
        .status(&format!("Fetching {what} of {full} from {name}"));
    let request = Fetch {
        branch: None,
        hub: transfer::login(remote),
        revision: revision.to_owned(),
        ancestors: matches!(extent, Extent::History),
        rate_limit: None,
    };
    let running = node.fetch(dot, &request).await?;
    let outcome = match transfer::follow_or_stop(context, node, running, name).await {
        Err(error) => return Err(network::advise(context, node, &remote.address, error).await),
        Ok(outcome) => outcome,
    };
    if let Some(line) = transfer::traffic(&outcome.progress, "received") {
        context.ui.status(&line);
    }
    if let Some(line) = transfer::without_data(Direction::Pull, outcome.without_data) {
        context.ui.status(&line);
    }
    Ok(())
}
