//! The wire types of a node's local API, spoken over its unix socket.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use dotmesh_model::branches::Origin;
use dotmesh_model::{
    BranchName, CodeVersion, CommitId, DotName, ImageUse, LeftOut, StashId, UserName,
};
use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;

mod content;
mod log;
mod operations;
mod stashes;
mod state;
mod tags;

pub use content::{ContentQuery, RestorePaths};
pub use log::{Log, LogQuery};
pub use operations::{DeletedDot, Operation, OperationState, Operations, Undo, UndoBudget};
pub use stashes::{ApplyStash, DropStash, MakeStash, Stash};
pub use state::{ChangeKind, ContainerStatus, Diff, DotStatus, FileChange, FileKind, SubdotStatus};
pub use tags::{DeleteTag, MakeTag, Tag, TagsOutcome};

/// `GET /v1/version`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeVersion {
    /// The daemon's version.
    pub version: String,
    /// The node's id, made with its pool.
    pub node: String,
    /// The name of its Docker volume driver, if it serves one.
    pub driver: Option<String>,
    /// The daemon's process id.
    pub pid: u32,
    /// Where it keeps everything. Earlier daemons do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Which of [`crate::network::VARIABLES`] the daemon has, or an option for the same. Earlier daemons do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Vec<String>>,
}

/// `POST /v1/dots`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateDot {
    /// The new dot.
    pub name: DotName,
}

/// `POST /v1/dots/{namespace}/{dot}/rename`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenameDot {
    /// The new name, which no dot has.
    pub to: DotName,
}

/// One row of `GET /v1/dots`: the state of the current branch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DotSummary {
    /// The dot.
    pub name: DotName,
    /// The branch that is checked out.
    pub branch: BranchName,
    /// The node's id.
    pub server: String,
    /// Names of the running containers that use that branch.
    pub containers: Vec<String>,
    /// Bytes in the working copy.
    pub size: u64,
    /// Commits from the first to the branch's head.
    pub commits: u64,
    /// Bytes changed since the head.
    pub dirty: u64,
    /// Containers that do not run as they should.
    #[serde(default)]
    pub problems: Vec<ContainerProblem>,
    /// What the branch's newest commit has and no push can carry, or had where it was made.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
}

/// One row of `GET /v1/lookalikes`: an empty dot that Docker has made, whose name is nearly that of a cloned one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookalike {
    /// The empty dot.
    pub dot: DotName,
    /// Its id on this node.
    pub id: String,
    /// The dot that was cloned.
    pub cloned: DotName,
    /// The Compose project whose volumes are the cloned dot's, if the names tell.
    pub project: Option<String>,
}

/// `GET /v1/compose?folder=PATH`: the dots of the Compose project that runs from a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeDots {
    /// The folder that was asked for, or the nearest one around it that has such a project. `None` when none has.
    pub folder: Option<PathBuf>,
    /// The dots that the project's containers use or, where they are gone, used in the newest commits.
    pub dots: Vec<DotName>,
}

/// `GET /v1/dots/{namespace}/{dot}`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DotDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: DotSummary,
    /// The dot's id on this node.
    pub id: String,
    /// Its branches, sorted by name.
    pub branches: Vec<BranchDetail>,
}

/// A branch on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BranchDetail {
    /// Its name.
    pub name: BranchName,
    /// Its newest commit.
    pub head: CommitId,
    /// Where it was started from; `None` for a dot's first branch.
    pub origin: Option<Origin>,
    /// Names of the running containers that use it.
    pub containers: Vec<String>,
}

/// Where the data of a commit can be fetched. `POST /v1/dots/{namespace}/{dot}/forget` takes one, too, and forgets which
/// dot has that name there: at the next transfer it is the one that has it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The hub's address.
    pub hub: String,
    /// The dot's name there.
    pub dot: DotName,
}

/// `POST /v1/dots/{namespace}/{dot}/commits`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateCommit {
    /// What it is.
    pub message: String,
    /// Who makes it.
    pub author: String,
    /// Free values.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The code version it is made with.
    #[serde(default)]
    pub code: Option<CodeVersion>,
    /// What the user saw. The commit is refused if that has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// Take the place of the newest commit. Its author stays, and its message if there is none here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub amend: bool,
}

