//! What pull and clone share: the hub's history, checked, and its commits, made into snapshots here.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use dotmesh_api::hub::{HubBranch, HubDot};
use dotmesh_api::node::BranchOutcome;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::{BranchName, CommitId, History, ObjectHash};
use dotmesh_sync::{HubSource, VerifiedCommit, verify_commits};

use super::transfer::Job;
use crate::error::NodeError;
use crate::registry::{NewCommit, Seal};

/// A branch of the hub.
pub(crate) struct Line {
    pub(crate) branch: HubBranch,
    /// The verified history that leads to its head, oldest first, from the first commit on.
    commits: Vec<VerifiedCommit>,
    /// How many of them were not here, nor in a line before this one.
    new: u64,
}

impl Line {
    /// What is told of it, if nothing is in its way.
    pub(crate) fn outcome(&self) -> BranchOutcome {
        BranchOutcome {
            name: self.branch.name.clone(),
            head: self.branch.head,
            commits: self.new,
            stashed: None,
            receiver_ahead: false,
        }
    }

    /// Whether a commit leads to the branch's head.
    pub(crate) fn contains(&self, id: CommitId) -> bool {
        self.commits.iter().any(|commit| commit.record.id == id)
    }
}

/// The dot on the hub.
pub(crate) async fn remote_dot(job: &Job) -> Result<HubDot, NodeError> {
    let dot = job.hub.dot(&job.request.remote_dot).await?;
    dot.ok_or_else(|| job.no_remote_dot())
}

/// Reads and checks the history of the branches that are asked for, and adds it to what is known here.
pub(crate) async fn lines(
    job: &Job,
    remote: &HubDot,
    history: &mut History,
) -> Result<Vec<Line>, NodeError> {
    job.progress.start_phase("reading the history");
    let mut lines = Vec::new();
    for branch in wanted_branches(job, remote)? {
        let list = job
            .hub
            .commits(&job.request.remote_dot, branch.head)
            .await?;
        // From the first commit on: the roots of all of them are needed, and checking is cheap.
        let commits = verify_commits(&list, branch.head, |_| None)?;
        let mut new = 0;
        for commit in &commits {
            if !history.contains(commit.record.id) {
                history.insert(commit.record.id, commit.record.parent);
                new += 1;
            }
        }
        lines.push(Line {
            branch,
            commits,
            new,
        });
    }
    Ok(lines)
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

/// Makes the commits of lines into snapshots, one after the other.
pub(crate) struct Receiver {
    job: Arc<Job>,
    source: Arc<HubSource>,
    queue: VecDeque<Pending>,
}

/// A commit to receive, and the root of its parent's tree.
struct Pending {
    commit: VerifiedCommit,
    base: Option<ObjectHash>,
}

impl Receiver {
    /// Queues the commits that are not among those `here`.
    pub(crate) fn new(job: &Arc<Job>, lines: &[Line], here: &History) -> Self {
        let (hub, dot) = (job.hub.clone(), job.request.remote_dot.clone());
        let source = Arc::new(HubSource::new(hub, dot, Arc::clone(&job.progress)));
        let mut queued = HashSet::new();
        let mut queue = VecDeque::new();
        for line in lines {
            let mut base = None;
            for commit in &line.commits {
                let id = commit.record.id;
                if !here.contains(id) && queued.insert(id) {
                    queue.push_back(Pending {
                        commit: commit.clone(),
                        base,
                    });
                }
                base = Some(commit.sealed.root);
            }
        }
        Self {
            job: Arc::clone(job),
            source,
            queue,
        }
    }

    /// Receives the next commit. The caller puts it into the registry.
    pub(crate) async fn next(&mut self) -> Result<Option<NewCommit>, NodeError> {
        let Some(Pending { commit, base }) = self.queue.pop_front() else {
            return Ok(None);
        };
        let (pool, dot) = (&self.job.node.pool, &self.job.local);
        let (id, parent) = (commit.record.id, commit.record.parent);
        let seal = Seal {
            seal: commit.sealed.seal,
            root: commit.sealed.root,
        };
        let import = pool.begin_import(dot, parent).await?;
        self.job.progress.start_phase("receiving");
        let target = dotmesh_sync::Target {
            root: seal.root,
            base: base.map(|root| dotmesh_sync::Base {
                root,
                data: pool.commit_data(dot, parent),
            }),
            into: import.data(),
            resumed: false,
        };
        dotmesh_sync::materialise(&self.source, &target, &self.job.progress).await?;
        let record = commit.sealed.record.into_bytes();
        pool.finish_import(dot, import, id, record.clone()).await?;
        Ok(Some(NewCommit {
            id,
            parent,
            record,
            seal: Some(seal),
        }))
    }
}

/// Fails if a commit that is here under the same id was sealed otherwise.
pub(crate) async fn compare_seals(job: &Job, dot: &str, lines: &[Line]) -> Result<(), NodeError> {
    let seals = job.node.registry.seals(dot).await?;
    for commit in lines.iter().flat_map(|line| &line.commits) {
        let id = commit.record.id;
        if let Some(known) = seals
            .get(&id)
            .filter(|known| known.seal != commit.sealed.seal)
        {
            let theirs = commit.sealed.seal;
            let message = format!(
                "commit {id} on the hub has seal {theirs}, here it has {}",
                known.seal
            );
            return Err(ErrorBody::new(ErrorCode::Corrupt, message).into());
        }
    }
    Ok(())
}
