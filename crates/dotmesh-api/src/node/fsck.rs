//! A check of all that a node keeps.

use dotmesh_model::DotName;
use serde::{Deserialize, Serialize};

use super::TransferProgress;
use crate::error::ErrorBody;

/// `POST /v1/fsck`: compares the registry with the pool, and checks records and seals. Nothing is changed. The answer has a
/// line of JSON for each [`FsckEvent`]. The check ends if the connection is closed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fsck {
    /// Also reads every byte of every commit.
    #[serde(default)]
    pub data: bool,
}

/// One line of the answer. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FsckEvent {
    /// The progress so far.
    Progress(TransferProgress),
    /// Everything was checked.
    Done(FsckReport),
    /// The check could not be completed.
    Failed(ErrorBody),
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FsckReport {
    /// The number of dots.
    pub dots: u64,
    /// The number of commits with data.
    pub commits: u64,
    /// The number of commits whose data was read and was as it was when it was sealed.
    pub verified: u64,
    /// The number of commits whose data was read, and that were never sealed.
    pub read: u64,
    /// What is wrong.
    pub problems: Vec<FsckProblem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FsckProblem {
    /// The dot.
    pub dot: DotName,
    /// What kind of problem it is.
    pub kind: FsckKind,
    /// A description.
    pub problem: String,
}

/// The kinds of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FsckKind {
    /// The registry differs from the pool.
    Registry,
    /// A folder or a file of the pool is missing, cannot be read, or belongs nowhere.
    Pool,
    /// A commit's record or seal is wrong.
    Record,
    /// A commit's data is not what it was.
    Data,
}
