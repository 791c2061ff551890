//! The origin of a branch, and generated branch names.

use serde::{Deserialize, Serialize};

use crate::ids::CommitId;
use crate::names::BranchName;

/// The longest generated name, in bytes. Earlier versions do not take longer names.
const MAX_LENGTH: usize = 64;

/// The start of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// The branch that was checked out then.
    pub branch: BranchName,
    /// The last commit they share.
    pub commit: CommitId,
}

/// The name under which the other line of a diverged branch is kept: `master-DIVERGED-2026-01-31T12-00-00Z`.
///
/// A long branch name is shortened, so that the result is a valid name, too.
pub fn diverged_name(branch: &BranchName, now: jiff::Timestamp) -> BranchName {
    let stamp = now.strftime("-DIVERGED-%Y-%m-%dT%H-%M-%SZ").to_string();
    let name = branch.as_str();
    let end = name.floor_char_boundary(MAX_LENGTH - stamp.len());
    let name = name[..end].trim_end_matches(['/', '.']);
    format!("{name}{stamp}")
        .parse()
        .expect("the beginning of a name, and a stamp of letters, digits and dashes")
}
