//! The history of a dot, for `dm log`.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_model::{BranchName, CommitId, CommitRecord, LeftOut};
use serde::{Deserialize, Serialize};

use super::Source;

/// The query of `GET /v1/dots/{namespace}/{dot}/commits`: the selected commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct LogQuery {
    /// This commit and its ancestors, by any of its names. `None` means the head of the current branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Also the heads of all branches, all tags, and their ancestors.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Only commits made at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
    /// Only commits that changed this subdot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdot: Option<String>,
    /// The most commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl LogQuery {
    /// A commit and all its ancestors. `None` means the head of the current branch.
    pub fn from(revision: Option<&str>) -> Self {
        Self {
            revision: revision.map(str::to_owned),
            ..Self::default()
        }
    }

    /// One commit.
    pub fn one(revision: Option<&str>) -> Self {
        Self {
            limit: Some(1),
            ..Self::from(revision)
        }
    }
}

/// `GET /v1/dots/{namespace}/{dot}/commits`, with a [`LogQuery`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Log {
    /// The records. No commit comes before its descendants. Otherwise the newest comes first.
    pub commits: Vec<CommitRecord>,
    /// For each commit whose parent is not in the list: its nearest ancestor in the list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ancestors: BTreeMap<CommitId, CommitId>,
    /// The branches to show next to the commits: each with its head.
    pub branches: BTreeMap<BranchName, CommitId>,
    /// The tags to show next to the commits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<BranchName, CommitId>,
    /// The branch that is checked out.
    pub current: BranchName,
    /// The commits whose data is not on this node, and where it is.
    #[serde(default)]
    pub absent: BTreeMap<CommitId, Source>,
    /// The commits of `absent` whose data the hub lacks, too, as far as it has said so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without_data: BTreeSet<CommitId>,
    /// The commits that cannot be sent completely, with the first items that are left out.
    #[serde(default)]
    pub left_out: BTreeMap<CommitId, LeftOut>,
    /// The number of commits that may have changed the requested subdot. Their data, or that of their parents, is not on
    /// this node.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unknown: u64,
}
