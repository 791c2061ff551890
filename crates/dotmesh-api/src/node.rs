//! The wire types of a node's local API, which it serves on a unix socket.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use dotmesh_model::branches::Origin;
use dotmesh_model::{BranchName, CodeVersion, CommitId, DotName, ImageUse, LeftOut, StashId};
use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;

mod checkup;
mod content;
mod forks;
mod fsck;
mod import;
mod lease;
mod log;
mod login;
mod operations;
mod rows;
mod running;
mod stashes;
mod state;
mod tags;

pub use checkup::{
    Checkup, DiskReport, EngineReport, HubReport, Looked, PluginReport, PoolReport, Report,
};
pub use content::{ContentQuery, RestorePaths};
pub use forks::{
    DeleteFork, Fork, ForkContainer, ForkHere, ForkPort, ForkQuery, ForkState, ForksHere, MakeFork,
    StopFork, WantedPort,
};
pub use fsck::{Fsck, FsckEvent, FsckKind, FsckProblem, FsckReport};
pub use import::{
    ArchiveQuery, CopiedFiles, Export, ExportEvent, Import, ImportEvent, ImportOutcome,
    ImportSubdot,
};
pub use lease::Lease;
pub use log::{Log, LogQuery};
pub use login::{HubAccount, HubLogin};
pub use operations::{DeletedDot, OperationState, OperationSummary, Operations, Undo, UndoBudget};
pub use rows::{
    DiffRows, DiffRowsEvent, ListRows, RowsEvent, RowsOutcome, RowsTold, RunSql, SqlEvent,
    SqlInput, SqlSession, SummaryStatus, TellRows, take_text,
};
pub use running::{OPERATION_HEADER, OperationKind, RunningOperation};
pub use stashes::{ApplyStash, DropStash, MakeStash, Stash};
pub use state::{
    Apart, ChangeKind, ContainerStatus, Diff, DotStatus, FileChange, FileKind, SubdotStatus,
    UpstreamStatus,
};
pub use tags::{DeleteTag, MakeTag, Tag, TagsOutcome};

/// `GET /v1/version`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeVersion {
    /// The daemon's version.
    pub version: String,
    /// The node's id, which is made with its pool.
    pub node: String,
    /// The name of its Docker volume driver, if it serves one.
    pub driver: Option<String>,
    /// The daemon's process id.
    pub pid: u32,
    /// The folder of all its data. Earlier daemons do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub root: Option<PathBuf>,
    /// The proxy and certificate variables that the daemon has, or for which it has an option. Earlier daemons do not
    /// send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Vec<String>>,
}

/// `POST /v1/dots`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateDot {
    /// The new dot.
    pub name: DotName,
}

/// `POST /v1/dots/{namespace}/{dot}/rename`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenameDot {
    /// The new name, which no dot has.
    pub to: DotName,
}

/// One row of `GET /v1/dots`: the state of the current branch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DotSummary {
    /// The dot.
    pub name: DotName,
    /// The branch that is checked out.
    pub branch: BranchName,
    /// The node's id.
    pub server: String,
    /// The names of the running containers that use that branch.
    pub containers: Vec<String>,
    /// The bytes in the working copy.
    pub size: u64,
    /// The number of commits from the first to the branch's head.
    pub commits: u64,
    /// The bytes changed since the head.
    pub dirty: u64,
    /// Whether only files have changed that databases write by themselves, as at a mere restart. Only the list of dots says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_database_files: bool,
    /// The containers that do not run as they should.
    #[serde(default)]
    pub problems: Vec<ContainerProblem>,
    /// The items of the branch's newest commit that no push can send, or that were left out where the commit was
    /// made.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
}

/// A row of `GET /v1/lookalikes`: an empty dot that Docker made, with almost the name of a cloned dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lookalike {
    /// The empty dot.
    pub dot: DotName,
    /// Its id on this node.
    pub id: String,
    /// The dot that was cloned.
    pub cloned: DotName,
    /// The Compose project whose volumes belong to the cloned dot, if the names show it.
    pub project: Option<String>,
}

/// `GET /v1/compose?folder=PATH`: the dots of the Compose project in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeDots {
    /// The requested folder, or its nearest parent with such a project. `None` if there is none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub folder: Option<PathBuf>,
    /// The dots that the project's containers use. If the containers are gone, the dots that they used in the newest
    /// commits.
    pub dots: Vec<DotName>,
    /// The forks that run from the folder, or from the nearest parent with forks. Earlier daemons do not send it.
    #[serde(default)]
    pub forks: ForksHere,
}

/// `GET /v1/dots/{namespace}/{dot}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DotDetail {
    /// The same data as in the list.
    #[serde(flatten)]
    pub summary: DotSummary,
    /// The dot's id on this node.
    pub id: String,
    /// Its branches, sorted by name.
    pub branches: Vec<BranchDetail>,
}

/// A branch on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BranchDetail {
    /// Its name.
    pub name: BranchName,
    /// Its newest commit.
    pub head: CommitId,
    /// The start of the branch. `None` for a dot's first branch.
    pub origin: Option<Origin>,
    /// The names of the running containers that use it.
    pub containers: Vec<String>,
}

