//! The current state of a dot, and how it differs from other states.

use dotmesh_model::{BranchName, CommitId, DotName};
use serde::{Deserialize, Serialize};

use super::{Source, SummaryStatus};

/// `GET /v1/dots/{namespace}/{dot}/status`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DotStatus {
    /// The dot.
    pub name: DotName,
    /// The branch that is checked out.
    pub branch: BranchName,
    /// Its newest commit.
    pub head: CommitId,
    /// The title of that commit. Empty before the first commit.
    pub title: String,
    /// The dots on hubs whose branches were seen by a push, a pull or a fetch. Earlier daemons do not send it.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatus>,
    /// The commits whose databases the node still reads for a hub, or has given up to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summaries: Vec<SummaryStatus>,
    /// The subdots of the working copy, and those that were removed from it, sorted by name.
    pub subdots: Vec<SubdotStatus>,
    /// The containers that use the dot, running or not, sorted by name.
    pub containers: Vec<ContainerStatus>,
}

/// The current branch, compared with the branch of the same name on a hub, as the node saw it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpstreamStatus {
    /// The dot on the hub.
    #[serde(flatten)]
    pub there: Source,
    /// The difference. `None` if the hub had no such branch.
    pub apart: Option<Apart>,
}

/// How far two heads are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Apart {
    /// The number of commits that the hub lacks.
    pub ahead: u64,
    /// The number of commits that only the hub's branch has.
    pub behind: u64,
}

/// The number of files of a subdot that differ from the newest commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubdotStatus {
    /// The subdot. `__root__` stands for files outside of all subdots.
    pub name: String,
    /// New files.
    pub added: u64,
    /// Deleted files.
    pub removed: u64,
    /// Modified files.
    pub modified: u64,
    /// Files with another path.
    pub moved: u64,
    /// Whether there are changes, and all of them are what databases write by themselves. Earlier daemons do not send it.
    #[serde(default)]
    pub only_database_files: bool,
}

/// A container that uses a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// The name of its service in the Compose file.
    pub service: Option<String>,
    /// Its state, such as `running` or `stopped`.
    pub state: String,
    /// The volumes of the dot that it uses, by their names in Docker.
    pub volumes: Vec<String>,
    /// A description of its wrong mount, if one is known.
    pub wrong: Option<String>,
}

/// `GET /v1/dots/{namespace}/{dot}/diff?from=REV&to=REV&path=PATH&text=true`. Without `from` it is the newest commit,
/// without `to` the working copy. With `stash=ID` it compares a stash with its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diff {
    /// The older state.
    pub from: CommitId,
    /// The newer state. `None` means the working copy.
    pub to: Option<CommitId>,
    /// The changes, sorted by path.
    pub changes: Vec<FileChange>,
    /// The number of further changes that are not listed.
    pub more: u64,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileChange {
    /// `SUBDOT/PATH`. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The kind of the file. After a removal, its former kind.
    pub kind: FileKind,
    /// The kind of change.
    pub change: ChangeKind,
    /// The former path of a moved file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The size before, in bytes.
    pub before: u64,
    /// The size after, in bytes.
    pub after: u64,
    /// The differing lines in the format of `diff -u`. Only for text files, and only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<String>,
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The file is new.
    Added,
    /// The file was removed.
    Removed,
    /// The content or the attributes changed.
    Modified,
    /// The path changed.
    Moved,
}