/// `GET /v1/dots/{namespace}/{dot}/current`: what is checked out. Never waits for a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The branch that is checked out.
    pub branch: BranchName,
    /// Its newest commit.
    pub head: CommitId,
}

/// What a commit made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// The new commit.
    pub id: CommitId,
    /// The branch that it is the head of now.
    pub branch: BranchName,
    /// The containers that used the branch, as the commit records them.
    #[serde(default)]
    pub images: Vec<ImageUse>,
}

/// `POST /v1/dots/{namespace}/{dot}/checkout`. Answers with a line of JSON for each [`SwitchEvent`]. Closing the connection
/// does not stop it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkout {
    /// The branch to switch to.
    pub branch: BranchName,
    /// Make it first, as said.
    #[serde(default)]
    pub create: Option<BranchStart>,
    /// How to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `POST /v1/dots/{namespace}/{dot}/branches/delete`. Answers with the branch's [`BranchRemoved`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteBranch {
    /// The branch. It must not be checked out, and nothing may use it.
    pub branch: BranchName,
    /// Also when it has commits that no other branch has, or uncommitted changes.
    #[serde(default)]
    pub force: bool,
}

/// A branch that is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BranchRemoved {
    /// Its newest commit, which can still be named by its id.
    pub head: CommitId,
}

/// `POST /v1/dots/{namespace}/{dot}/branches/rename`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenameBranch {
    /// The branch. No container may have a volume with this name in its own.
    pub from: BranchName,
    /// Its new name, which no branch has.
    pub to: BranchName,
}

/// How long a switch waits for the containers that it has started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Until those with a health check are healthy; else until they are started.
    pub healthy: bool,
    /// At most so many seconds.
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

/// One line of a switch's answer. The last is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchEvent {
    /// What it waits for.
    Progress(SwitchProgress),
    /// It ended, if not with all containers running.
    Done(Switched),
    /// It failed.
    Failed(ErrorBody),
}

/// What a switch waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchProgress {
    /// In a few words.
    pub phase: String,
    /// The names of the containers.
    pub containers: Vec<String>,
}

/// A container that does not run as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProblem {
    /// Its name.
    pub container: String,
    /// What is wrong.
    pub problem: String,
    /// Whether the daemon goes on trying.
    pub retrying: bool,
}

/// What a new branch starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchStart {
    /// The current working copy, uncommitted changes included.
    WorkingCopy,
    /// A commit, by any name of one.
    Commit(String),
    /// The same. If the branch is there already, it is used, unless it is not at that commit or has uncommitted changes.
    Throwaway(String),
    /// A stash, which stays.
    Stash(StashId),
}

/// `POST /v1/dots/{namespace}/{dot}/reset`. Answers as a checkout does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reset {
    /// The commit to go back to, by any name of one.
    pub revision: String,
    /// Lose uncommitted changes.
    #[serde(default)]
    pub hard: bool,
    /// What the user saw. The reset is refused if that has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// How to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// What a switch, reset, undo or redo did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switched {
    /// The branch that is checked out now.
    pub branch: BranchName,
    /// Its head. Of a dot that is gone, the last one.
    pub head: CommitId,
    /// The containers that were stopped and started again.
    pub restarted: Vec<String>,
    /// Those that are gone, as they are removed when they stop.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Those that Docker Swarm replaces.
    #[serde(default)]
    pub replaced: Vec<String>,
    /// Those that the daemon starts once what they wait for is there. Empty for who waits.
    #[serde(default)]
    pub later: Vec<String>,
    /// Those that do not run as they should.
    #[serde(default)]
    pub problems: Vec<ContainerProblem>,
    /// For an undo or a redo: the operation that was taken back or made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// `POST /v1/mounts`: mounts the folder of a volume for programs outside of containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountVolume {
    /// `[NAMESPACE/]DOT[@BRANCH][.SUBDOT]`
    pub volume: String,
    /// Where: the absolute path of an empty folder.
    pub place: String,
    /// Create the dot and the subdot when there is none.
    #[serde(default)]
    pub create: bool,
}

/// What is mounted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountedVolume {
    /// The branch that is shown.
    pub branch: BranchName,
}

/// `POST /v1/unmounts`: takes it away again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnmountVolume {
    /// Where.
    pub place: String,
}