/// The place from which a commit's data can be fetched.
///
/// `POST /v1/dots/{namespace}/{dot}/forget` takes one, too. The node then forgets the identity of the dot that has
/// that name there. The next transfer takes the dot that has the name then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Source {
    /// The hub's address.
    pub hub: String,
    /// The dot's name there.
    pub dot: DotName,
}

/// `POST /v1/dots/{namespace}/{dot}/commits`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateCommit {
    /// The commit's message.
    pub message: String,
    /// The author.
    pub author: String,
    /// Metadata values.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The version of the code.
    #[serde(default)]
    pub code: Option<CodeVersion>,
    /// The state that the user saw. The commit is refused if it has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// Replaces the newest commit. The author stays the same. So does the message if this request has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub amend: bool,
}

/// `GET /v1/dots/{namespace}/{dot}/current`: the current branch. Never waits for a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Current {
    /// The branch that is checked out.
    pub branch: BranchName,
    /// Its newest commit.
    pub head: CommitId,
}

/// The result of a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Committed {
    /// The new commit.
    pub id: CommitId,
    /// The branch whose head it is now.
    pub branch: BranchName,
    /// The containers that used the branch, as the commit records them.
    #[serde(default)]
    pub images: Vec<ImageUse>,
}

/// `POST /v1/dots/{namespace}/{dot}/checkout`. The answer has a line of JSON for each [`SwitchEvent`]. The switch
/// continues if the connection is closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checkout {
    /// The branch to switch to.
    pub branch: BranchName,
    /// Creates the branch first, from this start.
    #[serde(default)]
    pub create: Option<BranchStart>,
    /// The way to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `POST /v1/dots/{namespace}/{dot}/branches/delete`. The answer is a [`BranchRemoved`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeleteBranch {
    /// The branch. It must not be checked out, and nothing may use it.
    pub branch: BranchName,
    /// Deletes the branch even if it has commits that no other branch has, or uncommitted changes.
    #[serde(default)]
    pub force: bool,
}

/// A deleted branch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BranchRemoved {
    /// Its newest commit, which can still be named by its id.
    pub head: CommitId,
}

/// `POST /v1/dots/{namespace}/{dot}/branches/rename`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenameBranch {
    /// The branch. No container may use a volume whose name contains this branch.
    pub from: BranchName,
    /// Its new name, which no branch has.
    pub to: BranchName,
}

/// The way in which a switch waits for the containers that it restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Wait {
    /// Waits until containers with a health check are healthy. Otherwise it waits only until they have started.
    pub healthy: bool,
    /// The longest wait, in seconds.
    pub seconds: u64,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            healthy: true,
            seconds: 300,
        }
    }
}

/// One line of a switch's answer. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SwitchEvent {
    /// The switch waits for containers.
    Progress(SwitchProgress),
    /// The switch is done, even if not all containers run.
    Done(Switched),
    /// The switch failed.
    Failed(ErrorBody),
}

/// What a switch waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SwitchProgress {
    /// A few words.
    pub phase: String,
    /// The names of the containers.
    pub containers: Vec<String>,
}

/// A container that does not run as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerProblem {
    /// Its name.
    pub container: String,
    /// A description of the problem.
    pub problem: String,
    /// Whether the daemon keeps trying.
    pub retrying: bool,
}

/// The start of a new branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BranchStart {
    /// The current working copy with its uncommitted changes.
    WorkingCopy,
    /// A commit, by any of its names.
    Commit(String),
    /// The same. If the branch exists, it is used as it is, but must be at that commit without uncommitted changes.
    Throwaway(String),
    /// A stash, which is not dropped.
    Stash(StashId),
}

/// `POST /v1/dots/{namespace}/{dot}/reset`. The answer is like that of a checkout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reset {
    /// The target commit, by any of its names.
    pub revision: String,
    /// Discards uncommitted changes.
    #[serde(default)]
    pub hard: bool,
    /// The state that the user saw. The reset is refused if it has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// The way to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// The result of a switch, reset, undo or redo.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Switched {
    /// The branch that is checked out now.
    pub branch: BranchName,
    /// Its head. If the dot is gone, its last head.
    pub head: CommitId,
    /// The containers that were stopped and restarted.
    pub restarted: Vec<String>,
    /// The containers that are gone, because Docker removes them when they stop.
    #[serde(default)]
    pub removed: Vec<String>,
    /// The containers that Docker Swarm replaces.
    #[serde(default)]
    pub replaced: Vec<String>,
    /// The containers that the daemon starts once their dependencies are ready. Empty if the request waits for them.
    #[serde(default)]
    pub later: Vec<String>,
    /// The containers that do not run as they should.
    #[serde(default)]
    pub problems: Vec<ContainerProblem>,
    /// For an undo or a redo: the operation that was undone or redone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The name of the dot, if the undo or the redo renamed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<DotName>,
}

