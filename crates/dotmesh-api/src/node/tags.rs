//! Tags of a dot on a node: names for single commits.

use dotmesh_model::{BranchName, CommitId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A tag. `GET /v1/dots/{namespace}/{dot}/tags` is a list of them, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tag {
    /// Its name.
    pub name: BranchName,
    /// The commit.
    pub commit: CommitId,
    /// The tag's message, or empty.
    #[serde(default)]
    pub message: String,
    /// When it was made.
    pub time: Timestamp,
}

/// `POST /v1/dots/{namespace}/{dot}/tags`. The answer is the [`Tag`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MakeTag {
    /// Its name, which no tag and no branch has.
    pub name: BranchName,
    /// The commit, by any of its names.
    pub revision: String,
    /// The tag's message, or empty.
    #[serde(default)]
    pub message: String,
}

/// `POST /v1/dots/{namespace}/{dot}/tags/delete`. The answer is the deleted [`Tag`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeleteTag {
    /// Its name.
    pub name: BranchName,
}

/// The result for the tags in a transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TagsOutcome {
    /// The tags that the receiving side did not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<BranchName>,
    /// The tags that the two sides have at different commits. None was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<BranchName>,
    /// Why the other tags were not transferred, although the branches were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<crate::ErrorBody>,
}

impl TagsOutcome {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
