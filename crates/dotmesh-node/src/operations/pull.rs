//! `dm pull` and `dm clone`: fetch branches, with all that leads to them, from a hub.
//!
//! Commits are received first, beside everything that goes on; then, under the dot's lock, the branches are moved.

use std::collections::{BTreeMap, HashMap};

use dotmesh_api::hub::{HubBranch, HubDot};
use dotmesh_api::node::{BranchOutcome, TransferOutcome};
use dotmesh_model::branches::{Origin, diverged_name};
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, CommitId, History, Relation};
use dotmesh_pool::Start;
use dotmesh_sync::{HubSource, VerifiedCommit, verify_commits};

use super::transfer::Job;
use crate::docker;
use crate::error::NodeError;
use crate::node::random_hex;
use crate::registry::{Branch, Dot, NewCommit, Seal};

/// Pulls into an existing dot.
pub(crate) async fn pull(job: &Job) -> Result<TransferOutcome, NodeError> {
    let dot = job.node.settled(&job.local).await?;
    let remote = job
        .hub
        .dot(&job.request.remote_dot)
        .await?
        .ok_or_else(|| job.no_remote_dot())?;
    let wanted = wanted_branches(job, &remote)?;
    // Said before anything is fetched; asked again before anything is changed.
    for branch in &wanted {
        let history = job.node.registry.history(&dot.id).await?;
        if history.contains(branch.head) {
            plan(job, &dot, &history, branch).await?;
        } else if dot.branches.contains_key(&branch.name) {
            let commits = job
                .hub
                .commits(&job.request.remote_dot, branch.head)
                .await?;
            let verified = verify_commits(&commits, branch.head, |_| None)?;
            let mut history = history;
            for commit in verified {
                history.insert(commit.record.id, commit.record.parent);
            }
            plan(job, &dot, &history, branch).await?;
        }
    }
    let mut received = HashMap::new();
    for branch in &wanted {
        receive(job, &dot, branch.head, &mut received).await?;
    }
    let _lock = job.node.locks.operation(&job.local).await;
    let _gate = job.node.locks.close_gate(&job.local).await;
    let mut dot = job.node.registry.dot(&job.local).await?;
    let mut outcome = TransferOutcome::default();
    for branch in &wanted {
        let commits = received.get(&branch.head).copied().unwrap_or(0);
        outcome
            .branches
            .push(move_branch(job, &mut dot, branch, commits).await?);
    }
    Ok(outcome)
}

/// Clones a dot; one that is here already is pulled.
pub(crate) async fn clone(job: &Job) -> Result<TransferOutcome, NodeError> {
    let lock = job.node.locks.operation(&job.local).await;
    if job.node.registry.find_dot(&job.local).await?.is_some() {
        drop(lock);
        return pull(job).await;
    }
    let remote = job
        .hub
        .dot(&job.request.remote_dot)
        .await?
        .ok_or_else(|| job.no_remote_dot())?;
    let mut wanted = wanted_branches(job, &remote)?;
    let current = first_branch(job, &wanted);
    let draft = Draft::begin(job).await?;
    // It is in the registry for the commits to refer to, under a name that nobody can ask for.
    let mut dot = Dot {
        id: random_hex::<16>(),
        name: job.local.clone(),
        current,
        branches: BTreeMap::new(),
    };
    let mut received = HashMap::new();
    let mut commits = Vec::new();
    for branch in &wanted {
        commits.extend(
            receive_into(job, &dot, branch.head, &History::default(), &mut received).await?,
        );
    }
    add_ancestor_branches(&remote, &commits, &mut wanted);
    let mut outcome = TransferOutcome::default();
    for branch in &wanted {
        let start = Start::Commit(branch.head);
        job.node
            .pool
            .create_branch(&job.local, &branch.name, start)
            .await?;
        dot.branches.insert(
            branch.name.clone(),
            Branch {
                head: branch.head,
                origin: None,
            },
        );
        let commits = received.get(&branch.head).copied().unwrap_or(0);
        outcome.branches.push(outcome_of(branch, commits));
    }
    job.node.pool.write_dot(&dot.name, &dot.to_file()).await?;
    draft.keep();
    job.node.registry.put_dot(&dot).await?;
    job.node.registry.add_commits(&dot.id, &commits).await?;
    Ok(outcome)
}

