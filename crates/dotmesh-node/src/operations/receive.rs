//! Shared parts of pull, clone and fetch: verify the hub's history, and turn commits into snapshots.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use dotmesh_api::hub::{HubBranch, HubDot};
use dotmesh_api::node::BranchOutcome;
use dotmesh_model::{BranchName, CommitId, DotName, History, ObjectHash};
use dotmesh_sync::{
    Base, CachedSource, EarlyObjects, FetchError, HubSource, MaterialiseError, Target, materialise,
    verify_commits,
};

use super::transfer::{Connection, Job};
use super::upstream::Upstream;
use crate::error::NodeError;
use crate::hub_history::HubCommit;
use crate::registry::Seal;

/// A branch of the hub, with its new commits.
pub(crate) struct Line {
    pub(crate) branch: HubBranch,
    /// The commits of its history that were neither known here nor in an earlier `Line`, oldest first.
    new: Vec<(CommitId, HubCommit)>,
}

impl Line {
    /// The outcome if the branch can be updated without obstacles.
    pub(crate) fn outcome(&self) -> BranchOutcome {
        BranchOutcome {
            name: self.branch.name.clone(),
            head: self.branch.head,
            commits: self.new.len() as u64,
            is_new: false,
            stashed: None,
            replaced: None,
            receiver_ahead: false,
        }
    }

    /// The new commits.
    pub(crate) fn commits(&self) -> impl Iterator<Item = &(CommitId, HubCommit)> {
        self.new.iter()
    }
}

/// Reads and verifies the history of the requested branches. Adds it to `history`, and the seals of its commits to
/// `seals`. `heads` are the heads of the local branches. Also returns the objects that came along.
pub(crate) async fn lines(
    job: &Job,
    (upstream, remote): (&Upstream, &HubDot),
    history: &mut History,
    seals: &mut HashMap<CommitId, Seal>,
    heads: &BTreeMap<BranchName, CommitId>,
) -> Result<(Vec<Line>, EarlyObjects), NodeError> {
    job.progress.start_phase("reading the history");
    let mut early = EarlyObjects::default();
    let mut lines = Vec::new();
    for branch in wanted_branches(job, remote)? {
        let mut new = Vec::new();
        if !seals.contains_key(&branch.head) {
            // The history is known from the local head on, if that is sealed.
            let head = heads.get(&branch.name).copied();
            let until = head.filter(|head| seals.contains_key(head));
            let hub = &upstream.connection;
            let list = hub.hub_line(&upstream.name, branch.head, until, &mut early);
            let list = list.await?;
            if list.commits.first().is_some_and(|head| head.without_data) {
                let (commit, hub) = (branch.head, hub.hub_name());
                return Err(NodeError::Nowhere { commit, hub });
            }
            let known = |id| seals.get(&id).map(|seal| seal.seal);
            for commit in verify_commits(&list, branch.head, known)? {
                let (id, parent) = (commit.record.id, commit.record.parent);
                let commit = HubCommit {
                    sealed: commit.sealed,
                    source: upstream.source(),
                    identity: upstream.identity(),
                };
                seals.insert(id, commit.seal());
                // A commit that was made here but never sealed has its data here.
                if !history.contains(id) {
                    history.insert(id, parent);
                    new.push((id, commit));
                }
            }
        }
        lines.push(Line { branch, new });
    }
    Ok((lines, early))
}

