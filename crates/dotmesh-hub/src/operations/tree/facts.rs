//! Statistics of a commit: what it contains and changed, by subdot. They are counted once and stored, because commits
//! never change.

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

/// The most tree pages that are read while a user waits for a page.
pub(super) const NODES_FOR_A_PAGE: usize = 500;

/// The most tree pages that are read in the background.
pub(super) const NODES_AT_LEISURE: usize = 4_000_000;

/// The most names in a commit's root that are counted separately.
const MAX_SUBDOTS: usize = 256;

/// The most folders of a subdot that are searched for a store's marks. Some images keep their data one level deeper.
const MAX_FOLDERS: usize = 8;

/// The kind of store that has its data in a subdot, guessed from its files.
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
    /// The name on pages.
    pub fn label(self) -> &'static str {
        match self {
            Self::PostgreSql => "PostgreSQL",
            Self::Redis => "Redis",
            Self::MySql => "MySQL",
            Self::MongoDb => "MongoDB",
            Self::Files => "files",
        }
    }

    /// Returns whether the files belong to a database. Their content tells users little.
    pub fn is_database(self) -> bool {
        self != Self::Files
    }
}

/// The name of a file or folder that only one kind of store has.
const MARKS: [(&[u8], StoreKind); 6] = [
    (b"PG_VERSION", StoreKind::PostgreSql),
    (b"dump.rdb", StoreKind::Redis),
    (b"appendonlydir", StoreKind::Redis),
    (b"appendonly.aof", StoreKind::Redis),
    (b"ibdata1", StoreKind::MySql),
    (b"WiredTiger", StoreKind::MongoDb),
];

/// Statistics of one name in a commit's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubdotFacts {
    /// The name, usually of a subdot.
    pub name: TreePath,
    /// The kind of store.
    pub kind: StoreKind,
    /// Whether the commit's parent has the name and the commit does not.
    pub gone: bool,
    /// The regular files in it.
    pub now: Tally,
    /// The difference from the commit's parent.
    pub change: SubdotChange,
}

impl SubdotFacts {
    /// Returns whether the commit changed anything in it.
    pub fn is_changed(&self) -> bool {
        self.change != SubdotChange::default()
    }
}

/// Statistics of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFacts {
    /// Whether everything was counted. If not, the numbers are lower bounds.
    pub complete: bool,
    /// All regular files.
    pub total: Tally,
    /// The subdots by name, including removed ones. If there are very many, only the first ones.
    pub subdots: Vec<SubdotFacts>,
    /// Whether the change is unknown because the hub lacks the parent's data. Then no subdot has a change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub change_unknown: bool,
}

/// Returns the statistics of a commit that has its data. If counting takes long, the result is incomplete. The hub then
/// continues in the background, unless it already counts other commits there.
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
        // No client waits for it, so the hub itself is the subject.
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
    /// Counts the commit and reads at most `nodes` tree pages. Stores the result if it is complete, or if `nodes` is
    /// the limit of the background count.
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
            // Everything is new, or the parent's statistics and the change suffice.
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
    /// The difference from an empty tree, if the parent's statistics are unknown. Otherwise the same as `change`.
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
    /// Returns the kind of store in a folder of a commit's root.
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
        // Nearly all folders have a single page, so it is read once for all marks.
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