/// The folders of a dot that is being cloned. Deleted unless kept.
struct Draft<'a> {
    job: &'a Job,
    kept: bool,
}

impl<'a> Draft<'a> {
    async fn begin(job: &'a Job) -> Result<Self, NodeError> {
        job.node.pool.begin_dot(&job.local).await?;
        Ok(Self { job, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (pool, name) = (self.job.node.pool.clone(), self.job.local.clone());
        let locks = std::sync::Arc::clone(&self.job.node.locks);
        tokio::spawn(async move {
            let _lock = locks.operation(&name).await;
            if let Err(error) = pool.delete_dot(&name).await {
                tracing::warn!(%error, "a half-made clone is left for the next start to delete");
            }
        });
    }
}

fn wanted_branches(job: &Job, remote: &HubDot) -> Result<Vec<HubBranch>, NodeError> {
    match &job.request.branch {
        None if remote.branches.is_empty() => Err(NodeError::NoRemoteBranch {
            hub: job.hub_name(),
            branch: BranchName::master(),
            dot: job.request.remote_dot.full(),
        }),
        None => Ok(remote.branches.clone()),
        Some(name) => match remote.branches.iter().find(|branch| branch.name == *name) {
            Some(branch) => Ok(vec![branch.clone()]),
            None => Err(NodeError::NoRemoteBranch {
                hub: job.hub_name(),
                branch: name.clone(),
                dot: job.request.remote_dot.full(),
            }),
        },
    }
}

/// What a clone shows first: the branch that was asked for, else `master`, else any.
fn first_branch(job: &Job, wanted: &[HubBranch]) -> BranchName {
    let master = BranchName::master();
    let chosen = job.request.branch.clone().or_else(|| {
        let has_master = wanted.iter().any(|branch| branch.name == master);
        if has_master {
            None
        } else {
            wanted.first().map(|branch| branch.name.clone())
        }
    });
    chosen.unwrap_or(master)
}

/// The hub's branches that lead to what was fetched come along: their commits are here.
fn add_ancestor_branches(remote: &HubDot, commits: &[NewCommit], wanted: &mut Vec<HubBranch>) {
    for branch in &remote.branches {
        let here = commits.iter().any(|commit| commit.id == branch.head);
        if here && !wanted.contains(branch) {
            wanted.push(branch.clone());
        }
    }
}

/// Fetches the commits that lead to `head` and are not here.
async fn receive(
    job: &Job,
    dot: &Dot,
    head: CommitId,
    received: &mut HashMap<CommitId, u64>,
) -> Result<(), NodeError> {
    let history = job.node.registry.history(&dot.id).await?;
    if history.contains(head) {
        return Ok(());
    }
    let commits = receive_into(job, dot, head, &history, received).await?;
    job.node.registry.add_commits(&dot.id, &commits).await
}

/// Fetches commits into the pool. `received` counts them by head, and holds what was fetched for other heads before.
async fn receive_into(
    job: &Job,
    dot: &Dot,
    head: CommitId,
    history: &History,
    received: &mut HashMap<CommitId, u64>,
) -> Result<Vec<NewCommit>, NodeError> {
    job.progress.start_phase("reading the history");
    let list = job.hub.commits(&job.request.remote_dot, head).await?;
    let seals = job.node.registry.seals(&dot.id).await?;
    // From the first commit on: the roots of all of them are needed, and checking is cheap.
    let verified = verify_commits(&list, head, |_| None)?;
    let source = std::sync::Arc::new(HubSource::new(
        job.hub.clone(),
        job.request.remote_dot.clone(),
        std::sync::Arc::clone(&job.progress),
    ));
    let mut parent: Option<VerifiedCommit> = None;
    let mut new = Vec::new();
    for commit in verified {
        let id = commit.record.id;
        let seal = Seal {
            seal: commit.sealed.seal,
            root: commit.sealed.root,
        };
        if let Some(known) = seals.get(&id).filter(|known| **known != seal) {
            let message = format!(
                "commit {id} on the hub has seal {}, here it has {}",
                seal.seal, known.seal
            );
            return Err(
                dotmesh_api::ErrorBody::new(dotmesh_api::ErrorCode::Corrupt, message).into(),
            );
        }
        if !history.contains(id) && !received.contains_key(&id) {
            let base = parent.as_ref().map(|parent| parent.sealed.root);
            let import = job
                .node
                .pool
                .begin_import(&dot.name, commit.record.parent)
                .await?;
            job.progress.start_phase("receiving");
            dotmesh_sync::materialise(&source, seal.root, base, &import.data(), &job.progress)
                .await?;
            let record = commit.sealed.record.clone().into_bytes();
            job.node
                .pool
                .finish_import(&dot.name, import, id, record.clone())
                .await?;
            new.push(NewCommit {
                id,
                parent: commit.record.parent,
                record,
                seal: Some(seal),
            });
            received.insert(id, 0);
        }
        parent = Some(commit);
    }
    received.insert(head, new.len() as u64);
    Ok(new)
}

/// What is to be done to a local branch.
enum Move {
    Nothing,
    LocalAhead,
    Create,
    Replace,
    Stash { base: CommitId },
}

/// Decides; fails where something would be lost or is in use.
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
            let hint =
                "'dm pull --stash-on-divergence' takes the hub's line and keeps yours as a branch.";
            return Err(NodeError::Diverged {
                branch: name.clone(),
                hint: hint.to_owned(),
            });
        }
        Relation::Diverged { .. } | Relation::Ahead => {}
    }
    let running = job.node.engine.running().await?;
    let users = running
        .iter()
        .filter(|container| container.uses(&dot.name, name, &dot.current));
    let containers = docker::names(users);
    if !containers.is_empty() {
        let what = format!("branch {name}, where the hub's commits would be written");
        return Err(NodeError::InUse { what, containers });
    }
    if let Relation::Diverged { base } = relation {
        return Ok(Move::Stash { base });
    }
    job.node.pool.flush().await?;
    let usage = job.node.pool.usage(&dot.name, name, local.head).await?;
    match usage.dirty {
        0 => Ok(Move::Replace),
        _ if stash => Ok(Move::Stash { base: local.head }),
        dirty => Err(NodeError::Dirty {
            branch: name.clone(),
            size: format_size(dirty),
            hint: "Lose them with 'dm reset --hard HEAD', or keep them as a branch with 'dm pull --stash-on-divergence'.",
        }),
    }
}

