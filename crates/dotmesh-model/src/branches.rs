//! What is known of a branch besides its working copy, and the names that are made up for branches.

use serde::{Deserialize, Serialize};

use crate::ids::CommitId;
use crate::names::{BranchName, MAX_NAME_LENGTH};

/// Where a branch was started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The branch that was checked out then.
    pub branch: BranchName,
    /// The last commit they share.
    pub commit: CommitId,
}

/// The name for the other line of a diverged branch: `master-DIVERGED-2026-01-31T12-00-00Z`.
///
/// A long branch name is cut, so that the result is a name in its turn.
pub fn diverged_name(branch: &BranchName, now: jiff::Timestamp) -> BranchName {
    let stamp = now.strftime("-DIVERGED-%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut name = branch.as_str().to_owned();
    name.truncate(MAX_NAME_LENGTH - stamp.len());
    (name + &stamp)
        .parse()
        .expect("a cut name with a stamp of letters, digits and dashes")
}