fn wanted_branches(job: &Job, remote: &HubDot) -> Result<Vec<HubBranch>, NodeError> {
    let request = &job.request;
    match &request.branch {
        Some(name) if let Some(head) = request.commit => {
            let name = name.clone();
            Ok(vec![HubBranch { name, head }])
        }
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

/// Turns commits into snapshots, one after the other, each starting from the nearest commit that is here.
pub(crate) struct Receiver {
    connection: Connection,
    local: DotName,
    source: Arc<CachedSource<HubSource>>,
    history: History,
    /// The tree roots of the commits whose data is here.
    here: HashMap<CommitId, ObjectHash>,
    queue: VecDeque<(CommitId, HubCommit)>,
}

impl Receiver {
    /// Makes a receiver with an empty queue. `here` are the commits whose data is here, with the roots of their trees.
    /// `early` came before.
    pub(crate) fn new(
        connection: &Connection,
        local: &DotName,
        remote: &DotName,
        history: History,
        here: HashMap<CommitId, ObjectHash>,
        early: EarlyObjects,
    ) -> Self {
        let progress = Arc::clone(&connection.progress);
        let rate = Arc::clone(&connection.rate);
        let source = HubSource::new(connection.hub.clone(), remote.clone(), rate, progress);
        let source = source.with_early(early);
        let cache = connection.node.stored_pages.of(local);
        Self {
            connection: connection.clone(),
            local: local.clone(),
            source: Arc::new(CachedSource::new(source, cache)),
            history,
            here,
            queue: VecDeque::new(),
        }
    }

    /// Queues commits whose data is not here, each once.
    pub(crate) fn queue(&mut self, commits: impl IntoIterator<Item = (CommitId, HubCommit)>) {
        let mut queued: HashSet<CommitId> = self.queue.iter().map(|(id, _)| *id).collect();
        for (id, commit) in commits {
            if !self.here.contains_key(&id) && queued.insert(id) {
                self.queue.push_back((id, commit));
            }
        }
    }

    /// Receives the next commit. The caller must add it to the registry.
    pub(crate) async fn next(&mut self) -> Result<Option<(CommitId, HubCommit)>, NodeError> {
        let Some((id, commit)) = self.queue.pop_front() else {
            return Ok(None);
        };
        let root = commit.sealed.root;
        let nearest = self.history.nearest(id, self.here.keys().copied());
        match self.receive(id, &commit, nearest).await {
            // The hub may lack objects of the nearest commit, and the cache may have lost them.
            Err(Failure::Materialise(MaterialiseError::Fetch(FetchError::Missing { .. })))
                if nearest.is_some() =>
            {
                self.receive(id, &commit, None).await?;
            }
            result => result?,
        }
        self.here.insert(id, root);
        Ok(Some((id, commit)))
    }

    async fn receive(
        &self,
        id: CommitId,
        commit: &HubCommit,
        base: Option<CommitId>,
    ) -> Result<(), Failure> {
        let pool = &self.connection.node.pool;
        let from = base.unwrap_or(CommitId::ROOT);
        let import = pool.begin_import(&self.local, from, id).await?;
        self.connection.progress.start_phase("receiving");
        let root_here = |base| {
            Some(Base {
                root: *self.here.get(&base)?,
                data: pool.commit_data(&self.local, base),
            })
        };
        let target = Target {
            root: commit.sealed.root,
            base: base.and_then(root_here),
            into: import.data(),
            resumed: import.is_resumed(),
        };
        let made = materialise(&self.source, &target, &self.connection.progress).await;
        if let Err(error @ MaterialiseError::Disk(_)) = made {
            // The next attempt must not fail for the same reason.
            let was_resumed = import.is_resumed();
            pool.discard_import(import).await?;
            if was_resumed {
                tracing::warn!(%error, "the data of an earlier attempt is unusable, receiving the commit from the start");
                return Box::pin(self.receive(id, commit, base)).await;
            }
            return Err(error.into());
        }
        made?;
        let record = commit.sealed.record.clone().into_bytes();
        pool.finish_import(&self.local, import, id, record).await?;
        Ok(())
    }
}

/// Why a commit was not received.
enum Failure {
    Materialise(MaterialiseError),
    Node(NodeError),
}

impl From<MaterialiseError> for Failure {
    fn from(error: MaterialiseError) -> Self {
        Self::Materialise(error)
    }
}

impl From<dotmesh_pool::PoolError> for Failure {
    fn from(error: dotmesh_pool::PoolError) -> Self {
        Self::Node(error.into())
    }
}

impl From<Failure> for NodeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Materialise(error) => error.into(),
            Failure::Node(error) => error,
        }
    }
}
