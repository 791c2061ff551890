//! `dm pull`: fetches branches and their history from a hub into an existing dot.
//!
//! The data of the branches' heads is received first, without the dot's lock. The lock is held only while the branches
//! are moved.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use dotmesh_api::hub::{HubBranch, HubDot};
use dotmesh_api::node::{BranchOutcome, TransferOutcome};
use dotmesh_model::branches::{Origin, diverged_name};
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, CommitId, History, Relation};
use dotmesh_pool::{NewStep, Start};
use dotmesh_sync::EarlyObjects;

use super::bookkeeping::{self, Effort};
use super::fetch::roots_here;
use super::left_out;
use super::mount;
use super::receive::{Line, Receiver, lines};
use super::switch::check::{self, Scope};
use super::to_the_end;
use super::transfer::Job;
use super::undo;
use super::upstream::{self, Upstream};
use crate::engine;
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::registry::{Branch, Dot};

/// Pulls one branch, or all of them.
pub(crate) async fn pull(job: &Arc<Job>) -> Result<TransferOutcome, NodeError> {
    let dot = job.node.settled(&job.local).await?;
    let mut seen = look(job, &dot).await?;
    // Refuse before anything is fetched. The same is checked again before anything is changed.
    for line in &seen.lines {
        plan(job, &dot, &seen.history, &line.branch).await?;
    }
    let came_without = bring(job, &dot, &mut seen).await?;
    let renamed = seen.upstream.renamed(job);
    let moving = Arc::clone(job);
    let moved = to_the_end(async move { move_branches(&moving, &seen.lines).await });
    Ok(TransferOutcome {
        renamed,
        without_data: came_without,
        ..moved.await?
    })
}

/// The branches of a dot on a hub, as a pull or a fetch wants them.
pub(super) struct Seen {
    pub(super) upstream: Upstream,
    remote: HubDot,
    history: History,
    pub(super) lines: Vec<Line>,
    early: EarlyObjects,
}

/// Reads the branches that are asked for, and their history. Nothing is kept yet.
pub(super) async fn look(job: &Job, dot: &Dot) -> Result<Seen, NodeError> {
    let registry = &job.node.registry;
    let told = HubHistory::load(&job.node, &job.local).await?;
    let (upstream, remote) = upstream::read(job, &told).await?;
    let mut history = registry.history(&dot.id).await?;
    let mut seals = registry.seals(&dot.id).await?;
    let there = (&upstream, &remote);
    let (lines, early) = lines(job, there, &mut history, &mut seals, &dot.heads()).await?;
    Ok(Seen {
        upstream,
        remote,
        history,
        lines,
        early,
    })
}

/// Brings the history and the data of the branches' heads, or all data. Returns how many commits came without their data,
/// since the hub lacks it.
pub(super) async fn bring(job: &Job, dot: &Dot, seen: &mut Seen) -> Result<u64, NodeError> {
    let registry = &job.node.registry;
    let early = std::mem::take(&mut seen.early);
    let (upstream, lines) = (&seen.upstream, &seen.lines);
    let here = roots_here(job, &dot.id).await?;
    let (connection, name) = (&upstream.connection, &upstream.name);
    let without = match seen.remote.without_data {
        0 => HashSet::new(),
        _ => connection.without_data(name).await?,
    };
    let told = remember(job, dot, upstream, lines, &without).await?;
    let mut came_without = HashSet::new();
    let history = seen.history.clone();
    let mut receiver = Receiver::new(connection, &job.local, name, history, here, early);
    let absent = registry.sources(&dot.id).await?;
    for line in lines {
        let leading: Vec<CommitId> = match job.request.full {
            true => seen.history.ancestry(line.branch.head).collect(),
            false => vec![line.branch.head],
        };
        let absent = leading.into_iter().filter(|id| absent.contains_key(id));
        let (nowhere, there): (Vec<_>, Vec<_>) = absent.partition(|id| without.contains(id));
        if let Some(commit) = nowhere.iter().find(|id| **id == line.branch.head) {
            let (commit, hub) = (*commit, job.hub_name());
            return Err(NodeError::Nowhere { commit, hub });
        }
        came_without.extend(nowhere);
        let wanted = there.into_iter().rev();
        receiver.queue(wanted.filter_map(|id| Some((id, told.get(id)?.clone()))));
    }
    while let Some((id, _)) = receiver.next().await? {
        registry.set_source(&dot.id, id, None).await?;
    }
    Ok(came_without.len() as u64)
}

