//! `dm push`: sends a branch and its history to a hub.
//!
//! Commits are immutable, so the app can write and commit during a push.

mod commits;
mod lease;
mod secrets;

use std::collections::{BTreeMap, HashSet};

use dotmesh_api::ErrorBody;
use dotmesh_api::dots::Visibility;
use dotmesh_api::hub::BranchUpdate;
use dotmesh_api::node::{BranchOutcome, SkippedSockets, Source, TransferOutcome};
use dotmesh_model::branches::{Origin, diverged_name};
use dotmesh_model::{
    BranchName, CommitId, CommitRecord, DotIdentity, DotName, History, LeftOut, ObjectHash,
    Relation,
};

use self::commits::Commits;
use self::secrets::Suspects;
use super::summaries::{self, MOST_WAITING};
use super::transfer::Job;
use super::upstream::{self, Upstream};
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::registry::Dot;

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
    let mut newest = Vec::new();
    for branch in origins_first(&dot, branches) {
        let pushed = push_branch(job, &dot, branch, &mut outcome.renamed).await?;
        outcome.branches.push(pushed.branch);
        outcome.along.extend(pushed.along);
        let stays = pushed.stays;
        outcome.sockets.count += stays.sockets.count;
        outcome.sockets.first.extend(stays.sockets.first);
        outcome.left_out.count += stays.left_out.count;
        outcome.left_out.items.extend(stays.left_out.items);
        outcome.without_data += pushed.without_data;
        outcome.filled += pushed.filled;
        outcome.not_filled = outcome.not_filled.or(pushed.not_filled);
        outcome.to_public |= pushed.to_public;
        newest.extend(pushed.newest);
    }
    outcome.branches.sort_by(|a, b| a.name.cmp(&b.name));
    outcome.rows = summaries::add(job, &dot, newest, &outcome).await;
    Ok(outcome)
}

/// The branches, each after those that it started from. So each is reported as pushed itself, not as taken along.
fn origins_first(dot: &Dot, mut branches: Vec<BranchName>) -> Vec<BranchName> {
    branches.sort_by_cached_key(|branch| origins(dot, branch).len());
    branches
}

/// A branch's origin, that branch's origin, and so on.
fn origins<'a>(dot: &'a Dot, branch: &BranchName) -> Vec<&'a Origin> {
    let mut origins: Vec<&Origin> = Vec::new();
    let mut at = dot.branches.get(branch);
    while let Some(origin) = at.and_then(|branch| branch.origin.as_ref()) {
        let known = origins.iter().any(|known| known.branch == origin.branch);
        if origin.branch == *branch || known {
            break;
        }
        origins.push(origin);
        at = dot.branches.get(&origin.branch);
    }
    origins
}

/// What a push left out.
#[derive(Default)]
struct Stays {
    sockets: SkippedSockets,
    left_out: LeftOut,
}

/// The result of pushing a branch.
struct Pushed {
    branch: BranchOutcome,
    /// The head, and the newest of the other commits that were sent.
    newest: Vec<CommitId>,
    along: Vec<BranchOutcome>,
    stays: Stays,
    /// The number of commits sent without their data.
    without_data: u64,
    /// The number of commits whose missing data was sent to the hub.
    filled: u64,
    /// Why missing data was not sent.
    not_filled: Option<ErrorBody>,
    /// Whether the hub's dot is public.
    to_public: bool,
}

impl Pushed {
    /// Nothing was sent.
    fn nothing(branch: BranchOutcome) -> Self {
        Self {
            branch,
            newest: Vec::new(),
            along: Vec::new(),
            stays: Stays::default(),
            without_data: 0,
            filled: 0,
            not_filled: None,
            to_public: false,
        }
    }
}

/// The hub's state, as far as the push needs it.
struct HubState {
    upstream: Upstream,
    heads: BTreeMap<BranchName, CommitId>,
    /// The local history, and those of the hub's commits that are needed to compare the two.
    history: History,
    /// The seals of the hub's commits that were read.
    seals: BTreeMap<CommitId, ObjectHash>,
    /// The commits whose data the hub lacks.
    without_data: HashSet<CommitId>,
}

impl HubState {
    /// Whether the dot is public.
    fn is_public(&self) -> bool {
        let there = self.upstream.there.as_ref();
        there.is_some_and(|there| there.visibility == Some(Visibility::Public))
    }
}

