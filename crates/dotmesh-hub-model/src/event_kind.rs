//! The kinds of events: what can happen on a hub.

use dotmesh_api::hub::Access;
use dotmesh_model::{BranchName, CommitId, DotName, UserName};
use serde::{Deserialize, Serialize};

use crate::access::{EventClass, Forks};

/// The kind of an event, with its details. Stored as JSON, with its tag also in a column of its own. Old entries must
/// stay readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// Branches were pushed.
    Push {
        /// The branches with a new head.
        branches: Vec<PushedBranch>,
        /// How many commits were new.
        commits: u64,
        /// How many commits the hub had without their data, which this push brought.
        #[serde(default, skip_serializing_if = "is_zero")]
        filled: u64,
    },
    /// A branch was made on the hub.
    CreateBranch { branch: BranchName, head: CommitId },
    /// A branch was deleted.
    DeleteBranch { branch: BranchName, head: CommitId },
    /// A tag was made.
    CreateTag { tag: BranchName, commit: CommitId },
    /// A tag was deleted.
    DeleteTag { tag: BranchName, commit: CommitId },
    /// Someone wrote a note on a commit or a branch.
    Note {
        commit: Option<CommitId>,
        branch: Option<BranchName>,
    },
    /// Someone was granted access, or other access than before.
    Grant { user: UserName, access: Access },
    /// Someone's access was revoked.
    Revoke { user: UserName },
    /// A dot's description was changed.
    Describe,
    /// Another branch became the default branch.
    DefaultBranch { branch: BranchName },
    /// A dot was made public.
    Publish,
    /// A public dot was made private.
    Unpublish,
    /// The rule for who may fork a private dot was changed.
    AllowForks { forks: Forks },
    /// A dot got another name.
    Rename { from: DotName },
    /// A dot was offered to another user.
    Offer { user: UserName },
    /// A dot was transferred to another user.
    Transfer { from: DotName },
    /// A dot was forked from another.
    Fork { from: DotName },
    /// A dot was deleted.
    DeleteDot,
    /// A deleted dot was restored.
    RestoreDot,
    /// A branch became protected, or no longer is.
    Protect { branch: BranchName, protected: bool },
    /// A webhook was made. The event has only its number, because addresses can be secrets.
    CreateWebhook { webhook: i64 },
    /// A webhook was changed, switched on or off, or got another secret.
    ChangeWebhook { webhook: i64 },
    /// A webhook was deleted.
    DeleteWebhook { webhook: i64 },
    /// A test delivery was sent to a webhook.
    PingWebhook { webhook: i64 },
    /// Someone made an account for themselves.
    SignUp,
    /// An account was made for someone.
    AddUser { user: UserName },
    /// An account was removed.
    RemoveUser { user: UserName },
    /// Someone became an administrator, or no longer is one.
    Administrator { user: UserName, is_admin: bool },
    /// Someone was suspended, or the suspension was lifted.
    Suspend { user: UserName, is_suspended: bool },
    /// Someone's quota was changed: to `default`, `none`, or a number of bytes.
    Quota { user: UserName, quota: String },
    /// An invitation was made.
    Invite,
    /// A link to set someone's password was made.
    ResetPassword { user: UserName },
    /// An API key was made.
    CreateKey {
        name: String,
        scope: String,
        /// The key's owner, if not the actor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
    },
    /// An API key was revoked.
    RevokeKey { name: String },
    /// All API keys of someone were revoked.
    RevokeKeys { user: UserName },
    /// A password was set.
    Password {
        /// The user whose password it is, if not the actor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
    },
}

impl EventKind {
    /// Returns the class of the event, which decides which readers of the dot are told of it.
    pub fn class(&self) -> EventClass {
        match self {
            Self::Rename { .. } | Self::Transfer { .. } => EventClass::FormerName,
            Self::Fork { .. } => EventClass::Origin,
            Self::Grant { .. }
            | Self::AllowForks { .. }
            | Self::Revoke { .. }
            | Self::Offer { .. }
            | Self::CreateWebhook { .. }
            | Self::ChangeWebhook { .. }
            | Self::DeleteWebhook { .. }
            | Self::PingWebhook { .. } => EventClass::Administration,
            Self::Push { .. }
            | Self::CreateBranch { .. }
            | Self::DeleteBranch { .. }
            | Self::CreateTag { .. }
            | Self::DeleteTag { .. }
            | Self::Note { .. }
            | Self::Describe
            | Self::DefaultBranch { .. }
            | Self::Publish
            | Self::Unpublish
            | Self::DeleteDot
            | Self::RestoreDot
            | Self::Protect { .. }
            // These concern no dot.
            | Self::SignUp
            | Self::AddUser { .. }
            | Self::RemoveUser { .. }
            | Self::Administrator { .. }
            | Self::Suspend { .. }
            | Self::Quota { .. }
            | Self::Invite
            | Self::ResetPassword { .. }
            | Self::CreateKey { .. }
            | Self::RevokeKey { .. }
            | Self::RevokeKeys { .. }
            | Self::Password { .. } => EventClass::Content,
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A branch that a push has created or updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedBranch {
    pub name: BranchName,
    /// Its new head.
    pub head: CommitId,
    /// Whether the push created it.
    pub is_new: bool,
    /// The head before, if the push made the branch leave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<CommitId>,
}
