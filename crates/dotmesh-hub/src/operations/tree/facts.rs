//! What is in a commit and what it changed, by subdot. Counted once and kept: commits do not change.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::{EntryName, Inode, InodeKind, Node, TreeNode};
use serde::{Deserialize, Serialize};

use super::diff::{Diff, DiffLimits, SubdotChange, Tally};
use super::entries::Leaves;
use super::{TreePath, TreeReader};
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::rate_limit::Subject;
use crate::state::Hub;

/// Nodes that are read while someone waits for a page.
pub(super) const NODES_FOR_A_PAGE: usize = 500;

/// Nodes that are read when nobody waits.
pub(super) const NODES_AT_LEISURE: usize = 4_000_000;

/// Names in a commit's root that are told apart.
const MAX_SUBDOTS: usize = 256;

/// Folders in a subdot that are looked into for what tells its store: some images keep their data one deeper.
const MAX_FOLDERS: usize = 8;

/// What keeps its data in a subdot, as far as its files tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    PostgreSql,
    Redis,
    MySql,
    MongoDb,
    Files,
}

impl StoreKind {
    /// How it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::PostgreSql => "PostgreSQL",
            Self::Redis => "Redis",
            Self::MySql => "MySQL",
            Self::MongoDb => "MongoDB",
            Self::Files => "files",
        }
    }

    /// Whether its files are a database's own, which say little to people.
    pub fn is_database(self) -> bool {
        self != Self::Files
    }
}

/// A file that only one store has.
const MARKS: [(&[u8], StoreKind); 6] = [
    (b"PG_VERSION", StoreKind::PostgreSql),
    (b"dump.rdb", StoreKind::Redis),
    (b"appendonlydir", StoreKind::Redis),
    (b"appendonly.aof", StoreKind::Redis),
    (b"ibdata1", StoreKind::MySql),
    (b"WiredTiger", StoreKind::MongoDb),
];

/// What is below one name of a commit's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubdotFacts {
    /// The name: a subdot's, mostly.
    pub name: TreePath,
    /// What keeps its data there.
    pub kind: StoreKind,
    /// Whether the commit's parent had it and it has not.
    pub gone: bool,
    /// The regular files in it.
    pub now: Tally,
    /// What is not as in the commit's parent.
    pub change: SubdotChange,
}

impl SubdotFacts {
    /// Whether the commit changed anything in it.
    pub fn is_changed(&self) -> bool {
        self.change != SubdotChange::default()
    }
}

/// What is in a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFacts {
    /// Whether all of it was counted. If not, there is more.
    pub complete: bool,
    /// All regular files.
    pub total: Tally,
    /// By name, those that are gone included; the first ones, if there are very many.
    pub subdots: Vec<SubdotFacts>,
    /// What the commit changed cannot be known, since its parent's data is not here. No subdot has a change then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub change_unknown: bool,
}

/// What is in a commit that has its data. What takes longer is counted on in the background, and is there later.
pub async fn commit_facts(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<CommitFacts, HubError> {
    let id = dot.existing()?;
    if let Some(facts) = hub.database.facts(id, commit).await? {
        return Ok(facts);
    }
    let mut task = Counting {
        hub: hub.clone(),
        dot: dot.clone(),
        commit,
    };
    let facts = task.keep(NODES_FOR_A_PAGE).await?;
    if !facts.complete
        && let Ok(turn) = Arc::clone(&hub.counting).try_acquire_owned()
    {
        // Nobody waits for it.
        task.dot.subject = Subject::Hub;
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = task.keep(NODES_AT_LEISURE).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a commit's files could not be counted");
            }
        });
    }
    Ok(facts)
}

/// A commit that is to be counted.
pub(super) struct Counting {
    pub(super) hub: Hub,
    pub(super) dot: OpenDot,
    pub(super) commit: CommitId,
}

impl Counting {
    /// Counts it by reading at most so many nodes. What is complete, or as complete as it ever gets, is kept.
    pub(super) async fn keep(&self, nodes: usize) -> Result<CommitFacts, HubError> {
        let facts = self.count(nodes).await?;
        if facts.complete || nodes == NODES_AT_LEISURE {
            let database = &self.hub.database;
            let dot = self.dot.existing()?;
            database.keep_facts(dot, self.commit, &facts).await?;
        }
        Ok(facts)
    }

    async fn count(&self, nodes: usize) -> Result<CommitFacts, HubError> {
        let dot = self.dot.existing()?;
        let database = &self.hub.database;
        let line = database
            .ancestry(dot, self.commit, CommitId::ROOT, 2)
            .await?;
        let mut line = line.commits.iter();
        let commit = line.next().ok_or_else(|| HubError::NoSuchCommit {
            dot: self.dot.name.clone(),
            commit: self.commit,
        })?;
        if commit.without_data {
            return Err(HubError::WithoutData {
                dot: self.dot.name.clone(),
                commit: self.commit,
            });
        }
        let (root, parent) = (commit.root, line.next());
        let change_unknown = parent.is_some_and(|parent| parent.without_data);
        let before = parent.filter(|parent| !parent.without_data);
        let before = before.map(|parent| parent.root);
        let share = self.dot.share(&self.hub);
        let reader = TreeReader::new(&self.hub, share, self.dot.owner, dot);
        let limits = DiffLimits { changes: 0, nodes };
        let change = reader.diff(before, root, limits).await?;
        let parent = match before {
            Some(_) => {
                let record = commit.record.as_bytes();
                let parent = dotmesh_model::CommitRecord::decode(record)?.parent;
                database.facts(dot, parent).await?
            }
            None => None,
        };
        let parent = parent.filter(|parent| parent.complete && change.complete);
        let all = match (before, &parent) {
            // All of it is new, or the change is all that is to be counted.
            (None, _) | (_, Some(_)) => None,
            (Some(_), None) => Some(reader.diff(None, root, limits).await?),
        };
        let known = Known {
            parent,
            all: all.as_ref().unwrap_or(&change),
            change: &change,
        };
        let mut facts = facts(&reader, root, &known).await?;
        if change_unknown {
            facts.change_unknown = true;
            for subdot in &mut facts.subdots {
                subdot.change = SubdotChange::default();
            }
        }
        Ok(facts)
    }
}