async fn push_branch(
    job: &Job,
    dot: &Dot,
    branch: BranchName,
    renamed: &mut Option<DotName>,
) -> Result<Pushed, NodeError> {
    let head = dot.branch(&branch)?.head;
    if head == CommitId::ROOT {
        return Err(NodeError::NothingToPush { branch });
    }
    let local = job.node.registry.history(&dot.id).await?;
    let hub = look_at_hub(job, dot, &branch, &local).await?;
    *renamed = hub.upstream.renamed(job);
    let mut outcome = BranchOutcome {
        name: branch.clone(),
        head,
        commits: 0,
        is_new: !hub.heads.contains_key(&branch),
        stashed: None,
        replaced: None,
        receiver_ahead: false,
    };
    let mut update = BranchUpdate {
        name: branch.clone(),
        old: hub.heads.get(&branch).copied(),
        new: head,
        stash: None,
        force: false,
    };
    let old = update.old.unwrap_or(CommitId::ROOT);
    let relation = hub.history.relation(old, head);
    let leaves_commits = matches!(relation, Relation::Behind | Relation::Diverged { .. });
    let lease = job.request.force_with_lease.as_ref();
    let told = HubHistory::load(&job.node, &job.local).await?;
    update.force = lease::allows(lease, &told, &hub, &branch, leaves_commits)? && leaves_commits;
    match relation {
        Relation::Same | Relation::Ahead => {}
        Relation::Behind | Relation::Diverged { .. } if update.force => {
            outcome.replaced = update.old;
        }
        Relation::Behind if job.request.stash_on_divergence => {
            outcome.receiver_ahead = true;
            outcome.head = update.old.unwrap_or(head);
            upstream::remember(job, dot, &hub.upstream, None, BTreeMap::new()).await?;
            return Ok(Pushed::nothing(outcome));
        }
        Relation::Behind => return Err(NodeError::Behind { branch }),
        Relation::Diverged { .. } if job.request.stash_on_divergence => {
            update.stash = Some(diverged_name(&branch, crate::node::now()));
            outcome.stashed.clone_from(&update.stash);
        }
        Relation::Diverged { .. } => {
            let hint = "'dm pull --stash-on-divergence' fetches the hub's commits and keeps yours as a branch. 'dm push --stash-on-divergence' pushes yours and keeps the hub's as a branch there. 'dm push --force-with-lease' pushes yours and makes the hub's branch leave its commits.";
            return Err(NodeError::Diverged {
                branch,
                hint: hint.to_owned(),
            });
        }
    }
    let missing = missing_commits(head, &local, &hub);
    let absent = job.node.registry.sources(&dot.id).await?;
    let (missing, absent) = (&missing[..], &absent);
    let mut updates = origin_updates(dot, &branch, head, (&hub.heads, &hub.history));
    // A hub's branch needs its head's data. An origin whose data is neither here nor there cannot be a branch.
    updates.retain(|update| {
        let is_there = !missing.contains(&update.new) && !hub.without_data.contains(&update.new);
        is_there || !absent.contains_key(&update.new)
    });
    if update.old != Some(head) {
        updates.push(update);
    }
    // Commits in `missing` are sent with their data anyway.
    let lacked = lacked(head, &local, &hub, absent).into_iter();
    let (going, lacked): (Vec<_>, Vec<_>) = lacked.partition(|id| missing.contains(id));
    let sending = Sending {
        job,
        dot,
        local: &local,
        absent,
        hub: &hub,
    };
    let to_public = hub.is_public();
    if to_public && !job.request.allow_secrets {
        sending
            .refuse_secrets(missing.iter().chain(&lacked))
            .await?;
    }
    // A branch can point to a commit only once its data is there. Other missing data can be sent later, and may fail.
    let first = updates.iter().any(|update| lacked.contains(&update.new));
    if first {
        sending.send(&lacked, Vec::new()).await?;
    }
    let older = missing.iter().rev().filter(|id| **id != head);
    let older = older.copied().filter(|id| !absent.contains_key(id));
    let mut pushed = Pushed {
        to_public,
        newest: [head].into_iter().chain(older).take(MOST_WAITING).collect(),
        ..Pushed::nothing(outcome)
    };
    let mut identity = None;
    let mut seen = BTreeMap::from([(branch.clone(), head)]);
    if !updates.is_empty() {
        sending.check(missing)?;
        pushed.along = along(&branch, &updates, &local);
        seen.extend(
            updates
                .iter()
                .map(|update| (update.name.clone(), update.new)),
        );
        (identity, pushed.stays) = sending.send(missing, updates).await?;
        pushed.branch.commits = missing.len() as u64;
        let bare = missing.iter().filter(|id| absent.contains_key(id));
        pushed.without_data = bare.count() as u64;
    }
    upstream::remember(job, dot, &hub.upstream, identity, seen).await?;
    if !first && !lacked.is_empty() {
        pushed.not_filled = sending
            .send(&lacked, Vec::new())
            .await
            .err()
            .map(Into::into);
    }
    pushed.filled = going.len() as u64;
    if pushed.not_filled.is_none() {
        pushed.filled += lacked.len() as u64;
    }
    Ok(pushed)
}

