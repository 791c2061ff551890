//! The history of a dot, as `dm log` asks for it and shows it.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_model::{BranchName, CommitId, CommitRecord, LeftOut};
use serde::{Deserialize, Serialize};

use super::Source;

/// The query of `GET /v1/dots/{namespace}/{dot}/commits`: which commits to tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// This commit and what led to it, by any name of one. Without it, the head of the current branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What leads to any branch or tag, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Only those that were made at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
    /// Only those that changed this subdot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdot: Option<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl LogQuery {
    /// A commit and all that led to it; without a name, the head of the current branch.
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
pub struct Log {
    /// The records: no commit comes before one that it led to, and else the newest comes first.
    pub commits: Vec<CommitRecord>,
    /// The commits whose parent is not told of, and the nearest ancestor that is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ancestors: BTreeMap<CommitId, CommitId>,
    /// Names to show beside a commit: branches whose head it is.
    pub branches: BTreeMap<BranchName, CommitId>,
    /// The same: tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<BranchName, CommitId>,
    /// The branch that is checked out.
    pub current: BranchName,
    /// Those of the commits whose data is not here, and where it is.
    #[serde(default)]
    pub absent: BTreeMap<CommitId, Source>,
    /// Those of `absent` that the hub has without their data, too, as far as it told.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without_data: BTreeSet<CommitId>,
    /// Those of the commits that cannot travel as a whole, and the first few things that stay.
    #[serde(default)]
    pub left_out: BTreeMap<CommitId, LeftOut>,
    /// How many commits may have changed the subdot that was asked for: their data, or that of their parents, is not here.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unknown: u64,
}