/// Stores the hub's history, the identity of its dot, and which commits have no data there: first in the pool, then in
/// the registry.
async fn remember(
    job: &Job,
    dot: &Dot,
    upstream: &Upstream,
    lines: &[Line],
    without: &HashSet<CommitId>,
) -> Result<HubHistory, NodeError> {
    let _lock = job.node.locks.operation(&job.local, "pulled").await;
    let mut told = HubHistory::load(&job.node, &job.local).await?;
    let mut absent = Vec::new();
    for (id, commit) in lines.iter().flat_map(Line::commits) {
        told.add(*id, commit.clone());
        absent.push(commit.absent()?);
    }
    let learnt = upstream.identity().is_some_and(|identity| {
        let asked = &job.request.remote_dot;
        told.learn(&job.hub_name(), asked, &upstream.name, identity)
    });
    let source = upstream.source();
    let seen = upstream.seen(lines.iter().map(|line| &line.branch));
    let all = job.request.branch.is_none();
    let moved = told.see(&source, upstream.identity(), seen, all);
    let is_news = told.note_without_data(&source, without) | moved;
    if learnt || is_news || !absent.is_empty() {
        told.save(&job.node, &job.local).await?;
    }
    if !absent.is_empty() {
        job.node.registry.add_commits(&dot.id, &absent).await?;
    }
    Ok(told)
}

/// Moves the local branches to the hub's heads, whose data is here by now. Moves all of them or none.
async fn move_branches(job: &Job, lines: &[Line]) -> Result<TransferOutcome, NodeError> {
    let node = &job.node;
    let _lock = node.locks.operation(&job.local, "pulled").await;
    let _gate = check::close_gate(node, &job.local).await?;
    let before = node.registry.dot(&job.local).await?;
    let history = node.registry.history(&before.id).await?;
    let mut after = before.clone();
    let mut outcome = TransferOutcome::default();
    let mut moves = Moves::default();
    for line in lines {
        let planned = plan(job, &before, &history, &line.branch).await?;
        let branch = moves.add(&mut after, line, planned)?;
        outcome.branches.push(branch);
    }
    if !moves.steps.is_empty() {
        make(job, &before, &after, moves).await?;
    }
    // Users' mounts show the new state from here on.
    mount::refresh(node, &after.name).await?;
    outcome.left_out = left_out::known(node, &after, after.current()?.head).await?;
    Ok(outcome)
}

/// Makes the ref updates as one operation in the dot's log.
async fn make(job: &Job, before: &Dot, after: &Dot, moves: Moves) -> Result<(), NodeError> {
    let (node, name) = (&job.node, &before.name);
    let scope = Scope::Moved {
        branches: &moves.replaced,
        unpinned: false,
    };
    let _moving = check::unused(node, before, scope).await?;
    let mut steps = moves.steps;
    steps.push(NewStep::Describe(after.to_file()));
    let what = format!("pull of {}", listed(&moves.names));
    let number = node.pool.begin_operation(name, what, steps).await?;
    let made = async {
        node.pool.carry_out(name, number).await?;
        if let Err(error) = node.registry.put_dot(after).await {
            node.pool.roll_back(name, number).await?;
            return Err(error);
        }
        Ok(())
    };
    let made = made.await;
    undo::settle(node, name).await;
    made
}

/// `branch a`, or `branches a, b`.
fn listed(names: &[BranchName]) -> String {
    let all: Vec<&str> = names.iter().map(BranchName::as_str).collect();
    let word = if all.len() == 1 { "branch" } else { "branches" };
    format!("{word} {}", all.join(", "))
}

/// How a local branch is updated.
#[derive(Clone, Copy)]
enum Move {
    Nothing,
    LocalAhead,
    Create,
    Replace,
    Stash { base: CommitId },
}