/// The branches that an update takes along.
fn along(branch: &BranchName, updates: &[BranchUpdate], local: &History) -> Vec<BranchOutcome> {
    let along = updates.iter().filter(|update| update.name != *branch);
    let along = along.map(|update| BranchOutcome {
        name: update.name.clone(),
        head: update.new,
        commits: added(local, update),
        is_new: update.old.is_none(),
        stashed: None,
        replaced: None,
        receiver_ahead: false,
    });
    along.collect()
}

/// The number of commits that an update adds to a hub's branch.
fn added(local: &History, update: &BranchUpdate) -> u64 {
    let old = update.old.unwrap_or(CommitId::ROOT);
    let new = local.ancestry(update.new);
    new.take_while(|id| *id != old).count() as u64
}

/// Reads the hub's branches, and the history of this branch if it is not known here.
async fn look_at_hub(
    job: &Job,
    dot: &Dot,
    branch: &BranchName,
    local: &History,
) -> Result<HubState, NodeError> {
    let upstream = upstream::write(job, branch, local).await?;
    let there = upstream.there.iter().flat_map(|dot| &dot.branches);
    let mut state = HubState {
        heads: there.map(|b| (b.name.clone(), b.head)).collect(),
        upstream,
        history: local.clone(),
        seals: BTreeMap::new(),
        without_data: HashSet::new(),
    };
    if state
        .upstream
        .there
        .as_ref()
        .is_some_and(|there| there.without_data > 0)
    {
        let Upstream {
            connection, name, ..
        } = &state.upstream;
        state.without_data = connection.without_data(name).await?;
    }
    if let Some(head) = state
        .heads
        .get(branch)
        .copied()
        .filter(|head| !local.contains(*head))
    {
        let known = dot.branches.get(branch).map(|branch| branch.head);
        let Upstream {
            connection, name, ..
        } = &state.upstream;
        for commit in connection.hub_commits(name, head, known).await?.commits {
            let record = CommitRecord::decode(commit.record.as_bytes())?;
            state.history.insert(record.id, record.parent);
            state.seals.insert(record.id, commit.seal);
        }
    }
    Ok(state)
}

/// The updates that push a branch's origins as branches too, so that a clone has them.
///
/// Only origins in the branch's history are pushed. After a reset to other commits, an origin is not, and the hub may
/// lack its commits.
fn origin_updates(
    dot: &Dot,
    branch: &BranchName,
    head: CommitId,
    (heads, history): (&BTreeMap<BranchName, CommitId>, &History),
) -> Vec<BranchUpdate> {
    let mut updates: Vec<BranchUpdate> = Vec::new();
    let leads = |origin: &&Origin| history.is_ancestor(origin.commit, head);
    for origin in origins(dot, branch).into_iter().filter(leads) {
        let old = heads.get(&origin.branch).copied();
        let forward = match old {
            None => origin.commit != CommitId::ROOT,
            Some(old) => {
                history.contains(old) && history.relation(old, origin.commit) == Relation::Ahead
            }
        };
        if forward {
            let (name, new) = (origin.branch.clone(), origin.commit);
            updates.push(BranchUpdate {
                name,
                old,
                new,
                stash: None,
                force: false,
            });
        }
    }
    updates
}

