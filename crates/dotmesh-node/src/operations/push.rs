//! `dm push`: sends a branch, and what leads to it, to a hub.
//!
//! Commits do not change, so the app and further commits go on meanwhile.

use std::collections::{BTreeMap, HashMap};

use dotmesh_api::hub::{BranchUpdate, HubDot, SealedCommit};
use dotmesh_api::node::{BranchOutcome, SkippedSockets, TransferOutcome};
use dotmesh_model::branches::diverged_name;
use dotmesh_model::{BranchName, CommitId, CommitRecord, History, ObjectHash, Relation};
use dotmesh_sync::{Push, SealError, SealedBase, is_about_deltas};

use super::transfer::{Connection, Job};
use crate::error::NodeError;
use crate::hub_history::HubHistory;
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
        let (branch, sockets) = push_branch(job, &dot, branch).await?;
        outcome.branches.push(branch);
        outcome.sockets.count += sockets.count;
        outcome.sockets.first.extend(sockets.first);
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

async fn push_branch(
    job: &Job,
    dot: &Dot,
    branch: BranchName,
) -> Result<(BranchOutcome, SkippedSockets), NodeError> {
    let head = dot.branch(&branch)?.head;
    if head == CommitId::ROOT {
        return Err(NodeError::NothingToPush { branch });
    }
    let local = job.node.registry.history(&dot.id).await?;
    let hub = look_at_hub(job, dot, &branch, &local).await?;
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
            return Ok((outcome, SkippedSockets::default()));
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
        return Ok((outcome, SkippedSockets::default()));
    }
    let missing = missing_commits(head, &local, &hub);
    let sockets = send(job, dot, &missing, &local, &hub, updates).await?;
    outcome.commits = missing.len() as u64;
    Ok((outcome, sockets))
}

/// Reads the hub's branches, and the history of this one where it is not known here.
async fn look_at_hub(
    job: &Job,
    dot: &Dot,
    branch: &BranchName,
    local: &History,
) -> Result<HubState, NodeError> {
    let remote = &job.request.remote_dot;
    let there: Option<HubDot> = job.hub.dot(remote).await?;
    let heads: BTreeMap<BranchName, CommitId> = there
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
        let known = dot.branches.get(branch).map(|branch| branch.head);
        for commit in job.hub.commits(remote, head, known).await?.commits {
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
) -> Result<SkippedSockets, NodeError> {
    let absent = job.node.registry.sources(&dot.id).await?;
    for commit in missing {
        if let Some(source) = absent.get(commit) {
            let (commit, hub) = (*commit, source.hub.clone());
            return Err(NodeError::Absent { commit, hub });
        }
    }
    let commits = Commits::prepare(job, dot, missing, local, hub).await?;
    match commits.send(updates.clone(), true).await {
        // The hub has lost what it had, or never had what its history says.
        Err(NodeError::DeltasRefused) => commits.send(updates, false).await,
        sent => sent,
    }
}

/// The commits to send, oldest first, and how each differs from the one before it.
struct Commits<'a> {
    job: &'a Job,
    dot: &'a Dot,
    ids: &'a [CommitId],
    parent: CommitId,
    parent_seal: ObjectHash,
    /// The seal of the first one's parent, if that is here and was sealed.
    base: Option<Seal>,
    /// What is known of seals already.
    seals: HashMap<CommitId, Seal>,
    told: HubHistory,
}

impl<'a> Commits<'a> {
    async fn prepare(
        job: &'a Job,
        dot: &'a Dot,
        ids: &'a [CommitId],
        local: &History,
        hub: &HubState,
    ) -> Result<Self, NodeError> {
        let registry = &job.node.registry;
        let parent = ids.first().and_then(|id| local.parent(*id));
        let parent = parent.unwrap_or(CommitId::ROOT);
        let seals = registry.seals(&dot.id).await?;
        let seal = seals.get(&parent).copied();
        let parent_seal = if parent == CommitId::ROOT {
            dotmesh_store::ROOT_SEAL
        } else if let Some(seal) = seal {
            seal.seal
        } else if let Some(seal) = hub.seals.get(&parent) {
            *seal
        } else {
            // It was pushed from here before the registry was rebuilt.
            let list = job
                .hub
                .commits(&job.request.remote_dot, parent, None)
                .await?;
            let first = list.commits.first();
            first
                .map(|commit| commit.seal)
                .ok_or_else(|| job.no_remote_dot())?
        };
        let is_absent = registry.sources(&dot.id).await?.contains_key(&parent);
        Ok(Self {
            job,
            dot,
            ids,
            parent,
            parent_seal,
            base: seal.filter(|_| !is_absent),
            seals,
            told: HubHistory::load(&job.node, &dot.name).await?,
        })
    }

