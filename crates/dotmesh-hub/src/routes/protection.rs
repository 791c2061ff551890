//! `/api/v1/dots/{namespace}/{dot}/protected/{branch}`: branches that only move forward, and stay.

use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::protect_branch::protect_branch;

use crate::error::HttpError;
use crate::extract::{BranchPath, DotPath};
use crate::openapi::OfChange;

/// Protects a branch, which need not exist yet.
///
/// For maintainers. A protected branch accepts only fast-forward pushes, and cannot be deleted.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/protected/{branch}",
    operation_id = "protect_branch",
    tag = "branches",
    params(DotPath, BranchPath),
    responses((status = 204, description = "It is protected."), OfChange),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    BranchPath(branch): BranchPath,
) -> Result<StatusCode, HttpError> {
    protect_branch(&hub, &caller, &dot, &branch, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts the protection of a branch, if there is any.
///
/// For maintainers.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/protected/{branch}",
    operation_id = "unprotect_branch",
    tag = "branches",
    params(DotPath, BranchPath),
    responses((status = 204, description = "It is not protected."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    BranchPath(branch): BranchPath,
) -> Result<StatusCode, HttpError> {
    protect_branch(&hub, &caller, &dot, &branch, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
