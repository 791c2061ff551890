//! `dm clone`: copies a dot from a hub to this node.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use dotmesh_api::node::{BranchOutcome, TransferOutcome};
use dotmesh_model::{BranchName, CommitId, History, ObjectHash};
use dotmesh_pool::Start;

use super::left_out;
use super::pull;
use super::receive::{Line, Receiver, lines};
use super::to_the_end;
use super::transfer::Job;
use super::upstream::{self, Upstream};
use crate::error::NodeError;
use crate::hub_history::{HubCommit, HubHistory};
use crate::node::random_hex;
use crate::registry::{Branch, Dot, MadeBy};

/// Clones a dot, or pulls it if it exists. The dot becomes visible only when it is complete.
///
/// If an attempt fails, the received data stays in the dot's folder for the next one. A folder without a description is
/// not a dot yet.
pub(crate) async fn clone(job: &Arc<Job>) -> Result<TransferOutcome, NodeError> {
    let lock = job.node.locks.operation(&job.local, "cloned").await;
    if let Some(dot) = job.node.registry.find_dot(&job.local).await? {
        drop(lock);
        let outcome = pull::pull(job).await?;
        job.node
            .registry
            .note_made_by(&dot.id, MadeBy::Clone)
            .await?;
        return Ok(outcome);
    }
    let pool = &job.node.pool;
    let (upstream, remote) = upstream::read(job, &HubHistory::default()).await?;
    let (mut history, mut seals) = (History::default(), HashMap::new());
    let there = (&upstream, &remote);
    let (lines, early) = lines(job, there, &mut history, &mut seals, &BTreeMap::new()).await?;
    let new: BTreeMap<CommitId, HubCommit> =
        lines.iter().flat_map(Line::commits).cloned().collect();
    pool.begin_dot(&job.local).await?;
    let here = take_up(job, &upstream, &new).await?;

    let mut dot = Dot {
        id: random_hex::<16>(),
        name: job.local.clone(),
        current: first_branch(job, &lines),
        branches: BTreeMap::new(),
    };
    let mut outcome = TransferOutcome {
        renamed: upstream.renamed(job),
        ..TransferOutcome::default()
    };
    for line in &lines {
        let branch = Branch {
            head: line.branch.head,
            origin: None,
        };
        dot.branches.insert(line.branch.name.clone(), branch);
        outcome.branches.push(line.outcome());
    }
    // Branches of the hub whose heads were received anyway are created too.
    for branch in remote.branches {
        if new.contains_key(&branch.head) {
            let Entry::Vacant(place) = dot.branches.entry(branch.name.clone()) else {
                continue;
            };
            let (head, origin) = (branch.head, None);
            place.insert(Branch { head, origin });
            outcome.along.push(BranchOutcome {
                name: branch.name,
                head,
                commits: 0,
                is_new: true,
                stashed: None,
                replaced: None,
                receiver_ahead: false,
            });
        }
    }
    let heads: HashSet<CommitId> = dot.branches.values().map(|branch| branch.head).collect();
    let (connection, name) = (&upstream.connection, &upstream.name);
    let known = (history.clone(), here.clone());
    let receiver = Receiver::new(connection, &job.local, name, known.0, known.1, early);
    let here = receive(job, receiver, &new, &heads, &history, here).await?;
    for (branch, state) in &dot.branches {
        let start = Start::Commit(state.head);
        pool.create_branch(&dot.name, branch, start).await?;
    }
    if job.request.full {
        let lacking = new.values().filter(|commit| commit.sealed.without_data);
        outcome.without_data = lacking.count() as u64;
    }
    let publishing = Arc::clone(job);
    to_the_end(async move {
        let _lock = lock;
        publish(&publishing, &dot, &history, &new, &here).await
    })
    .await?;
    outcome.left_out = left_out::of_head(&job.node, &job.local).await?;
    Ok(outcome)
}

