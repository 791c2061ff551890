//! Long operations that run, to which clients can attach again.

use dotmesh_model::DotName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The header of an answer with events that has the id of the operation.
pub const OPERATION_HEADER: &str = "dotmesh-operation";

/// `GET /v1/operations`: an operation that runs or ended a short time ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunningOperation {
    /// Its id, which the header `dotmesh-operation` of the first answer has, too.
    pub id: String,
    /// The route that began it.
    pub kind: OperationKind,
    /// The dot.
    pub dot: DotName,
    /// When it began.
    pub since: Timestamp,
    /// Whether it has ended. Its last event is kept for ten minutes.
    pub done: bool,
}

/// The kind of an operation: the last part of the route that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Sends commits to a hub.
    Push,
    /// Fetches commits from a hub, and updates the branches.
    Pull,
    /// Copies a hub's dot.
    Clone,
    /// Fetches the data of commits.
    Fetch,
    /// Fetches the commits of a hub's branches.
    FetchBranches,
    /// Switches to a branch.
    Checkout,
    /// Sets the current branch to a commit.
    Reset,
    /// Restores files.
    Restore,
    /// Stashes changes.
    Stash,
    /// Applies a stash.
    ApplyStash,
    /// Undoes an operation.
    Undo,
    /// Redoes an operation.
    Redo,
}

impl OperationKind {
    /// Whether a client can stop it. The others change the working copy, and go on to their end.
    pub fn can_stop(self) -> bool {
        match self {
            Self::Push | Self::Pull | Self::Clone | Self::Fetch | Self::FetchBranches => true,
            Self::Checkout
            | Self::Reset
            | Self::Restore
            | Self::Stash
            | Self::ApplyStash
            | Self::Undo
            | Self::Redo => false,
        }
    }
}
