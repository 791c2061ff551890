//! `dm fsck`: compares the registry with the pool, checks records and seals, and reads every commit on request. It changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use dotmesh_api::node::{Fsck, FsckEvent, FsckKind, FsckProblem, FsckReport, Source};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, History};
use dotmesh_pool::Inventory;
use dotmesh_store::ROOT_SEAL;
use dotmesh_sync::{Limits, NullSink, Progress, SealError, seal_within};
use tokio::sync::mpsc;

use crate::error::NodeError;
use crate::events::{self, line};
use crate::node::Node;
use crate::registry::{Dot, Seal};

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_millis(150);

/// Starts a check, and answers with its events. It ends when nobody listens any more.
pub(crate) fn start(node: Node, request: Fsck) -> Response {
    let (events, lines) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let progress = Arc::new(Progress::default());
        let mut work = std::pin::pin!(fsck(&node, &request, &progress));
        let last = loop {
            tokio::select! {
                done = &mut work => break match done {
                    Ok(report) => FsckEvent::Done(report),
                    Err(error) => FsckEvent::Failed(error.into()),
                },
                () = tokio::time::sleep(TELL_INTERVAL) => {
                    let now = FsckEvent::Progress(progress.snapshot());
                    if events.send(line(&now)).await.is_err() {
                        return;
                    }
                }
            }
        };
        let _ = events.send(line(&last)).await;
    });
    events::answer(lines)
}

/// Checks all dots, one after the other.
pub(crate) async fn fsck(
    node: &Node,
    request: &Fsck,
    progress: &Arc<Progress>,
) -> Result<FsckReport, NodeError> {
    progress.start_phase("comparing the registry with the pool");
    let mut names: BTreeSet<DotName> = node.pool.dot_folders().await?.into_iter().collect();
    names.extend(node.registry.dots().await?.into_iter().map(|dot| dot.name));
    let mut report = FsckReport::default();
    let mut to_read = Vec::new();
    for name in names {
        if let Some(checked) = check(node, &name).await? {
            report.dots += 1;
            report.commits += checked.commits.len() as u64;
            report.problems.extend(checked.problems);
            to_read.push((name, checked.commits));
        }
    }
    if !request.data {
        return Ok(report);
    }
    progress.start_phase("reading commits");
    for (name, commits) in &to_read {
        for id in commits.keys() {
            let data = node.pool.commit_data(name, *id);
            progress.add_total(dotmesh_sync::measure(&data).await.unwrap_or(0));
        }
    }
    for (name, commits) in to_read {
        for (id, seal) in commits {
            read(node, (&name, id), seal, progress, &mut report).await;
        }
    }
    Ok(report)
}

/// A dot that was checked.
struct Checked {
    /// The commits with data, and their seals.
    commits: BTreeMap<CommitId, Option<Seal>>,
    problems: Vec<FsckProblem>,
}

/// What the registry knows of a dot.
struct Known {
    dot: Dot,
    history: History,
    seals: HashMap<CommitId, Seal>,
    sources: BTreeMap<CommitId, Source>,
}

/// Checks all of a dot but its data. `None` for a clone that is not complete.
async fn check(node: &Node, name: &DotName) -> Result<Option<Checked>, NodeError> {
    // Nothing changes the dot between the look at the registry and the look at the pool.
    let _lock = node.locks.operation(name, "checked").await;
    let stored = node.pool.inventory(name).await?;
    let mut found = Problems::of(name);
    for problem in &stored.problems {
        found.add(FsckKind::Pool, problem.clone());
    }
    let Some(dot) = node.registry.find_dot(name).await? else {
        if stored.file.is_none() && stored.problems.is_empty() {
            return Ok(None);
        }
        let problem = "the pool has the dot, and the registry does not";
        found.add(FsckKind::Registry, problem.to_owned());
        let commits = stored.commits.iter().map(|(id, _)| (*id, None));
        return Ok(Some(Checked {
            commits: commits.collect(),
            problems: found.problems,
        }));
    };
    let registry = &node.registry;
    let known = Known {
        history: registry.history(&dot.id).await?,
        seals: registry.seals(&dot.id).await?,
        sources: registry.sources(&dot.id).await?,
        dot,
    };
    found.compare_dot(&known, &stored);
    found.compare_commits(&known, &stored);
    for (id, bytes) in &stored.commits {
        match registry.record(&known.dot.id, *id).await {
            Ok(kept) if kept != *bytes => {
                let problem =
                    format!("the registry has another record of commit {id} than the pool");
                found.add(FsckKind::Registry, problem);
            }
            _ => {}
        }
    }
    // Also those without data, as their seals are what binds the history.
    for (id, seal) in &known.seals {
        let record = registry.record(&known.dot.id, *id).await?;
        found.check_seal(&known, *id, *seal, &record);
    }
    for (tag, at) in node.pool.tags(name).await?.tags {
        if !known.history.contains(at.commit) {
            let problem = format!("tag {tag} names commit {}, which is not there", at.commit);
            found.add(FsckKind::Pool, problem);
        }
    }
    let seal = |id: &CommitId| known.seals.get(id).copied();
    let commits = stored.commits.iter().map(|(id, _)| (*id, seal(id)));
    Ok(Some(Checked {
        commits: commits.collect(),
        problems: found.problems,
    }))
}

