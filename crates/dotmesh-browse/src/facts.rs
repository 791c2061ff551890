//! Statistics of a commit: what it contains and changed, by subdot. They are worth storing, because commits never
//! change.

use std::collections::BTreeMap;

use dotmesh_model::ObjectHash;
use dotmesh_store::{EntryName, EntryValue, Inode, InodeKind, TreePage};
use serde::{Deserialize, Serialize};

use crate::diff::{DiffLimits, SubdotChange, Tally, TreeDiff};
use crate::entries::Leaves;
use crate::{ReadError, TreePath, TreeReader, TreeSource};

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

/// Counts a commit's files, and reads at most `pages` tree pages. `before` is the root of the commit's parent, and
/// `parent` the parent's statistics if they are known. With complete ones, only what the commit changed is read.
pub async fn count<S: TreeSource>(
    reader: &TreeReader<S>,
    before: Option<ObjectHash>,
    parent: Option<CommitFacts>,
    root: ObjectHash,
    pages: usize,
) -> Result<CommitFacts, ReadError<S::Error>> {
    let limits = DiffLimits { changes: 0, pages };
    let change = reader.diff(before, root, limits).await?;
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
    facts(reader, root, &known).await
}

struct Known<'a> {
    parent: Option<CommitFacts>,
    change: &'a TreeDiff,
    /// The difference from an empty tree, if the parent's statistics are unknown. Otherwise the same as `change`.
    all: &'a TreeDiff,
}

impl Known<'_> {
    fn total(&self) -> Tally {
        let sum = |pick: fn(&SubdotChange) -> Tally, diff: &TreeDiff| {
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

async fn facts<S: TreeSource>(
    reader: &TreeReader<S>,
    root: ObjectHash,
    known: &Known<'_>,
) -> Result<CommitFacts, ReadError<S::Error>> {
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
                    let kind = reader.store_kind(&entry.value).await?;
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

impl<S: TreeSource> TreeReader<S> {
    /// Returns the kind of store in a folder of a commit's root.
    async fn store_kind(&self, value: &EntryValue) -> Result<StoreKind, ReadError<S::Error>> {
        let Some(tree) = tree_of(value) else {
            return Ok(StoreKind::Files);
        };
        if let Some(kind) = self.mark_in(tree).await? {
            return Ok(kind);
        }
        let first = Leaves::new(self, tree, 0).next().await?.unwrap_or_default();
        let folders = first.iter().filter_map(|entry| tree_of(&entry.value));
        for folder in folders.take(MAX_FOLDERS) {
            if let Some(kind) = self.mark_in(folder).await? {
                return Ok(kind);
            }
        }
        Ok(StoreKind::Files)
    }

    async fn mark_in(&self, tree: ObjectHash) -> Result<Option<StoreKind>, ReadError<S::Error>> {
        // Nearly all folders have a single page, so it is read once for all marks.
        let leaf = match self.tree_page(tree).await? {
            TreePage::Leaf(entries) => Some(entries),
            TreePage::Inner { .. } => None,
        };
        for (name, kind) in MARKS {
            let Ok(name) = EntryName::new(name) else {
                continue;
            };
            let is_there = match &leaf {
                Some(entries) => entries.iter().any(|entry| entry.name == name),
                None => self.value_in(tree, &name).await?.is_some(),
            };
            if is_there {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }
}

fn tree_of(value: &EntryValue) -> Option<ObjectHash> {
    match value {
        EntryValue::Inode(Inode {
            kind: InodeKind::Directory { tree },
            ..
        }) => Some(*tree),
        _ => None,
    }
}
