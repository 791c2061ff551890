//! `dm push`: sends a branch, and what leads to it, to a hub.
//!
//! Commits do not change, so the app and further commits go on meanwhile.

use std::collections::BTreeMap;

use dotmesh_api::hub::{BranchUpdate, HubDot};
use dotmesh_api::node::{BranchOutcome, TransferOutcome};
use dotmesh_model::branches::diverged_name;
use dotmesh_model::{BranchName, CommitId, CommitRecord, History, ObjectHash, Relation};
use dotmesh_sync::CommitToPush;

use super::transfer::Job;
use crate::error::NodeError;
use crate::registry::{Dot, Seal};

/// Pushes one branch, or all of them that have commits.
pub(crate) async fn push(job: &Job) -> Result<TransferOutcome, NodeError> {
    let dot = job.node.settled(&job.local).await?;
    let branches: Vec<BranchName> = match &job.request.branch {
        Some(branch) => vec![branch.clone()],
        None => {
            let with_commits = dot
                .branches
                .iter()
                .filter(|(_, b)| b.head != CommitId::ROOT);
            with_commits.map(|(name, _)| name.clone()).collect()
        }
    };
    let mut outcome = TransferOutcome::default();
    for branch in branches {
        outcome.branches.push(push_branch(job, &dot, branch).await?);
    }
    Ok(outcome)
}

/// What the hub has, as far as it matters here.
struct HubState {
    heads: BTreeMap<BranchName, CommitId>,
    /// Our history and what of the hub's own was needed to compare them.
    history: History,
    /// The seals of the hub's commits that were looked at.
    seals: BTreeMap<CommitId, ObjectHash>,
}

async fn push_branch(job: &Job, dot: &Dot, branch: BranchName) -> Result<BranchOutcome, NodeError> {
    let head = dot.branch(&branch)?.head;
    if head == CommitId::ROOT {
        return Err(NodeError::NothingToPush { branch });
    }
    let local = job.node.registry.history(&dot.id).await?;
    let hub = look_at_hub(job, &branch, &local).await?;
    let mut outcome = BranchOutcome {
        name: branch.clone(),
        head,
        commits: 0,
        stashed: None,
        receiver_ahead: false,
    };
    let mut update = BranchUpdate {
        name: branch.clone(),
        old: hub.heads.get(&branch).copied(),
        new: head,
        stash: None,
    };
    match hub
        .history
        .relation(update.old.unwrap_or(CommitId::ROOT), head)
    {
        Relation::Same | Relation::Ahead => {}
        Relation::Behind if job.request.stash_on_divergence => {
            outcome.receiver_ahead = true;
            outcome.head = update.old.unwrap_or(head);
            return Ok(outcome);
        }
        Relation::Behind => return Err(NodeError::Behind { branch }),
        Relation::Diverged { .. } if job.request.stash_on_divergence => {
            update.stash = Some(diverged_name(&branch, jiff::Timestamp::now()));
            outcome.stashed.clone_from(&update.stash);
        }
        Relation::Diverged { .. } => {
            let hint = "Fetch the hub's line with 'dm pull --stash-on-divergence', which keeps yours as a branch; or push with --stash-on-divergence, which keeps the hub's as a branch there.";
            return Err(NodeError::Diverged {
                branch,
                hint: hint.to_owned(),
            });
        }
    }
    let mut updates = origin_updates(dot, &branch, &hub);
    if update.old != Some(head) {
        updates.push(update);
    }
    if updates.is_empty() {
        return Ok(outcome);
    }
    let missing = missing_commits(head, &local, &hub);
    send(job, dot, &missing, &local, &hub, updates).await?;
    outcome.commits = missing.len() as u64;
    Ok(outcome)
}

