//! `/api/v1/dots/{namespace}/{dot}/protected/{branch}`: branches that only move forward, and stay.

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{BranchPath, DotPath};
use crate::operations::protect_branch::protect_branch;
use crate::state::Hub;

/// Protects one, which need not exist yet.
pub async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    BranchPath(branch): BranchPath,
) -> Result<StatusCode, HubError> {
    protect_branch(&hub, &caller, &dot, &branch, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts the protection, if there is one.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    BranchPath(branch): BranchPath,
) -> Result<StatusCode, HubError> {
    protect_branch(&hub, &caller, &dot, &branch, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
