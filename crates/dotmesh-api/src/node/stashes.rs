//! Stashes: working copies of a dot that were put aside.

use dotmesh_model::{BranchName, CommitId, StashId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Current, Wait};

/// A stash. `GET /v1/dots/{namespace}/{dot}/stashes` is a list of them, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stash {
    /// Its id.
    pub id: StashId,
    /// The branch on which it was made.
    pub branch: BranchName,
    /// The commit to which its changes apply.
    pub head: CommitId,
    /// The title of that commit. Empty before the first commit.
    pub title: String,
    /// The user's description, or empty.
    #[serde(default)]
    pub message: String,
    /// When it was made.
    pub time: Timestamp,
}

/// `POST /v1/dots/{namespace}/{dot}/stashes`: stashes the uncommitted changes. The answer is like that of a
/// checkout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MakeStash {
    /// The user's description, or empty.
    #[serde(default)]
    pub message: String,
    /// The state that the user saw. The request is refused if it has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// The way to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `POST /v1/dots/{namespace}/{dot}/stashes/apply`: applies the changes to the current branch. The answer is
/// like that of a checkout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApplyStash {
    /// The stash. It must have been made at the commit that is the head now.
    pub id: StashId,
    /// Drops the stash after that.
    #[serde(default)]
    pub pop: bool,
    /// Replaces uncommitted changes, which an undo brings back.
    #[serde(default)]
    pub force: bool,
    /// The state that the user saw. The request is refused if it has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// The way to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `POST /v1/dots/{namespace}/{dot}/stashes/drop`. The answer is the dropped [`Stash`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DropStash {
    /// The stash.
    pub id: StashId,
}