/// The commits that the hub does not have, oldest first. The hub has all ancestors of what it has.
fn missing_commits(head: CommitId, local: &History, hub: &HubState) -> Vec<CommitId> {
    let mut there: HashSet<CommitId> = hub.seals.keys().copied().collect();
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

/// The commits whose data is here but missing on the hub, oldest first.
fn lacked(
    head: CommitId,
    local: &History,
    hub: &HubState,
    absent: &BTreeMap<CommitId, Source>,
) -> Vec<CommitId> {
    if hub.without_data.is_empty() {
        return Vec::new();
    }
    let line = local.ancestry(head);
    let lacked = line.filter(|id| hub.without_data.contains(id) && !absent.contains_key(id));
    let mut lacked: Vec<CommitId> = lacked.collect();
    lacked.reverse();
    lacked
}

/// What to send to the hub, and from where.
struct Sending<'a> {
    job: &'a Job,
    dot: &'a Dot,
    local: &'a History,
    /// The commits whose data is not here.
    absent: &'a BTreeMap<CommitId, Source>,
    hub: &'a HubState,
}

impl Sending<'_> {
    /// Fails if commits would be sent without their data, unless the user asked for that and the hub supports it.
    fn check(&self, commits: &[CommitId]) -> Result<(), NodeError> {
        let bare = commits.iter().filter(|id| self.absent.contains_key(id));
        let bare: Vec<CommitId> = bare.copied().collect();
        let (Some(first), Some(head)) = (bare.first(), commits.last()) else {
            return Ok(());
        };
        let refused = match self.job.request.without_data {
            true if bare.contains(head) => *head,
            true if self.hub.upstream.connection.takes_without_data => return Ok(()),
            true => {
                return Err(NodeError::HubTooOld {
                    count: bare.len(),
                    hub: self.job.hub_name(),
                });
            }
            false => *first,
        };
        let hub = self.absent[&refused].hub.clone();
        let commit = refused;
        Err(NodeError::Absent { commit, hub })
    }

    /// Fails if a commit adds a file that looks like a secret.
    async fn refuse_secrets(
        &self,
        commits: impl Iterator<Item = &CommitId>,
    ) -> Result<(), NodeError> {
        let (pool, name) = (&self.job.node.pool, &self.dot.name);
        let is_here = |id: &CommitId| *id != CommitId::ROOT && !self.absent.contains_key(id);
        let data = |id: CommitId| pool.commit_data(name, id);
        let pairs: Vec<_> = commits
            .filter(|id| is_here(id))
            .map(|id| (data(*id), self.local.parent(*id).filter(is_here).map(data)))
            .collect();
        let looking = tokio::task::spawn_blocking(move || {
            let mut found = Suspects::default();
            for (data, parent) in pairs {
                found.look(&data, parent.as_deref());
            }
            found
        });
        let looked = looking.await;
        match looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Suspects { count: 0, .. } => Ok(()),
            Suspects { count, first } => Err(NodeError::LooksSecret {
                dot: self.hub.upstream.name.clone(),
                count,
                first,
            }),
        }
    }

    async fn send(
        &self,
        commits: &[CommitId],
        updates: Vec<BranchUpdate>,
    ) -> Result<(Option<DotIdentity>, Stays), NodeError> {
        let known = (self.local, self.absent);
        let commits = Commits::prepare(self.job, self.dot, commits, known, self.hub).await?;
        commits.send(updates).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Branch;

    #[test]
    fn a_branch_takes_its_origin_along_unless_it_was_reset_away_from_it() {
        let id = |digit: &str| digit.repeat(32).parse::<CommitId>().expect("an id");
        let (one, two, three) = (id("1"), id("2"), id("3"));
        let name = |name: &str| name.parse::<BranchName>().expect("a name");
        // Two and three come after one; branch `work` was made at two.
        let mut history = History::default();
        history.insert(one, CommitId::ROOT);
        history.insert(two, one);
        history.insert(three, one);
        let origin = Origin {
            branch: name("master"),
            commit: two,
        };
        let branch = |head, origin| Branch { head, origin };
        let dot = |head| Dot {
            id: "1".into(),
            name: "app".parse().expect("a name"),
            current: name("work"),
            branches: BTreeMap::from([
                (name("master"), branch(two, None)),
                (name("work"), branch(head, Some(origin.clone()))),
            ]),
        };
        // On the hub, master is at one.
        let there = BTreeMap::from([(name("master"), one)]);
        let updated = |head| {
            let updates = origin_updates(&dot(head), &name("work"), head, (&there, &history));
            let heads = updates.into_iter().map(|update| (update.name, update.new));
            heads.collect::<Vec<_>>()
        };
        assert_eq!(updated(two), [(name("master"), two)]);
        // The hub lacks commit two, and this push does not send it.
        assert_eq!(updated(three), []);
    }
}
