//! The condition of a push that replaces commits of a hub.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::{BranchName, CommitPrefix};
use serde::{Deserialize, Serialize};

/// Where a branch of the hub must be for a push that makes it leave its commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// Where the node last saw it, whichever branch it is.
    LastSeen,
    /// This branch at this commit. Other branches of the push leave no commits.
    At {
        /// The branch.
        branch: BranchName,
        /// Its head on the hub.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        commit: CommitPrefix,
    },
}

impl FromStr for Lease {
    type Err = String;
    /// Reads `BRANCH:ID`, or nothing for the last one seen.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::LastSeen);
        }
        let Some((branch, commit)) = text.split_once(':') else {
            return Err("give the branch and the commit that it must be at: BRANCH:ID".to_owned());
        };
        Ok(Self::At {
            branch: branch.parse().map_err(|error| format!("{error}"))?,
            commit: commit.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastSeen => Ok(()),
            Self::At { branch, commit } => write!(f, "{branch}:{commit}"),
        }
    }
}
