//! The errors of operations, with their codes, messages and hints.

use std::path::PathBuf;

use dotmesh_api::node::{ContainerProblem, Current};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::limits::TooMuchSaid;
use dotmesh_model::revision::RevisionError;
use dotmesh_model::{
    BranchName, CommitId, CommitPrefix, DotName, InvalidName, Namespace, StashId, UserName,
    VolumeName,
};
use dotmesh_pool::PoolError;

use crate::operations::switch::listed;
use crate::operations::watch::STARTS_LATER;

mod conversions;
mod copying;
mod words;

pub use copying::CopyError;
use words::{lost, older, short, whereabouts};

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No such dot.
    #[error("No such dot '{dot}'")]
    NoDot { dot: DotName },
    /// The name belongs to an existing dot.
    #[error("{dot} exists already")]
    DotExists { dot: DotName },
    /// A new dot would be in another user's namespace.
    #[error(
        "there is no dot {dot} here, and new dots are made in namespace {} only, not in {}",
        Namespace::DEFAULT, dot.namespace
    )]
    OtherNamespace { dot: DotName },
    /// No such branch.
    #[error("Branch does not exist: {branch}")]
    NoBranch { branch: BranchName },
    /// The name belongs to an existing branch.
    #[error("Branch already exists: {branch}")]
    BranchExists { branch: BranchName },
    /// The branch that was made for a commit has changed.
    #[error("branch {branch}, which was made for work on commit {}, has changed since", commit.short())]
    NotAsMade {
        branch: BranchName,
        commit: CommitId,
    },
    /// The tag exists, and tags never move.
    #[error("Tag already exists: {tag}, at commit {}", commit.short())]
    TagExists { tag: BranchName, commit: CommitId },
    /// No such tag.
    #[error("Tag does not exist: {tag}")]
    NoTag { tag: BranchName },
    /// There is no commit to tag before the first one.
    #[error("there is no commit to tag yet")]
    NothingToTag,
    /// No such stash.
    #[error("there is no stash {id} any more")]
    NoStash { id: StashId },
    /// There are no uncommitted changes to stash.
    #[error("there are no uncommitted changes on branch {branch} to stash")]
    NothingToStash { branch: BranchName },
    /// The stash belongs to another commit than the branch's head.
    #[error(
        "the stash was made at commit {}, and branch {branch} is at {}: Dotmesh cannot merge database files",
        stashed.short(),
        head.short()
    )]
    StashedElsewhere {
        /// Its index in the list of stashes.
        place: usize,
        stashed: CommitId,
        branch: BranchName,
        head: CommitId,
    },
    /// The path is malformed.
    #[error("'{path}' is not a path in a dot: write SUBDOT or SUBDOT/PATH")]
    BadPath { path: String },
    /// The path doesn't exist in that state.
    #[error("{state} has no {path}")]
    NoPath { path: String, state: String },
    /// There is no commit to amend before the first one.
    #[error("there is no commit to amend yet")]
    NothingToAmend,
    /// A volume name pins a branch that does not exist.
    #[error("Cannot pin branch '{branch}' of dot '{dot}': {why}")]
    CannotPin {
        dot: DotName,
        branch: BranchName,
        why: &'static str,
    },
    /// Docker asked for a volume that was not created.
    #[error("no such volume '{name}'")]
    NoVolume { name: String },
    /// A name is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A revision names no commit.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// A metadata key is not allowed.
    #[error("{0}")]
    Metadata(String),
    /// The commit has no message.
    #[error("Please provide a commit message")]
    NoMessage,
    /// The commit's record is larger than the limit.
    #[error("cannot commit: {0}")]
    TooMuchSaid(#[from] TooMuchSaid),
    /// The working copy that would be replaced has uncommitted changes.
    #[error("there are {size} of uncommitted changes on branch {branch}")]
    Dirty {
        branch: BranchName,
        size: String,
        hint: &'static str,
    },
    /// Containers use what would be replaced or deleted.
    #[error("containers are using {what}: {containers}", containers = containers.join(", "))]
    InUse {
        what: String,
        containers: Vec<String>,
    },
    /// Containers have volumes whose names pin the branch.
    #[error("containers have volumes that name branch {branch} of {dot}: {containers}", containers = containers.join(", "))]
    Pinned {
        dot: DotName,
        branch: BranchName,
        containers: Vec<String>,
    },
    /// Existing containers have volumes of the dot.
    #[error("containers have volumes of dot {dot}: {containers}", containers = containers.join(", "))]
    InVolumes {
        dot: DotName,
        containers: Vec<String>,
    },
    /// The checked-out branch cannot be deleted.
    #[error("branch {branch} is checked out")]
    CheckedOut { branch: BranchName },
    /// The deletion would lose commits or changes.
    #[error("branch {branch} has {}", lost(*commits, *dirty))]
    WouldLose {
        branch: BranchName,
        /// The number of commits that no other branch has.
        commits: usize,
        /// Uncommitted bytes.
        dirty: u64,
    },
    /// Both the branch here and the hub's have new commits.
    #[error("branch {branch} has diverged: both sides have commits that the other does not have")]
    Diverged { branch: BranchName, hint: String },
    /// A push would drop commits of the hub's branch.
    #[error("branch {branch} is behind the hub, which has commits that are not here")]
    Behind { branch: BranchName },
    /// A branch of the hub is not where the lease of a push says.
    #[error("branch {branch} is {} on the hub, and not at {expected}", found.map_or("not".to_owned(), |found| format!("at {}", found.short())))]
    LeaseBroken {
        branch: BranchName,
        expected: CommitPrefix,
        found: Option<CommitId>,
    },
    /// A push may replace only what this node knows of.
    #[error("this node does not know where branch {branch} of {hub} was, as it never fetched it")]
    NeverSeen { branch: BranchName, hub: String },
    /// The hub has no such dot, or the user may not read it.
    #[error("{hub} has no dot {dot} that {} may read", user.as_ref().map_or("everybody", UserName::as_str))]
    NoRemoteDot {
        hub: String,
        dot: String,
        /// `None` without an account.
        user: Option<UserName>,
    },
    /// The name on the hub now belongs to another dot than the one that this dot was linked to.
    #[error("{dot} on {hub} is not the dot that {local} was cloned from or pushed to: that dot {}", whereabouts(now.as_deref()))]
    AnotherDot {
        hub: String,
        dot: String,
        local: DotName,
        /// The present name of the linked dot.
        now: Option<Box<DotName>>,
    },
    /// A first push goes to a dot that shares no commit.
    #[error("{dot} on {hub} is another dot than {local}: they have no commit in common")]
    Unrelated {
        hub: String,
        dot: String,
        local: DotName,
    },
    /// The hub's dot has no such branch.
    #[error("{hub} has no branch {branch} of dot {dot}")]
    NoRemoteBranch {
        hub: String,
        dot: String,
        branch: BranchName,
    },
    /// The commit's data is on a hub only.
    #[error("the data of commit {commit} is not here, but at {hub}")]
    Absent { commit: CommitId, hub: String },
    /// The commit's data is neither here nor on the hub.
    #[error(
        "the data of commit {commit} is neither here nor at {hub}: the hub received the commit without its data"
    )]
    Nowhere { commit: CommitId, hub: String },
    /// The hub doesn't support commits without data.
    #[error("the data of {} is not here, and {hub} is too old to take commits without their data", older(*count))]
    HubTooOld { count: usize, hub: String },
    /// The commit's snapshot doesn't match its seal.
    #[error("the data of commit {commit} has changed since it was sealed")]
    Unsealed { commit: CommitId },
    /// The hub lacks the base object of a delta.
    #[error("the hub lacks objects of commits in its history")]
    DeltasRefused,
    /// A push to a public dot contains files that look like secrets.
    #[error(
        "{} is public, and files in this push look like secrets: {}{}",
        dot.full(),
        first.join(", "),
        if *count > first.len() { ", …" } else { "" }
    )]
    LooksSecret {
        dot: DotName,
        count: usize,
        first: Vec<String>,
    },
    /// There is nothing to push.
    #[error("branch {branch} has no commits to push")]
    NothingToPush { branch: BranchName },
    /// A call to the Docker Engine failed.
    #[error("Docker: {doing} failed: {message}")]
    Docker { doing: String, message: String },
    /// A switch failed and was rolled back. Everything runs as before.
    #[error("{what} failed, and the containers run on branch {branch} as before: {cause}")]
    SwitchUndone {
        what: String,
        branch: BranchName,
        cause: Box<NodeError>,
    },
    /// A switch failed, and some containers could not be started again.
    #[error(
        "{what} failed: {cause}; and starting the containers again failed too: {}",
        listed(problems)
    )]
    SwitchBroken {
        what: String,
        cause: Box<NodeError>,
        problems: Vec<ContainerProblem>,
    },
    /// A switch failed, and its rollback failed too.
    #[error("{cause}; and rolling it back failed too: {stuck}")]
    CannotUndo {
        cause: Box<NodeError>,
        stuck: Box<NodeError>,
    },
    /// Another operation holds the dot for longer than Docker waits.
    #[error("dot {dot} is being {doing}")]
    Busy { dot: DotName, doing: String },
    /// Like `Busy`, for a container that Docker is starting.
    #[error("dot {dot} is being {doing}: {STARTS_LATER}")]
    StartsLater { dot: DotName, doing: String },
    /// Docker is starting containers on the working copy that would be replaced.
    #[error("containers are being started on {dot}, with {volumes}", volumes = volumes.join(", "))]
    Starting { dot: DotName, volumes: Vec<String> },
    /// A process that belongs to no container known to Docker has the working copy mounted.
    #[error(
        "{process} has branch {branch} of {dot} mounted, and belongs to no container that Docker shows"
    )]
    Unseen {
        dot: DotName,
        branch: BranchName,
        process: String,
    },
    /// A branch has no such subdot.
    #[error("branch {branch} of {} has no folder for {volume}", volume.dot)]
    NoSubdot {
        volume: Box<VolumeName>,
        branch: BranchName,
        subdots: Vec<String>,
    },
    /// The place that the user gave cannot be mounted on.
    #[error("cannot mount at {place}: {problem}")]
    Place { place: PathBuf, problem: String },
    /// The dot is not in the state that the client expected.
    #[error("{dot} has changed since this command was given: it was on branch {} at {}, and is on branch {} at {}",
        expected.branch, expected.head.short(), now.branch, now.head.short())]
    Changed {
        dot: DotName,
        expected: Box<Current>,
        now: Box<Current>,
    },
    /// The log has no operation to undo.
    #[error("there is nothing to undo in dot {dot}")]
    NothingToUndo { dot: DotName },
    /// The log has no operation to redo.
    #[error("there is nothing to redo in dot {dot}")]
    NothingToRedo { dot: DotName },
    /// The deleted dot's name belongs to another dot now.
    #[error(
        "another dot has the name {dot} now, so the deleted one with id {id} cannot be restored"
    )]
    NameTaken { dot: DotName, id: String },
    /// There is no such deleted dot to restore.
    #[error("there is no deleted dot {dot} with id {id} to restore")]
    NotKept { dot: DotName, id: String },
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The registry failed.
    #[error("the registry failed")]
    Registry(#[source] sqlx::Error),
    /// The registry contains invalid data.
    #[error("the registry is damaged: {0}")]
    RegistryDamaged(String),
    /// A transfer failed. Contains the hub's error, if it sent one.
    #[error(transparent)]
    Transfer(#[from] ErrorBody),
    /// An import or an export failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The operation was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// The hint for a full pool.
const POOL_FULL: &str = "Nothing was lost. Delete dots with 'dm dot delete', free space on the disk below the pool, or raise dotmeshd's --pool-limit.";

impl NodeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoDot { .. }
            | Self::NoBranch { .. }
            | Self::NoTag { .. }
            | Self::NoPath { .. }
            | Self::NoStash { .. }
            | Self::NoVolume { .. }
            | Self::CannotPin { .. }
            | Self::NoSubdot { .. }
            | Self::NoRemoteDot { .. }
            | Self::NotKept { .. }
            | Self::NoRemoteBranch { .. } => ErrorCode::NotFound,
            Self::DotExists { .. }
            | Self::BranchExists { .. }
            | Self::NameTaken { .. }
            | Self::NotAsMade { .. }
            | Self::TagExists { .. } => ErrorCode::Exists,
            Self::NothingToUndo { .. } | Self::NothingToRedo { .. } => ErrorCode::Invalid,
            Self::Pool(PoolError::NotAsLeft { .. }) => ErrorCode::Changed,
            Self::Revision(RevisionError::Malformed { .. }) => ErrorCode::Invalid,
            Self::Revision(_) => ErrorCode::NotFound,
            Self::Name(_)
            | Self::OtherNamespace { .. }
            | Self::Metadata(_)
            | Self::NoMessage
            | Self::LooksSecret { .. }
            | Self::NothingToTag
            | Self::NothingToAmend
            | Self::BadPath { .. }
            | Self::NothingToStash { .. }
            | Self::NeverSeen { .. }
            | Self::NothingToPush { .. } => ErrorCode::Invalid,
            Self::AnotherDot { .. } | Self::Unrelated { .. } => ErrorCode::AnotherDot,
            Self::TooMuchSaid(_) => ErrorCode::TooLarge,
            Self::Absent { .. } | Self::Nowhere { .. } => ErrorCode::Absent,
            Self::DeltasRefused | Self::HubTooOld { .. } => ErrorCode::Incomplete,
            Self::Unsealed { .. } => ErrorCode::Corrupt,
            Self::Dirty { .. } => ErrorCode::Dirty,
            Self::InUse { .. }
            | Self::Pinned { .. }
            | Self::InVolumes { .. }
            | Self::CheckedOut { .. } => ErrorCode::InUse,
            Self::WouldLose { .. } => ErrorCode::Dirty,
            Self::Diverged { .. } | Self::StashedElsewhere { .. } => ErrorCode::Diverged,
            Self::Behind { .. } | Self::LeaseBroken { .. } => ErrorCode::Behind,
            Self::Docker { .. } => ErrorCode::Unreachable,
            Self::SwitchUndone { cause, .. }
            | Self::SwitchBroken { cause, .. }
            | Self::CannotUndo { cause, .. } => cause.code(),
            Self::Busy { .. }
            | Self::StartsLater { .. }
            | Self::Starting { .. }
            | Self::Unseen { .. } => ErrorCode::InUse,
            Self::Changed { .. } => ErrorCode::Changed,
            Self::Place { .. } => ErrorCode::Invalid,
            Self::Pool(PoolError::Full { .. } | PoolError::ReadOnly { .. }) => ErrorCode::NoSpace,
            Self::Pool(PoolError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                ErrorCode::NoSpace
            }
            Self::Pool(_) | Self::Registry(_) | Self::RegistryDamaged(_) => ErrorCode::Internal,
            Self::Transfer(error) => error.code,
            Self::Copy(error) => error.code(),
            Self::Cancelled => ErrorCode::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoDot { .. } => "List the dots with 'dm list'.",
            Self::Revision(RevisionError::Unknown { .. }) => {
                "List the commits with 'dm log --all', the branches with 'dm branch', and the tags with 'dm tag'."
            }
            Self::OtherNamespace { dot } => {
                return Some(format!(
                    "To make a new dot, leave the namespace out: '{}'. To clone that dot from a hub and keep its name: dm clone {dot} --local-name {dot}",
                    dot.name()
                ));
            }
            Self::NoBranch { .. } => {
                "List the branches with 'dm branch', or make this one with 'dm checkout -b'."
            }
            Self::NothingToUndo { .. } | Self::NotKept { .. } => {
                "'dm op log' shows what can be restored, and for how long."
            }
            Self::NothingToRedo { .. } => {
                "'dm redo' repeats what 'dm undo' took back, until the dot's next operation."
            }
            Self::NameTaken { dot, id } => {
                return Some(format!(
                    "To restore the deleted dot, first delete the other one: dm dot delete {dot}; then: dm undo --dot {dot} --deleted {}",
                    short(id)
                ));
            }
            Self::Pool(PoolError::NotAsLeft { .. }) => {
                "Nothing was changed. The dot has changed since, by something that 'dm op log' does not list."
            }
            Self::CheckedOut { .. } => "Switch to another branch first, with 'dm checkout'.",
            Self::WouldLose { branch, .. } => {
                return Some(format!("To delete it anyway: dm branch -D {branch}"));
            }
            Self::BranchExists { .. } => "Switch to it with 'dm checkout', without -b.",
            Self::NotAsMade { branch, commit } => {
                return Some(format!(
                    "To continue with it: dm checkout {branch}. To start another one: dm checkout -b NAME {}",
                    commit.short()
                ));
            }
            Self::CannotPin { .. } => {
                "Make the branch with 'dm checkout -b', or fetch it with 'dm pull'."
            }
            Self::TooMuchSaid(_) => {
                "Hubs refuse larger commits. Shorten the message or the metadata, and commit again."
            }
            Self::Dirty { hint, .. } => hint,
            Self::InUse { .. } => {
                "Stop them first, e.g. with 'docker stop' or 'docker compose stop'."
            }
            Self::Pinned { .. } => {
                "They could not start again. Remove them with 'docker rm -f', rename the branch, and create them again with the new volume names."
            }
            Self::InVolumes { .. } => {
                "They would start with an empty dot. Remove them with 'docker compose down', rename the dot, and start the app with the new volume names."
            }
            Self::Behind { .. } => {
                "Fetch them first with 'dm pull'. To take the hub's branch back to the commit here: dm push --force-with-lease"
            }
            Self::LeaseBroken { .. } => {
                "Nothing was pushed: somebody else has changed the branch. Get the hub's commits with 'dm fetch', look at them, and push again."
            }
            Self::NeverSeen { .. } => {
                "Look at it first with 'dm fetch', or name the commit that it must be at: --force-with-lease=BRANCH:ID"
            }
            Self::AnotherDot { now: Some(now), .. } => {
                return Some(format!(
                    "To continue with it, run 'dm dot set-upstream REMOTE {}', where REMOTE is your name for this hub. To push to another dot, run 'dm push --remote-name NAME'.",
                    now.full()
                ));
            }
            Self::AnotherDot { dot, .. } => {
                return Some(format!(
                    "To push to another dot, run 'dm push --remote-name NAME'. To use this one from now on, run 'dm dot set-upstream REMOTE {dot}', where REMOTE is your name for this hub."
                ));
            }
            Self::Unrelated { .. } => {
                "Push to another name with 'dm push --remote-name NAME'. To join the two, fetch the hub's branches first with 'dm pull'."
            }
            Self::NoRemoteDot { user: None, .. } => {
                "Check the name, or log in to the hub with 'dm login': the dot may be private."
            }
            Self::NoRemoteDot { .. } => {
                "Check the name, and ask the dot's owner to add you as a collaborator."
            }
            Self::Absent { .. } => {
                "Add that hub with 'dm remote add', so that the data can be fetched, or get all data with 'dm pull --full'."
            }
            Self::Nowhere { .. } => {
                "Run 'dm push' on a machine that has the data. Then run this command again."
            }
            Self::HubTooOld { .. } => {
                "Nothing was pushed. Ask the hub's administrator to upgrade it, or get the data first with 'dm pull --full' from a hub that has it."
            }
            Self::Unsealed { .. } => {
                "Nothing was pushed. The disk below the pool may be damaged: check the kernel log, and clone the dot again to get the commit."
            }
            Self::LooksSecret { .. } => {
                "Nothing was pushed. To push them anyway: dm push --allow-secrets. To leave them out, run 'dm reset' to a commit without them, and commit again."
            }
            Self::NoStash { .. } => "List the stashes with 'dm stash list'.",
            Self::StashedElsewhere { place, .. } => {
                return Some(format!(
                    "Make a branch with the stashed changes: dm stash branch NAME stash@{{{place}}}"
                ));
            }
            Self::BadPath { .. } | Self::NoPath { .. } => {
                "'dm status' lists the subdots. Symbolic links in a path are not followed."
            }
            Self::NoTag { .. } => "List the tags with 'dm tag'.",
            Self::TagExists { tag, .. } => {
                return Some(format!(
                    "Choose another name, or delete the tag first: dm tag -d {tag}"
                ));
            }
            Self::NothingToTag | Self::NothingToAmend => "Make one with 'dm commit -m MESSAGE'.",
            Self::NothingToPush { .. } => "Make one with 'dm commit'.",
            Self::Pool(PoolError::Full { .. }) => POOL_FULL,
            Self::Pool(PoolError::ReadOnly { .. }) => {
                "The disk below it was full, or failed. Free space there: the daemon then mounts the pool again and restarts its containers."
            }
            Self::Diverged { hint, .. } => hint,
            Self::SwitchUndone { cause, .. } | Self::CannotUndo { cause, .. } => {
                return cause.hint();
            }
            Self::SwitchBroken { .. } => {
                "The daemon keeps trying to start them. See 'dm list', 'docker ps -a' and 'docker logs'."
            }
            Self::Busy { .. } => "Try again when that is done.",
            Self::Starting { .. } => {
                "Run the command again once they have started: see 'docker ps'."
            }
            Self::Unseen { .. } => {
                "Check that --docker-host names the Engine that runs it, or end that process."
            }
            Self::NoSubdot { subdots, .. } => {
                return Some(format!(
                    "Its subdots are: {}. Make another one with --create.",
                    subdots.join(", ")
                ));
            }
            Self::Place { .. } => "Name an empty folder.",
            Self::Changed { .. } => {
                "Nothing was done. Check with 'dm list', and run the command again."
            }
            Self::Transfer(error) => return error.hint.clone(),
            Self::Copy(error) => return error.hint(),
            Self::Docker { .. } => "Check with 'docker info' whether the Docker Engine runs.",
            Self::Registry(_) | Self::RegistryDamaged(_) => {
                "Rebuild it from the pool with 'dotmeshd --rebuild-registry'."
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<NodeError> for ErrorBody {
    fn from(error: NodeError) -> Self {
        let code = error.code();
        let hint = error.hint();
        let moved_to = match &error {
            NodeError::AnotherDot { now, .. } => now.as_deref().cloned(),
            _ => None,
        };
        if let NodeError::Transfer(body) = error {
            return body;
        }
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        if code == ErrorCode::Internal {
            tracing::error!(%message, "an operation failed");
        }
        Self {
            code,
            message,
            hint,
            moved_to,
        }
    }
}
