//! `dm clone`: a dot of a hub becomes one here.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_api::node::TransferOutcome;
use dotmesh_model::{BranchName, History};
use dotmesh_pool::Start;

use super::pull;
use super::receive::{Line, Receiver, lines, remote_dot};
use super::to_the_end;
use super::transfer::Job;
use crate::error::NodeError;
use crate::node::random_hex;
use crate::registry::{Branch, Dot, NewCommit};

/// Clones a dot; one that is here already is pulled. Nobody sees it before all of it is there.
pub(crate) async fn clone(job: &Arc<Job>) -> Result<TransferOutcome, NodeError> {
    let lock = job.node.locks.operation(&job.local).await;
    if job.node.registry.find_dot(&job.local).await?.is_some() {
        drop(lock);
        return pull::pull(job).await;
    }
    let remote = remote_dot(job).await?;
    let lines = lines(job, &remote, &mut History::default()).await?;
    let mut dot = Dot {
        id: random_hex::<16>(),
        name: job.local.clone(),
        current: first_branch(job, &lines),
        branches: BTreeMap::new(),
    };
    let mut draft = Draft::begin(job).await?;
    let mut receiver = Receiver::new(job, &lines, &History::default());
    let mut commits = Vec::new();
    while let Some(commit) = receiver.next().await? {
        commits.push(commit);
    }
    let mut outcome = TransferOutcome::default();
    for line in &lines {
        dot.branches.insert(
            line.branch.name.clone(),
            Branch {
                head: line.branch.head,
                origin: None,
            },
        );
        outcome.branches.push(line.outcome());
    }
    // The hub's branches that lead to what was fetched come along: their commits are here.
    for branch in remote.branches {
        if lines.iter().any(|line| line.contains(branch.head)) {
            dot.branches.entry(branch.name).or_insert(Branch {
                head: branch.head,
                origin: None,
            });
        }
    }
    for (branch, state) in &dot.branches {
        let start = Start::Commit(state.head);
        job.node
            .pool
            .create_branch(&dot.name, branch, start)
            .await?;
    }
    draft.keep();
    let publishing = Arc::clone(job);
    to_the_end(async move {
        let _lock = lock;
        publish(&publishing, &dot, &commits).await
    })
    .await?;
    Ok(outcome)
}

/// The step in which the dot comes to be.
async fn publish(job: &Job, dot: &Dot, commits: &[NewCommit]) -> Result<(), NodeError> {
    job.node.save(dot).await?;
    job.node.registry.add_commits(&dot.id, commits).await
}

/// What a clone shows first: the branch that was asked for, else `master`, else any.
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

    fn keep(&mut self) {
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
