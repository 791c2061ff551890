//! The paths in the pool, and two of its JSON files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dotmesh_model::branches::Origin;
use dotmesh_model::{BranchName, CommitId, DotName, StashId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{During as _, PoolError};

/// The version of the layout that this code reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The folder in a working copy or snapshot that contains the subdots.
pub(crate) const DATA: &str = "data";

/// The file in a working copy or snapshot that contains its commit's record.
pub(crate) const RECORD: &str = "commit.json";

/// The file that describes a stash, in its working copy.
pub(crate) const STASH: &str = "stash.json";

/// `format.json`: the version of the pool and its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FormatFile {
    /// The layout's version.
    pub version: u32,
    /// The node's id: 16 hex digits, chosen when the pool is created.
    pub node: String,
}

/// `dot.json`: the description of a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotFile {
    /// The dot's id on this node: 32 hex digits. A new dot with an old name gets a new id.
    pub id: String,
    /// The branch that is checked out.
    pub current: BranchName,
    /// Where branches started. A branch that begins with the dot's first commit has no entry.
    #[serde(default)]
    pub origins: BTreeMap<BranchName, Origin>,
}

impl DotFile {
    /// Applies the difference between two descriptions. Everything else stays, since operations on other branches may have
    /// changed it meanwhile.
    pub(crate) fn apply(&mut self, before: &Self, after: &Self) {
        if before.id != after.id {
            self.id.clone_from(&after.id);
        }
        if before.current != after.current {
            self.current.clone_from(&after.current);
        }
        for branch in before.origins.keys().chain(after.origins.keys()) {
            let origin = after.origins.get(branch);
            if before.origins.get(branch) == origin {
                continue;
            }
            match origin {
                Some(origin) => self.origins.insert(branch.clone(), origin.clone()),
                None => self.origins.remove(branch),
            };
        }
    }

    /// Whether applying the difference would change nothing.
    pub(crate) fn has(&self, before: &Self, after: &Self) -> bool {
        let mut applied = self.clone();
        applied.apply(before, after);
        applied == *self
    }
}

/// The pool's folders.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format.json")
    }

    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Commits that are being received, or whose transfer was interrupted.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// A file whose space the daemon frees for itself when the pool is full.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// Deleted dots that can be restored.
    pub(crate) fn deleted(&self) -> PathBuf {
        self.root.join("deleted")
    }

    /// The deleted dots of one name, each in its own folder.
    pub(crate) fn deleted_of(&self, dot: &DotName) -> PathBuf {
        let deleted = self.deleted().join(dot.namespace.as_str());
        deleted.join(dot.name())
    }

    /// The operation log of the dot in a folder.
    pub(crate) fn operations_in(&self, dot: &Path) -> PathBuf {
        dot.join("operations")
    }

    /// An operation of a dot's log, with the working copies that it keeps.
    pub(crate) fn operation(&self, dot: &DotName, number: u64) -> PathBuf {
        self.operations_in(&self.dot(dot)).join(number.to_string())
    }

    pub(crate) fn dots(&self) -> PathBuf {
        self.root.join("dots")
    }

    pub(crate) fn dot(&self, dot: &DotName) -> PathBuf {
        self.dots().join(dot.namespace.as_str()).join(dot.name())
    }

    pub(crate) fn dot_file(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("dot.json")
    }

    /// What hubs have reported about the dot's history.
    pub(crate) fn hub_history(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("hub-history.json")
    }

    /// Which commit replaces which, during an amend.
    pub(crate) fn amending(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("amending.json")
    }

    /// Which branch is being renamed.
    pub(crate) fn renaming(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("renaming.json")
    }

    /// Names for single commits.
    pub(crate) fn tags(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("tags.json")
    }

    /// The running copies of the app, each on a branch of its own.
    pub(crate) fn forks(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("forks.json")
    }

    pub(crate) fn stashes(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("stashes")
    }

    /// The working copy of a stash.
    pub(crate) fn stash(&self, dot: &DotName, stash: StashId) -> PathBuf {
        self.stashes(dot).join(stash.to_string())
    }

    pub(crate) fn branches(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("branches")
    }

    pub(crate) fn branch(&self, dot: &DotName, branch: &BranchName) -> PathBuf {
        self.branches(dot).join(&*branch.spelling())
    }

    pub(crate) fn commits(&self, dot: &DotName) -> PathBuf {
        self.dot(dot).join("commits")
    }

    /// The snapshot of a commit. All dots share the snapshot of the root commit.
    pub(crate) fn commit(&self, dot: &DotName, commit: CommitId) -> PathBuf {
        if commit == CommitId::ROOT {
            self.empty()
        } else {
            self.commits(dot).join(commit.to_string())
        }
    }
}

/// Reads a small JSON file. `None` if it does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, PoolError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.during("read", path)?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| PoolError::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        })
}

/// Writes a small JSON file durably.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PoolError> {
    let bytes = serde_json::to_vec_pretty(value).expect("the pool's files have only string keys");
    durable::replace(path, &bytes)
}
