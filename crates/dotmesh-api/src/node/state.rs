//! What is in a dot now, and how that differs from other states.

use dotmesh_model::{BranchName, CommitId, DotName};
use serde::{Deserialize, Serialize};

/// `GET /v1/dots/{namespace}/{dot}/status`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotStatus {
    /// The dot.
    pub name: DotName,
    /// The branch that is checked out.
    pub branch: BranchName,
    /// Its newest commit.
    pub head: CommitId,
    /// The title of that commit; empty before the first commit.
    pub title: String,
    /// The subdots of the working copy, and those that are gone from it, sorted by name.
    pub subdots: Vec<SubdotStatus>,
    /// The containers that use the dot, running or not, sorted by name.
    pub containers: Vec<ContainerStatus>,
}

/// How many files of a subdot differ from the newest commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubdotStatus {
    /// The subdot; `__root__` for what is in none.
    pub name: String,
    /// New files.
    pub added: u64,
    /// Files that are gone.
    pub removed: u64,
    /// Files that were written.
    pub modified: u64,
    /// Files with another path.
    pub moved: u64,
}

/// A container that uses a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its service in the Compose file.
    pub service: Option<String>,
    /// What it is doing, such as `running` or `stopped`.
    pub state: String,
    /// The volumes of the dot that it uses, as Docker names them.
    pub volumes: Vec<String>,
    /// What it has mounted instead of what it should, as far as that is known.
    pub wrong: Option<String>,
}

/// `GET /v1/dots/{namespace}/{dot}/diff?from=REV&to=REV&path=PATH&text=true`. Without `from` it is the newest commit, without
/// `to` the working copy. With `stash=ID` it is a stash against its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The older state.
    pub from: CommitId,
    /// The newer state; `None` for the working copy.
    pub to: Option<CommitId>,
    /// What differs, sorted by path.
    pub changes: Vec<FileChange>,
    /// How many more changes there are than told of here.
    pub more: u64,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// `SUBDOT/PATH`. Bytes that are no UTF-8 are replaced.
    pub path: String,
    /// What it is, or was.
    pub kind: FileKind,
    /// What became of it.
    pub change: ChangeKind,
    /// The path before, of a file that was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its size before, in bytes.
    pub before: u64,
    /// Its size after.
    pub after: u64,
    /// The lines that differ, as `diff -u` shows them. Of texts only, and only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<String>,
}

/// What something in a dot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory that is empty, or whose attributes changed.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, fifo or device.
    Other,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other content or attributes.
    Modified,
    /// It has another path.
    Moved,
}