/// Reads the hub's branches, and the history of this one where it is not known here.
async fn look_at_hub(
    job: &Job,
    branch: &BranchName,
    local: &History,
) -> Result<HubState, NodeError> {
    let remote = &job.request.remote_dot;
    let dot: Option<HubDot> = job.hub.dot(remote).await?;
    let heads: BTreeMap<BranchName, CommitId> = dot
        .into_iter()
        .flat_map(|dot| dot.branches)
        .map(|b| (b.name, b.head))
        .collect();
    let mut state = HubState {
        heads,
        history: local.clone(),
        seals: BTreeMap::new(),
    };
    if let Some(head) = state
        .heads
        .get(branch)
        .copied()
        .filter(|head| !local.contains(*head))
    {
        for commit in job.hub.commits(remote, head, None).await?.commits {
            let record = CommitRecord::decode(commit.record.as_bytes())?;
            state.history.insert(record.id, record.parent);
            state.seals.insert(record.id, commit.seal);
        }
    }
    Ok(state)
}

/// A branch's origins go along as branches, as far as they lead to it: a clone then has them too.
fn origin_updates(dot: &Dot, branch: &BranchName, hub: &HubState) -> Vec<BranchUpdate> {
    let mut updates: Vec<BranchUpdate> = Vec::new();
    let mut at = dot.branches.get(branch);
    while let Some(origin) = at.and_then(|branch| branch.origin.as_ref()) {
        if origin.branch == *branch || updates.iter().any(|update| update.name == origin.branch) {
            break;
        }
        let old = hub.heads.get(&origin.branch).copied();
        let forward = match old {
            None => origin.commit != CommitId::ROOT,
            Some(old) => {
                hub.history.contains(old)
                    && hub.history.relation(old, origin.commit) == Relation::Ahead
            }
        };
        if forward {
            let (name, new) = (origin.branch.clone(), origin.commit);
            updates.push(BranchUpdate {
                name,
                old,
                new,
                stash: None,
            });
        }
        at = dot.branches.get(&origin.branch);
    }
    updates
}

/// The commits that the hub does not have, oldest first. It has the ancestors of what it has.
fn missing_commits(head: CommitId, local: &History, hub: &HubState) -> Vec<CommitId> {
    let mut there: std::collections::HashSet<CommitId> = hub.seals.keys().copied().collect();
    for head in hub.heads.values().filter(|head| local.contains(**head)) {
        there.extend(local.ancestry(*head));
    }
    let mut missing: Vec<_> = local
        .ancestry(head)
        .take_while(|id| !there.contains(id))
        .collect();
    missing.reverse();
    missing
}

async fn send(
    job: &Job,
    dot: &Dot,
    missing: &[CommitId],
    local: &History,
    hub: &HubState,
    updates: Vec<BranchUpdate>,
) -> Result<(), NodeError> {
    let registry = &job.node.registry;
    let mut commits = Vec::with_capacity(missing.len());
    for id in missing {
        commits.push(CommitToPush {
            record: registry.record(&dot.id, *id).await?,
            data: job.node.pool.commit_data(&dot.name, *id),
        });
    }
    let parent = missing
        .first()
        .and_then(|id| local.parent(*id))
        .unwrap_or(CommitId::ROOT);
    let parent_seal = if parent == CommitId::ROOT {
        dotmesh_store::ROOT_SEAL
    } else if let Some(seal) = registry.seals(&dot.id).await?.get(&parent) {
        seal.seal
    } else if let Some(seal) = hub.seals.get(&parent) {
        *seal
    } else {
        // It was pushed from here before the registry was rebuilt.
        let list = job
            .hub
            .commits(&job.request.remote_dot, parent, None)
            .await?;
        list.commits
            .first()
            .map(|commit| commit.seal)
            .ok_or_else(|| job.no_remote_dot())?
    };
    let sealed = dotmesh_sync::push(
        &job.hub,
        &job.request.remote_dot,
        &commits,
        parent_seal,
        updates,
        &job.progress,
    )
    .await?;
    for (id, commit) in missing.iter().zip(sealed) {
        let seal = Seal {
            seal: commit.seal,
            root: commit.root,
        };
        registry.set_seal(&dot.id, *id, seal).await?;
    }
    Ok(())
}