/// The commits that an earlier attempt received and that are still valid, with the roots of their trees.
async fn take_up(
    job: &Job,
    upstream: &Upstream,
    new: &BTreeMap<CommitId, HubCommit>,
) -> Result<HashMap<CommitId, ObjectHash>, NodeError> {
    let pool = &job.node.pool;
    let told = HubHistory::load(&job.node, &job.local).await?;
    let mut here = HashMap::new();
    for id in pool.commits(&job.local).await? {
        let (Some(then), Some(now)) = (told.get(id), new.get(&id)) else {
            continue;
        };
        // These three cover all that the seal covers.
        let is_same = then.sealed.seal == now.sealed.seal && then.sealed.root == now.sealed.root;
        if is_same && then.sealed.record == now.sealed.record {
            here.insert(id, now.sealed.root);
        }
    }
    pool.clear_draft(&job.local, here.keys().copied().collect())
        .await?;
    let mut told = HubHistory::default();
    if let Some(identity) = upstream.identity() {
        let asked = &job.request.remote_dot;
        told.learn(&job.hub_name(), asked, &upstream.name, identity);
    }
    let there = upstream.there.iter().flat_map(|there| &there.branches);
    let known =
        there.filter(|branch| branch.head == CommitId::ROOT || new.contains_key(&branch.head));
    told.see(
        &upstream.source(),
        upstream.identity(),
        upstream.seen(known),
        true,
    );
    for (id, commit) in new {
        told.add(*id, commit.clone());
    }
    told.save(&job.node, &job.local).await?;
    Ok(here)
}

/// Receives the heads, or all commits, and returns all commits whose data is here then.
async fn receive(
    job: &Job,
    mut receiver: Receiver,
    new: &BTreeMap<CommitId, HubCommit>,
    heads: &HashSet<CommitId>,
    history: &History,
    mut here: HashMap<CommitId, ObjectHash>,
) -> Result<HashMap<CommitId, ObjectHash>, NodeError> {
    let order = oldest_first(history, new);
    let wanted = order
        .iter()
        .filter(|id| job.request.full || heads.contains(id));
    let wanted = wanted.filter_map(|id| Some((*id, new.get(id)?.clone())));
    receiver.queue(wanted.filter(|(_, commit)| !commit.sealed.without_data));
    while let Some((id, commit)) = receiver.next().await? {
        here.insert(id, commit.sealed.root);
    }
    Ok(here)
}

/// The commits, parents first.
fn oldest_first(history: &History, new: &BTreeMap<CommitId, HubCommit>) -> Vec<CommitId> {
    let mut ids: Vec<CommitId> = new.keys().copied().collect();
    ids.sort_by_cached_key(|id| history.ancestry(*id).count());
    ids
}

/// Makes the dot visible: saves its description, then its commits.
async fn publish(
    job: &Job,
    dot: &Dot,
    history: &History,
    new: &BTreeMap<CommitId, HubCommit>,
    here: &HashMap<CommitId, ObjectHash>,
) -> Result<(), NodeError> {
    job.node.save(dot).await?;
    let mut commits = Vec::with_capacity(new.len());
    for id in oldest_first(history, new) {
        if let Some(commit) = new.get(&id) {
            let mut commit = commit.absent()?;
            if here.contains_key(&id) {
                commit.source = None;
            }
            commits.push(commit);
        }
    }
    job.node.registry.add_commits(&dot.id, &commits).await?;
    job.node.registry.note_made_by(&dot.id, MadeBy::Clone).await
}

/// The branch that a clone checks out: the requested one, else `master`, else the first.
fn first_branch(job: &Job, lines: &[Line]) -> BranchName {
    let master = BranchName::master();
    let chosen = job.request.branch.clone().or_else(|| {
        let has_master = lines.iter().any(|line| line.branch.name == master);
        if has_master {
            None
        } else {
            lines.first().map(|line| line.branch.name.clone())
        }
    });
    chosen.unwrap_or(master)
}