/// Decides how to update a branch. Fails if data would be lost, or is in use.
async fn plan(
    job: &Job,
    dot: &Dot,
    history: &History,
    branch: &HubBranch,
) -> Result<Move, NodeError> {
    let name = &branch.name;
    let Some(local) = dot.branches.get(name) else {
        return Ok(Move::Create);
    };
    let stash = job.request.stash_on_divergence;
    let relation = history.relation(local.head, branch.head);
    match relation {
        Relation::Same => return Ok(Move::Nothing),
        Relation::Behind => return Ok(Move::LocalAhead),
        Relation::Diverged { .. } if !stash => {
            let hint = "'dm pull --stash-on-divergence' takes the hub's commits and keeps yours as a branch.";
            return Err(NodeError::Diverged {
                branch: name.clone(),
                hint: hint.to_owned(),
            });
        }
        Relation::Diverged { .. } | Relation::Ahead => {}
    }
    let running = job.node.docker.active().await?;
    let users = running
        .iter()
        .filter(|container| container.uses(&dot.name, name, &dot.current));
    let containers = engine::names(users);
    if !containers.is_empty() {
        let what = format!("branch {name}, which the pull would replace");
        return Err(NodeError::InUse { what, containers });
    }
    if let Relation::Diverged { base } = relation {
        return Ok(Move::Stash { base });
    }
    job.node.pool.flush().await?;
    let node = &job.node;
    let usage = node.pool.usage(&dot.name, name, local.head).await?;
    match usage.dirty {
        0 => Ok(Move::Replace),
        _ if bookkeeping::is_all(node, dot, name, Effort::Decision).await => Ok(Move::Replace),
        _ if stash => Ok(Move::Stash { base: local.head }),
        dirty => Err(NodeError::Dirty {
            branch: name.clone(),
            size: format_size(dirty),
            hint: "Discard them with 'dm reset --hard HEAD', or keep them as a branch with 'dm pull --stash-on-divergence'.",
        }),
    }
}

/// A pull's ref updates.
#[derive(Default)]
struct Moves {
    steps: Vec<NewStep>,
    /// The names of the updated branches of the hub.
    names: Vec<BranchName>,
    /// The local branches whose working copies are replaced.
    replaced: BTreeSet<BranchName>,
}

impl Moves {
    /// Adds a branch's update. Changes `dot` to its state after the update.
    fn add(&mut self, dot: &mut Dot, line: &Line, what: Move) -> Result<BranchOutcome, NodeError> {
        let HubBranch { name, head } = line.branch.clone();
        let mut outcome = line.outcome();
        let fresh = Branch { head, origin: None };
        match what {
            Move::Nothing => return Ok(outcome),
            Move::LocalAhead => {
                outcome.receiver_ahead = true;
                outcome.head = dot.branch(&name)?.head;
                return Ok(outcome);
            }
            Move::Create => {
                let (branch, start) = (name.clone(), Start::Commit(head));
                self.steps.push(NewStep::Create { branch, start });
                dot.branches.insert(name.clone(), fresh);
            }
            Move::Replace => {
                let (branch, start) = (name.clone(), Start::Commit(head));
                self.steps.push(NewStep::Replace { branch, start });
                self.replaced.insert(name.clone());
                if let Some(local) = dot.branches.get_mut(&name) {
                    local.head = head;
                }
            }
            Move::Stash { base } => {
                let stash = diverged_name(&name, crate::node::now());
                // Create it under the new name, then swap, so that the branch always has a working copy.
                let (branch, start) = (stash.clone(), Start::Commit(head));
                self.steps.push(NewStep::Create { branch, start });
                let (one, other) = (name.clone(), stash.clone());
                self.steps.push(NewStep::Swap { one, other });
                self.replaced.insert(name.clone());
                if let Some(mut old) = dot.branches.insert(name.clone(), fresh) {
                    let origin = Origin {
                        branch: name.clone(),
                        commit: base,
                    };
                    old.origin = Some(origin);
                    dot.branches.insert(stash.clone(), old);
                }
                outcome.stashed = Some(stash);
            }
        }
        self.names.push(name);
        Ok(outcome)
    }
}
