//! Transfers the tags of a push, pull, fetch or clone. They follow the commits, and existing tags are never moved.

use std::collections::{BTreeMap, HashSet};

use dotmesh_api::dots::{CreateTag, HubTag};
use dotmesh_api::identity::Meant;
use dotmesh_api::node::{TagsOutcome, TransferOutcome};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorCode, HubClient};
use dotmesh_model::{BranchName, CommitId, DotName, History};
use dotmesh_pool::StoredTag;
use dotmesh_sync::retry;
use jiff::Timestamp;

use super::transfer::Job;
use crate::error::NodeError;
use crate::hub_history::HubHistory;

/// Transfers tags to the receiving side. A failure does not undo the transfer of commits.
pub(crate) async fn transfer_tags(
    job: &Job,
    direction: Direction,
    outcome: &TransferOutcome,
) -> TagsOutcome {
    let mut tags = TagsOutcome::default();
    let done = match direction {
        Direction::Push => send(job, outcome, &mut tags).await,
        Direction::Pull | Direction::Clone | Direction::Fetch => {
            receive(job, outcome, &mut tags).await
        }
    };
    tags.failed = done.err().map(Into::into);
    tags
}

/// Sends the tags of commits in the pushed branches' histories.
async fn send(
    job: &Job,
    outcome: &TransferOutcome,
    tags: &mut TagsOutcome,
) -> Result<(), NodeError> {
    let node = &job.node;
    let here = node.pool.tags(&job.local).await?.tags;
    if here.is_empty() {
        return Ok(());
    }
    let dot = node.registry.dot(&job.local).await?;
    let history = node.registry.history(&dot.id).await?;
    let pushed = reached(&history, outcome);
    let (hub, name) = remote(job, outcome).await?;
    let there: BTreeMap<BranchName, HubTag> = known(job, &hub, &name)
        .await?
        .into_iter()
        .map(|tag| (tag.name.clone(), tag))
        .collect();
    let mut refused = Ok(());
    for (tag, stored) in here {
        match there.get(&tag) {
            Some(known) if known.commit == stored.commit => {}
            Some(_) => tags.differing.push(tag),
            None if pushed.contains(&stored.commit) => {
                let request = CreateTag {
                    at: stored.commit.to_string(),
                    message: stored.message,
                };
                let step = "send a tag";
                let made = retry(&job.progress, step, || {
                    hub.create_tag(&name, &tag, &request)
                });
                match made.await {
                    Ok(()) => tags.new.push(tag),
                    // Another client created it, or the response of an earlier attempt was lost.
                    Err(error) if error.source.code() == ErrorCode::Exists => {}
                    Err(error) if error.source.code() == ErrorCode::Unreachable => {
                        return Err(error.into());
                    }
                    // Go on with the others. The hub may refuse a tag whose commit's data it lacks.
                    Err(error) => refused = Err(error.into()),
                }
            }
            None => {}
        }
    }
    refused
}

/// The commits in the histories of the pushed branches.
fn reached(history: &History, outcome: &TransferOutcome) -> HashSet<CommitId> {
    let branches = outcome.branches.iter().chain(&outcome.along);
    let mut reached = HashSet::new();
    for branch in branches {
        for id in history.ancestry(branch.head) {
            if !reached.insert(id) {
                break;
            }
        }
    }
    reached
}

/// Stores the hub's tags of commits that are known here.
async fn receive(
    job: &Job,
    outcome: &TransferOutcome,
    tags: &mut TagsOutcome,
) -> Result<(), NodeError> {
    let node = &job.node;
    let (hub, name) = remote(job, outcome).await?;
    let there = known(job, &hub, &name).await?;
    if there.is_empty() {
        return Ok(());
    }
    let _lock = node.locks.operation(&job.local, "tagged").await;
    let dot = node.registry.dot(&job.local).await?;
    let history = node.registry.history(&dot.id).await?;
    let mut file = node.pool.tags(&job.local).await?;
    for tag in there {
        match file.tags.get(&tag.name) {
            Some(known) if known.commit == tag.commit => {}
            Some(_) => tags.differing.push(tag.name),
            None if tag.commit != CommitId::ROOT && history.contains(tag.commit) => {
                let stored = StoredTag {
                    commit: tag.commit,
                    message: tag.message,
                    time: Timestamp::from_second(tag.created).unwrap_or_default(),
                };
                tags.new.push(tag.name.clone());
                file.tags.insert(tag.name, stored);
            }
            None => {}
        }
    }
    if !tags.new.is_empty() {
        node.pool.write_tags(&job.local, &file).await?;
    }
    tags.new.sort();
    tags.differing.sort();
    Ok(())
}

/// The hub's dot, by its present name and identity.
async fn remote(job: &Job, outcome: &TransferOutcome) -> Result<(HubClient, DotName), NodeError> {
    let asked = &job.request.remote_dot;
    let name = outcome.renamed.as_ref().unwrap_or(asked).clone();
    let told = HubHistory::load(&job.node, &job.local).await?;
    let identity = told.identity(&job.hub_name(), &name);
    Ok((job.hub.about(identity.map(Meant::Known)), name))
}

async fn known(job: &Job, hub: &HubClient, name: &DotName) -> Result<Vec<HubTag>, NodeError> {
    let step = "read the hub's tags";
    Ok(retry(&job.progress, step, || hub.tags(name)).await?)
}