struct Known<'a> {
    parent: Option<CommitFacts>,
    change: &'a Diff,
    /// The commit compared with nothing, where the parent's facts are not known.
    all: &'a Diff,
}

impl Known<'_> {
    fn total(&self) -> Tally {
        let sum = |pick: fn(&SubdotChange) -> Tally, diff: &Diff| {
            let tallies = diff.subdots.values().map(pick);
            tallies.fold(Tally::default(), Tally::and)
        };
        let added = sum(|change| change.after, self.all);
        match &self.parent {
            None => added,
            Some(parent) => {
                let removed = sum(|change| change.before, self.change);
                parent.total.after(removed, added)
            }
        }
    }

    fn of_parent(&self, name: &TreePath) -> Option<&SubdotFacts> {
        let facts = self.parent.as_ref()?;
        facts.subdots.iter().find(|subdot| subdot.name == *name)
    }
}

async fn facts(
    reader: &TreeReader,
    root: ObjectHash,
    known: &Known<'_>,
) -> Result<CommitFacts, HubError> {
    let mut subdots = BTreeMap::new();
    let mut leaves = Leaves::new(reader, reader.root(root).await?.tree, 0);
    while subdots.len() < MAX_SUBDOTS
        && let Some(leaf) = leaves.next().await?
    {
        for entry in leaf.into_iter().take(MAX_SUBDOTS - subdots.len()) {
            let name = TreePath::from(entry.name.clone());
            let change = known.change.subdots.get(&entry.name).copied();
            let before = known.of_parent(&name);
            let (kind, now) = match (before, change) {
                (Some(before), None) => (before.kind, before.now),
                (before, change) => {
                    let kind = reader.store_kind(&entry.node).await?;
                    let change = change.unwrap_or_default();
                    let now = match before {
                        Some(before) => before.now.after(change.before, change.after),
                        None => {
                            known
                                .all
                                .subdots
                                .get(&entry.name)
                                .copied()
                                .unwrap_or_default()
                                .after
                        }
                    };
                    (kind, now)
                }
            };
            let subdot = SubdotFacts {
                name,
                kind,
                gone: false,
                now,
                change: change.unwrap_or_default(),
            };
            subdots.insert(entry.name, subdot);
        }
    }
    let is_all = subdots.len() < MAX_SUBDOTS;
    for (name, change) in &known.change.subdots {
        if is_all && subdots.len() < 2 * MAX_SUBDOTS && !subdots.contains_key(name) {
            let name = TreePath::from(name.clone());
            let subdot = SubdotFacts {
                kind: known
                    .of_parent(&name)
                    .map_or(StoreKind::Files, |before| before.kind),
                name,
                gone: true,
                now: Tally::default(),
                change: *change,
            };
            subdots.insert(subdot.name.names()[0].clone(), subdot);
        }
    }
    Ok(CommitFacts {
        complete: known.change.complete && known.all.complete,
        total: known.total(),
        subdots: subdots.into_values().collect(),
        change_unknown: false,
    })
}

impl TreeReader {
    /// What keeps its data in a folder of a commit's root.
    async fn store_kind(&self, node: &Node) -> Result<StoreKind, HubError> {
        let Some(tree) = tree_of(node) else {
            return Ok(StoreKind::Files);
        };
        if let Some(kind) = self.mark_in(tree).await? {
            return Ok(kind);
        }
        let first = Leaves::new(self, tree, 0).next().await?.unwrap_or_default();
        let folders = first.iter().filter_map(|entry| tree_of(&entry.node));
        for folder in folders.take(MAX_FOLDERS) {
            if let Some(kind) = self.mark_in(folder).await? {
                return Ok(kind);
            }
        }
        Ok(StoreKind::Files)
    }

    async fn mark_in(&self, tree: ObjectHash) -> Result<Option<StoreKind>, HubError> {
        // Nearly all folders are one leaf, which then is read once for all marks.
        let leaf = match self.tree_node(tree).await? {
            TreeNode::Leaf(entries) => Some(entries),
            TreeNode::Inner { .. } => None,
        };
        for (name, kind) in MARKS {
            let Ok(name) = EntryName::new(name) else {
                continue;
            };
            let is_there = match &leaf {
                Some(entries) => entries.iter().any(|entry| entry.name == name),
                None => self.node_in(tree, &name).await?.is_some(),
            };
            if is_there {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }
}

fn tree_of(node: &Node) -> Option<ObjectHash> {
    match node {
        Node::Inode(Inode {
            kind: InodeKind::Directory { tree },
            ..
        }) => Some(*tree),
        _ => None,
    }
}