    async fn send(
        &self,
        updates: Vec<BranchUpdate>,
        deltas: bool,
    ) -> Result<SkippedSockets, NodeError> {
        let Job { request, .. } = self.job;
        let Connection {
            node,
            hub,
            rate,
            progress,
        } = &self.job.connection;
        let cache = node.nodes.of(&self.dot.name);
        progress.start_phase("comparing");
        let mut push = Push::begin(hub, &request.remote_dot, rate, progress, deltas).await?;
        let mut sockets = SkippedSockets::default();
        let mut sealed = Vec::with_capacity(self.ids.len());
        let (mut parent, mut parent_seal, mut base) = (self.parent, self.parent_seal, self.base);
        for id in self.ids {
            let data = node.pool.commit_data(&self.dot.name, *id);
            // The snapshot of a commit that was made here comes from its parent's, by way of a working copy. That of one
            // that was received comes from any other: the filesystem's list of changes would be since that.
            let base_of = match base {
                Some(seal) if self.told.get(*id).is_none() => self.compare(parent, seal, *id).await,
                _ => None,
            };
            progress.add_total(match &base_of {
                Some(base) => base.changes.bytes(),
                None => dotmesh_sync::measure(&data)
                    .await
                    .map_err(SealError::from)?,
            });
            progress.start_phase("sending");
            let sent = match push.send(&data, base_of, &cache).await {
                Err(SealError::Sink(error)) if deltas && is_about_deltas(&error) => {
                    return Err(NodeError::DeltasRefused);
                }
                sent => sent?,
            };
            if let Some(known) = self.seals.get(id)
                && known.root != sent.root
            {
                return Err(NodeError::Unsealed { commit: *id });
            }
            let record = node.registry.record(&self.dot.id, *id).await?;
            CommitRecord::decode(&record)?;
            let seal = Seal {
                seal: dotmesh_store::seal(parent_seal, &record, sent.root),
                root: sent.root,
                links: sent.has_links,
            };
            // From here on it need not be sealed again, even if the push is cut.
            node.registry.set_seal(&self.dot.id, *id, seal).await?;
            // Of a commit and the one after it, the later tells what is still there.
            if sent.sockets.count > 0 {
                sockets = SkippedSockets {
                    count: sent.sockets.count,
                    first: sent.sockets.first,
                };
            }
            let record = String::from_utf8(record).expect("what was decoded as JSON is UTF-8");
            sealed.push(SealedCommit {
                seal: seal.seal,
                root: seal.root,
                record,
            });
            (parent, parent_seal, base) = (*id, seal.seal, Some(seal));
        }
        match push.finish(sealed, updates).await {
            Err(error) if deltas && is_about_deltas(&error) => Err(NodeError::DeltasRefused),
            finished => Ok(finished.map(|()| sockets)?),
        }
    }

    /// How a commit differs from its parent. Without that, all of it is read.
    async fn compare(&self, parent: CommitId, seal: Seal, id: CommitId) -> Option<SealedBase> {
        let pool = &self.job.node.pool;
        let name = &self.dot.name;
        match pool.difference(name, parent, id, seal.links).await {
            Ok(changes) => Some(SealedBase {
                root: seal.root,
                data: pool.commit_data(name, parent),
                changes: changes.into(),
            }),
            Err(error) => {
                tracing::warn!(dot = %name, commit = %id, %error, "a commit cannot be compared with its parent");
                None
            }
        }
    }
}
