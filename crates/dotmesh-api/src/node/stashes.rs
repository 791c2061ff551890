//! Stashes: working copies of a dot that were put aside.

use dotmesh_model::{BranchName, CommitId, StashId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Current, Wait};

/// A stash. `GET /v1/dots/{namespace}/{dot}/stashes` is a list of them, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stash {
    /// Its id.
    pub id: StashId,
    /// The branch that it was made on.
    pub branch: BranchName,
    /// The commit that it has changes against.
    pub head: CommitId,
    /// The title of that commit; empty for the state before the first one.
    pub title: String,
    /// What it is, in the words of who made it; may be empty.
    #[serde(default)]
    pub message: String,
    /// When it was made.
    pub time: Timestamp,
}

/// `POST /v1/dots/{namespace}/{dot}/stashes`: puts the uncommitted changes aside. Answers as a checkout does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeStash {
    /// What it is.
    #[serde(default)]
    pub message: String,
    /// What the user saw. It is refused if that has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// How to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `POST /v1/dots/{namespace}/{dot}/stashes/apply`: brings the changes back to the current branch. Answers as a checkout does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplyStash {
    /// The stash. It must have been made at the commit that is the head now.
    pub id: StashId,
    /// Drop it when its changes are back.
    #[serde(default)]
    pub pop: bool,
    /// What the user saw. It is refused if that has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// How to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `POST /v1/dots/{namespace}/{dot}/stashes/drop`. Answers with the [`Stash`] that is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DropStash {
    /// The stash.
    pub id: StashId,
}
