//! `dm log`: a commit and its ancestors, or the whole history.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::path::PathBuf;

use dotmesh_api::node::{Log, LogQuery, Source};
use dotmesh_model::left_out::LEFT_OUT_IN_HISTORY;
use dotmesh_model::{CommitId, CommitRecord, History, SubdotName};
use dotmesh_sync::{Look, compare};

use super::revision::Revisions;
use super::{blocking, left_out, tag};
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::node::Node;
use crate::registry::Dot;
use crate::view::{At, View};

/// The requested commits.
pub(crate) async fn log(
    node: &Node,
    at: impl Into<At>,
    query: &LogQuery,
) -> Result<Log, NodeError> {
    let subdot: Option<SubdotName> = match &query.subdot {
        Some(subdot) => Some(subdot.parse()?),
        None => None,
    };
    let dot = node.settled_view(&at.into()).await?;
    let revisions = Revisions::of(node, &dot).await?;
    let sources = node.registry.sources(&dot.id).await?;
    let mut tips = vec![match &query.revision {
        None => revisions.head,
        Some(text) => revisions.find_text(text)?,
    }];
    if query.all {
        tips.extend(revisions.named());
    }
    let mut walk = Walk::new(node, &dot, &revisions.history, tips).await?;
    let mut commits = Vec::new();
    let mut unknown = 0;
    while commits.len() < query.limit.unwrap_or(usize::MAX)
        && let Some(commit) = walk.next().await?
    {
        if query.since.is_some_and(|since| commit.time < since) {
            continue;
        }
        if let Some(subdot) = &subdot {
            match has_changed(node, &dot, &sources, &commit, subdot).await? {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    unknown += 1;
                    continue;
                }
            }
        }
        commits.push(commit);
    }
    tell(node, dot, &revisions.history, sources, commits, unknown).await
}

/// Adds branches, tags and the state of the data to the commits.
async fn tell(
    node: &Node,
    dot: View,
    history: &History,
    mut sources: BTreeMap<CommitId, Source>,
    commits: Vec<CommitRecord>,
    unknown: u64,
) -> Result<Log, NodeError> {
    let told: HashSet<CommitId> = commits.iter().map(|commit| commit.id).collect();
    let (mut absent, mut lacking, mut ancestors) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for commit in &commits {
        let id = commit.id;
        absent.extend(sources.remove_entry(&id));
        let lacks = left_out::known(node, &dot, id).await?;
        if !lacks.is_empty() {
            lacking.insert(id, lacks.first(LEFT_OUT_IN_HISTORY));
        }
        if !told.contains(&commit.parent) {
            let mut older = history.ancestry(commit.parent);
            ancestors.extend(older.find(|id| told.contains(id)).map(|older| (id, older)));
        }
    }
    let mut without_data = BTreeSet::new();
    if !absent.is_empty() {
        let told = HubHistory::load(node, &dot.name).await?;
        let lacks = |id: &&CommitId| told.get(**id).is_some_and(|told| told.sealed.without_data);
        without_data.extend(absent.keys().filter(lacks).copied());
    }
    Ok(Log {
        commits,
        ancestors,
        branches: dot.heads(),
        tags: tag::commits(node, &dot.name).await?,
        current: dot.here,
        absent,
        without_data,
        left_out: lacking,
        unknown,
    })
}

/// Whether a commit changed a subdot. `None` if the data of the commit or its parent is not here.
async fn has_changed(
    node: &Node,
    dot: &Dot,
    sources: &BTreeMap<CommitId, Source>,
    commit: &CommitRecord,
    subdot: &SubdotName,
) -> Result<Option<bool>, NodeError> {
    if [commit.id, commit.parent]
        .iter()
        .any(|id| sources.contains_key(id))
    {
        return Ok(None);
    }
    // Snapshots are read-only, so the check cannot become outdated.
    let folder = |id| -> Option<PathBuf> {
        let path = node.pool.commit_data(&dot.name, id).join(subdot.as_str());
        let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        is_folder.then_some(path)
    };
    let (old, new) = (folder(commit.parent), folder(commit.id));
    match (old, new) {
        (None, None) => Ok(Some(false)),
        (Some(old), Some(new)) => {
            let changes = blocking(move || compare(&old, &new, Look::AtBytes)).await?;
            Ok(Some(!changes.is_empty()))
        }
        _ => Ok(Some(true)),
    }
}

/// Walks the history from several commits. Children come before parents, and otherwise newer commits first.
struct Walk<'a> {
    node: &'a Node,
    dot: &'a Dot,
    /// The number of unvisited children of each commit.
    waits_for: HashMap<CommitId, usize>,
    ready: BinaryHeap<(jiff::Timestamp, Reverse<usize>, CommitId)>,
    records: HashMap<CommitId, CommitRecord>,
    /// Counts the commits, to order those of the same time.
    found: usize,
}

impl<'a> Walk<'a> {
    async fn new(
        node: &'a Node,
        dot: &'a Dot,
        history: &History,
        tips: Vec<CommitId>,
    ) -> Result<Self, NodeError> {
        let mut waits_for: HashMap<CommitId, usize> = HashMap::new();
        for tip in &tips {
            for id in history.ancestry(*tip) {
                if waits_for.contains_key(&id) {
                    break;
                }
                waits_for.insert(id, 0);
            }
        }
        let parents: Vec<CommitId> = waits_for
            .keys()
            .filter_map(|id| history.parent(*id))
            .collect();
        for parent in parents {
            if let Some(count) = waits_for.get_mut(&parent) {
                *count += 1;
            }
        }
        let mut walk = Self {
            node,
            dot,
            waits_for,
            ready: BinaryHeap::new(),
            records: HashMap::new(),
            found: 0,
        };
        for tip in tips {
            if walk.waits_for.get(&tip) == Some(&0) && !walk.records.contains_key(&tip) {
                walk.add(tip).await?;
            }
        }
        Ok(walk)
    }

    async fn add(&mut self, id: CommitId) -> Result<(), NodeError> {
        let record = self.node.registry.decoded(&self.dot.id, id).await?;
        self.found += 1;
        self.ready.push((record.time, Reverse(self.found), id));
        self.records.insert(id, record);
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<CommitRecord>, NodeError> {
        let Some((_, _, id)) = self.ready.pop() else {
            return Ok(None);
        };
        let Some(record) = self.records.remove(&id) else {
            return Ok(None);
        };
        if let Some(count) = self.waits_for.get_mut(&record.parent) {
            *count -= 1;
            if *count == 0 {
                self.add(record.parent).await?;
            }
        }
        Ok(Some(record))
    }
}
