//! `/api/v1/dots/{namespace}/{dot}/branches/{branch}`: branches that are made and deleted on the hub.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::CreateBranch;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::{create_branch, delete_branch};

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{BranchPath, DotPath, parse_json, read_body};
use crate::openapi::OfChange;

/// Creates a branch.
///
/// For users who may push.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/branches/{branch}",
    operation_id = "create_branch",
    tag = "branches",
    params(DotPath, BranchPath),
    request_body = CreateBranch,
    responses((status = 201, description = "It is created."), OfChange),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    BranchPath(branch): BranchPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let CreateBranch { at } = parse_json(&body)?;
    create_branch::create_branch(&hub, &caller, &dot, branch, &at).await?;
    Ok(StatusCode::CREATED)
}

/// Deletes a branch.
///
/// For maintainers. Neither the default branch nor a protected one can be deleted.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/branches/{branch}",
    operation_id = "delete_branch",
    tag = "branches",
    params(DotPath, BranchPath),
    responses((status = 204, description = "It is deleted."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    BranchPath(branch): BranchPath,
) -> Result<StatusCode, HttpError> {
    delete_branch::delete_branch(&hub, &caller, &dot, branch).await?;
    Ok(StatusCode::NO_CONTENT)
}