/// A hub, and who calls it. The secret is used for this request and not kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct HubLogin {
    /// As [`crate::HubAddress`] parses it.
    pub address: String,
    /// The account.
    pub user: UserName,
    /// API key or password.
    pub secret: String,
}

impl std::fmt::Debug for HubLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HubLogin({}@{})", self.user, self.address)
    }
}

/// `POST /v1/dots/{namespace}/{dot}/push`, `…/pull` and `…/clone`. Answers with a line of JSON for each
/// [`TransferEvent`]. Closing the connection cancels the transfer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transfer {
    /// The other side.
    pub hub: HubLogin,
    /// The dot's name there.
    pub remote_dot: DotName,
    /// One branch, or all of them.
    pub branch: Option<BranchName>,
    /// For pull and clone: take that branch to be at this commit of the hub's, wherever the hub has it and whether it
    /// has it or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// When both lines have gone on, keep the receiving side's as a branch of its own.
    #[serde(default)]
    pub stash_on_divergence: bool,
    /// Fetch the data of every commit, not only of the branches' heads.
    #[serde(default)]
    pub full: bool,
    /// For a push: older commits whose data is not here go without it. If not, the push is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_data: bool,
    /// For a push to a public dot: files that look like secrets go, too. If not, the push is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secrets: bool,
    /// At most so many bytes a second.
    #[serde(default)]
    pub rate_limit: Option<NonZeroU64>,
}

/// `POST /v1/dots/{namespace}/{dot}/fetch`: gets the data of commits that are known here. Answers as a transfer does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fetch {
    /// The hub that has it.
    pub hub: HubLogin,
    /// The commit, by any name of one.
    pub revision: String,
    /// Its ancestors' too.
    #[serde(default)]
    pub ancestors: bool,
    /// At most so many bytes a second.
    #[serde(default)]
    pub rate_limit: Option<NonZeroU64>,
}

/// One line of a transfer's answer. The last is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferEvent {
    /// How far it is.
    Progress(TransferProgress),
    /// It ended well.
    Done(Box<TransferOutcome>),
    /// It failed; nothing became visible on the receiving side.
    Failed(ErrorBody),
}

/// How far a transfer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferProgress {
    /// What is being done, in a few words.
    pub phase: String,
    /// Bytes of the app's data dealt with.
    pub done: u64,
    /// Bytes of the app's data to deal with; 0 while unknown.
    pub total: u64,
    /// Bytes that crossed the network.
    pub wire: u64,
    /// Bytes that did not have to, since the other side has them.
    #[serde(default)]
    pub deduplicated: u64,
    /// Bytes by which compression made the rest smaller.
    #[serde(default)]
    pub compressed: u64,
}

/// What a transfer did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOutcome {
    /// A line for each branch, for people.
    pub branches: Vec<BranchOutcome>,
    /// The branches that went along: in a push those that the pushed ones were started from, in a clone those that lead to
    /// the one that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub along: Vec<BranchOutcome>,
    /// The numbers at the end.
    pub progress: TransferProgress,
    /// Sockets that were passed over: they are ends of connections and hold nothing to keep.
    #[serde(default)]
    pub sockets: SkippedSockets,
    /// What the dot on the hub is called, where that is not the name that it was asked for by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<DotName>,
    /// What else is left out of the newest commit, or was when it was pushed.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// How many older commits went without their data, since it is not here; or were to come with it, and the hub does not
    /// have it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_data: u64,
    /// Of how many older commits the data was sent that the hub did not have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filled: u64,
    /// Why such data was not sent, although the push is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_filled: Option<ErrorBody>,
    /// What became of the tags.
    #[serde(default, skip_serializing_if = "TagsOutcome::is_empty")]
    pub tags: TagsOutcome,
    /// Whether a push went to a dot that everybody may read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_public: bool,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Sockets in the data of commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedSockets {
    /// How many.
    pub count: u64,
    /// The paths of the first few.
    pub first: Vec<String>,
}

/// What became of one branch in a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchOutcome {
    /// The branch.
    pub name: BranchName,
    /// Its head on the receiving side.
    pub head: CommitId,
    /// How many commits were added.
    pub commits: u64,
    /// Whether the receiving side had no branch of that name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_new: bool,
    /// Where the other line was kept, if they had diverged.
    pub stashed: Option<BranchName>,
    /// The receiving side has commits that the sending side has not; nothing was changed.
    pub receiver_ahead: bool,
}
