//! Tags of a dot on a node: names for single commits.

use dotmesh_model::{BranchName, CommitId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A tag. `GET /v1/dots/{namespace}/{dot}/tags` is a list of them, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its name.
    pub name: BranchName,
    /// The commit.
    pub commit: CommitId,
    /// What it is for; may be empty.
    #[serde(default)]
    pub message: String,
    /// When it was made.
    pub time: Timestamp,
}

/// `POST /v1/dots/{namespace}/{dot}/tags`. Answers with the [`Tag`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeTag {
    /// Its name, which no tag and no branch has.
    pub name: BranchName,
    /// The commit, by any name of one.
    pub revision: String,
    /// What it is for.
    #[serde(default)]
    pub message: String,
}

/// `POST /v1/dots/{namespace}/{dot}/tags/delete`. Answers with the [`Tag`] that is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteTag {
    /// Its name.
    pub name: BranchName,
}

/// What became of the tags in a transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsOutcome {
    /// Those that the receiving side did not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<BranchName>,
    /// Those that both sides have at different commits. None was moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<BranchName>,
    /// Why the others did not go along, although the branches did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<crate::ErrorBody>,
}

impl TagsOutcome {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
