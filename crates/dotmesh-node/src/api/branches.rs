//! Routes that delete and rename branches.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::node::{BranchRemoved, DeleteBranch, RenameBranch};

use super::extract::{Body, DotPath};
use super::openapi::Problems;
use super::{Answer, ApiError};
use crate::node::Node;
use crate::operations::{delete_branch, rename_branch, to_the_end};

/// Deletes a branch.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/branches/delete",
    operation_id = "delete_branch",
    tag = "branches",
    params(DotPath),
    request_body = DeleteBranch,
    responses((status = 200, description = "It is deleted.", body = BranchRemoved), Problems),
)]
pub(super) async fn post_branches_delete(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<DeleteBranch>,
) -> Answer<BranchRemoved> {
    let DeleteBranch { branch, force } = body;
    let delete = async move { delete_branch::delete_branch(&node, &name, &branch, force).await };
    let head = to_the_end(delete).await?;
    Ok(Json(BranchRemoved { head }))
}

/// Renames a branch.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/branches/rename",
    operation_id = "rename_branch",
    tag = "branches",
    params(DotPath),
    request_body = RenameBranch,
    responses((status = 204, description = "It is renamed."), Problems),
)]
pub(super) async fn post_branches_rename(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<RenameBranch>,
) -> Result<StatusCode, ApiError> {
    let rename = async move { rename_branch::rename_branch(&node, &name, &body).await };
    to_the_end(rename).await?;
    Ok(StatusCode::NO_CONTENT)
}