/// Moves a local branch to the hub's head, which is here by now.
async fn move_branch(
    job: &Job,
    dot: &mut Dot,
    branch: &HubBranch,
    commits: u64,
) -> Result<BranchOutcome, NodeError> {
    let pool = &job.node.pool;
    let history = job.node.registry.history(&dot.id).await?;
    let mut outcome = outcome_of(branch, commits);
    let fresh = Branch {
        head: branch.head,
        origin: None,
    };
    match plan(job, dot, &history, branch).await? {
        Move::Nothing => {}
        Move::LocalAhead => {
            outcome.receiver_ahead = true;
            outcome.head = dot.branch(&branch.name)?.head;
        }
        Move::Create => {
            let start = Start::Commit(branch.head);
            pool.create_branch(&dot.name, &branch.name, start).await?;
            dot.branches.insert(branch.name.clone(), fresh);
        }
        Move::Replace => {
            pool.replace_branch(&dot.name, &branch.name, branch.head)
                .await?;
            if let Some(local) = dot.branches.get_mut(&branch.name) {
                local.head = branch.head;
            }
        }
        Move::Stash { base } => {
            let stash = diverged_name(&branch.name, jiff::Timestamp::now());
            // Made under the new name and then swapped: at no instant is the branch without a working copy.
            pool.create_branch(&dot.name, &stash, Start::Commit(branch.head))
                .await?;
            pool.exchange_branches(&dot.name, &stash, &branch.name)
                .await?;
            if let Some(mut old) = dot.branches.insert(branch.name.clone(), fresh) {
                let origin = Origin {
                    branch: branch.name.clone(),
                    commit: base,
                };
                old.origin = Some(origin);
                dot.branches.insert(stash.clone(), old);
            }
            outcome.stashed = Some(stash);
        }
    }
    job.node.save(dot).await?;
    Ok(outcome)
}

fn outcome_of(branch: &HubBranch, commits: u64) -> BranchOutcome {
    BranchOutcome {
        name: branch.name.clone(),
        head: branch.head,
        commits,
        stashed: None,
        receiver_ahead: false,
    }
}