/// What is wrong with a dot.
struct Problems<'a> {
    dot: &'a DotName,
    problems: Vec<FsckProblem>,
}

impl<'a> Problems<'a> {
    fn of(dot: &'a DotName) -> Self {
        let problems = Vec::new();
        Self { dot, problems }
    }

    fn add(&mut self, kind: FsckKind, problem: String) {
        let dot = self.dot.clone();
        self.problems.push(FsckProblem { dot, kind, problem });
    }

    /// The description and the branches.
    fn compare_dot(&mut self, known: &Known, stored: &Inventory) {
        match &stored.file {
            None => {
                let problem = "the registry has the dot, and the pool has no description of it";
                self.add(FsckKind::Pool, problem.to_owned());
            }
            Some(file) if file.id != known.dot.id || file.current != known.dot.current => {
                let problem = format!(
                    "the pool has the dot with id {} on branch {}, and the registry with id {} on branch {}",
                    file.id, file.current, known.dot.id, known.dot.current
                );
                self.add(FsckKind::Registry, problem);
            }
            Some(_) => {}
        }
        let there: BTreeMap<&BranchName, CommitId> = stored
            .branches
            .iter()
            .map(|(name, head)| (name, *head))
            .collect();
        for (name, branch) in &known.dot.branches {
            match there.get(name) {
                None => self.add(FsckKind::Pool, format!("branch {name} has no working copy")),
                Some(head) if *head != branch.head => {
                    let problem = format!(
                        "the working copy of branch {name} is at commit {head}, and the registry says {}",
                        branch.head
                    );
                    self.add(FsckKind::Registry, problem);
                }
                Some(_) => {}
            }
        }
        for name in there
            .keys()
            .filter(|name| !known.dot.branches.contains_key(**name))
        {
            let problem = format!("branch {name} has a working copy, and is not in the registry");
            self.add(FsckKind::Registry, problem);
        }
    }

    /// The commits with data, against those that should have some.
    fn compare_commits(&mut self, known: &Known, stored: &Inventory) {
        let here: HashSet<CommitId> = stored.commits.iter().map(|(id, _)| *id).collect();
        for id in known.history.ids().filter(|id| *id != CommitId::ROOT) {
            if !here.contains(&id) && !known.sources.contains_key(&id) {
                self.add(FsckKind::Pool, format!("commit {id} has no snapshot"));
            }
        }
        for (id, bytes) in &stored.commits {
            if !known.history.contains(*id) {
                let problem = format!("commit {id} has a snapshot, and is not in the registry");
                self.add(FsckKind::Registry, problem);
            }
            match CommitRecord::decode(bytes) {
                Err(error) => {
                    let problem = format!("the record of commit {id} cannot be read: {error}");
                    self.add(FsckKind::Record, problem);
                }
                Ok(record) if record.id != *id => {
                    let problem = format!(
                        "the snapshot of commit {id} has the record of {}",
                        record.id
                    );
                    self.add(FsckKind::Record, problem);
                }
                Ok(record) if !known.history.contains(record.parent) => {
                    let parent = record.parent;
                    let problem = format!("the parent {parent} of commit {id} is not there");
                    self.add(FsckKind::Record, problem);
                }
                Ok(_) => {}
            }
        }
    }

    /// A seal follows from the parent's, the record and the tree.
    fn check_seal(&mut self, known: &Known, id: CommitId, seal: Seal, record: &[u8]) {
        let parent = known.history.parent(id).unwrap_or(CommitId::ROOT);
        let parent = match parent {
            CommitId::ROOT => Some(ROOT_SEAL),
            parent => known.seals.get(&parent).map(|seal| seal.seal),
        };
        let follows = |parent| dotmesh_store::seal(parent, record, seal.root) == seal.seal;
        if parent.is_some_and(|parent| !follows(parent)) {
            let problem =
                format!("the seal of commit {id} does not belong to its record and parent");
            self.add(FsckKind::Record, problem);
        }
    }
}

/// Reads the data of a commit, and compares it with the seal if there is one.
async fn read(
    node: &Node,
    (name, id): (&DotName, CommitId),
    seal: Option<Seal>,
    progress: &Arc<Progress>,
    report: &mut FsckReport,
) {
    let data = node.pool.commit_data(name, id);
    let seal_by =
        async |limits| seal_within(limits, &data, None, None, &mut NullSink, progress).await;
    let problem = match (seal_by(Limits::EveryPool).await, seal) {
        // The dot was deleted meanwhile.
        (Err(_), _) if !data.exists() => return,
        (Err(error), _) => format!("the data of commit {id} cannot be read: {}", causes(&error)),
        (Ok(_), None) => {
            report.read += 1;
            return;
        }
        (Ok(sealed), Some(seal)) if sealed.root == seal.root => {
            report.verified += 1;
            return;
        }
        (Ok(_), Some(seal)) => match seal_by(Limits::Format).await {
            // Sealed before there were limits for every pool, or elsewhere.
            Ok(sealed) if sealed.root == seal.root => {
                report.verified += 1;
                return;
            }
            _ => format!("the data of commit {id} is not what it was when it was sealed"),
        },
    };
    report.problems.push(FsckProblem {
        dot: name.clone(),
        kind: FsckKind::Data,
        problem,
    });
}

fn causes(error: &SealError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