/// `POST /v1/mounts`: mounts the folder of a volume for programs outside of containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MountVolume {
    /// `[NAMESPACE/]DOT[@BRANCH][.SUBDOT]`
    pub volume: String,
    /// The absolute path of an empty folder.
    pub place: String,
    /// Creates the dot and the subdot if they do not exist.
    #[serde(default)]
    pub create: bool,
}

/// A mounted volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MountedVolume {
    /// The branch that is shown.
    pub branch: BranchName,
}

/// `POST /v1/unmounts`: unmounts the volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnmountVolume {
    /// The absolute path of the folder.
    pub place: String,
}

/// `POST /v1/dots/{namespace}/{dot}/push`, `…/pull`, `…/clone` and `…/fetch-branches`. The answer has a line of JSON for each
/// [`TransferEvent`]. The transfer is cancelled if the connection is closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transfer {
    /// The other side.
    pub hub: HubLogin,
    /// The dot's name there.
    pub remote_dot: DotName,
    /// One branch. `None` means all.
    pub branch: Option<BranchName>,
    /// For pull and clone: take that branch to be at this commit of the hub. The hub's branch may be elsewhere, or
    /// not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// If the lines have diverged, keep that of the receiving side as a separate branch.
    #[serde(default)]
    pub stash_on_divergence: bool,
    /// For a push: lets branches of the hub leave their commits, if they are where this says. Otherwise such a push is
    /// refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_with_lease: Option<Lease>,
    /// Fetches the data of all commits, not only of the branches' heads.
    #[serde(default)]
    pub full: bool,
    /// For a push: sends older commits without their data if the data is not here. Otherwise such a push is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_data: bool,
    /// For a push to a public dot: also sends files that look like secrets. Otherwise such a push is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secrets: bool,
    /// For a push: what to tell the hub of the databases. `null` means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<TellRows>,
    /// The rate limit, in bytes per second.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1))]
    pub rate_limit: Option<NonZeroU64>,
}

/// `POST /v1/dots/{namespace}/{dot}/fetch`: fetches the data of commits whose records are here. The answer is like
/// that of a transfer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fetch {
    /// The hub with the data.
    pub hub: HubLogin,
    /// The commit, by any of its names.
    pub revision: String,
    /// The branch whose head `HEAD` means. `None` means the one that is checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// Also fetches the data of its ancestors.
    #[serde(default)]
    pub ancestors: bool,
    /// The rate limit, in bytes per second.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1))]
    pub rate_limit: Option<NonZeroU64>,
}

/// One line of a transfer's answer. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransferEvent {
    /// The progress so far.
    Progress(TransferProgress),
    /// The transfer succeeded.
    Done(Box<TransferOutcome>),
    /// The transfer failed. Nothing became visible on the receiving side.
    Failed(ErrorBody),
}

/// The progress of a transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransferProgress {
    /// The current activity, in a few words.
    pub phase: String,
    /// The bytes of the app's data that were processed.
    pub done: u64,
    /// The bytes of the app's data to process. 0 means unknown.
    pub total: u64,
    /// The bytes that crossed the network.
    pub wire: u64,
    /// The bytes that were not sent because the other side has them.
    #[serde(default)]
    pub deduplicated: u64,
    /// The bytes that compression saved.
    #[serde(default)]
    pub compressed: u64,
}

/// The result of a transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransferOutcome {
    /// The result for each branch.
    pub branches: Vec<BranchOutcome>,
    /// The branches that were sent with the requested ones. In a push these are the branches from which the pushed
    /// ones started. In a clone they are those that lead to the requested branch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub along: Vec<BranchOutcome>,
    /// The final progress.
    pub progress: TransferProgress,
    /// Sockets that were skipped. They are ends of connections, and have no data to store.
    #[serde(default)]
    pub sockets: SkippedSockets,
    /// The current name of the dot on the hub, if it is not the requested one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<DotName>,
    /// Other items that are left out of the newest commit, or that were left out when it was pushed.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// The number of older commits without data. A push sent them without it, because the data is not here. A fetch
    /// did not get it, because the hub does not have it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_data: u64,
    /// The number of older commits for which a push sent data that the hub lacked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filled: u64,
    /// Why such data was not sent, although the push succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_filled: Option<ErrorBody>,
    /// The result for the tags.
    #[serde(default, skip_serializing_if = "TagsOutcome::is_empty")]
    pub tags: TagsOutcome,
    /// Whether a push went to a public dot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_public: bool,
    /// What becomes of `rows` in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsOutcome>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Sockets in the data of commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SkippedSockets {
    /// Their number.
    pub count: u64,
    /// The paths of the first ones.
    pub first: Vec<String>,
}

/// The result for one branch in a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BranchOutcome {
    /// The branch.
    pub name: BranchName,
    /// Its head on the receiving side.
    pub head: CommitId,
    /// The number of commits that were added.
    pub commits: u64,
    /// Whether the receiving side had no branch of that name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_new: bool,
    /// The name under which the other line was kept, if the lines had diverged.
    pub stashed: Option<BranchName>,
    /// The head of the hub's branch before a push made it leave its commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<CommitId>,
    /// The receiving side has commits that the sending side lacks. Nothing was changed.
    pub receiver_ahead: bool,
}
