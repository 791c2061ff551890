//! Routes that create, read, rename and delete dots.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::node::{CreateDot, DotDetail, DotSummary, RenameDot};

use super::extract::{AtPath, Body, DotPath};
use super::openapi::Problems;
use super::{Answer, ApiError};
use crate::node::Node;
use crate::operations::{create_dot, delete_dot, list, rename_dot, show, to_the_end};

/// Lists the dots.
#[utoipa::path(
    get,
    path = "/v1/dots",
    operation_id = "list_dots",
    tag = "dots",
    responses((status = 200, description = "The dots, sorted by the name that `dm` shows.", body = Vec<DotSummary>), Problems),
)]
pub(super) async fn get_dots(State(node): State<Node>) -> Answer<Vec<DotSummary>> {
    Ok(Json(list::list(&node).await?))
}

/// Creates an empty dot, on branch `master`.
#[utoipa::path(
    post,
    path = "/v1/dots",
    operation_id = "create_dot",
    tag = "dots",
    request_body = CreateDot,
    responses((status = 200, description = "The new dot.", body = DotDetail), Problems),
)]
pub(crate) async fn post_dots(
    State(node): State<Node>,
    Body(body): Body<CreateDot>,
) -> Answer<DotDetail> {
    let create = async move {
        create_dot::create_dot(&node, &body.name).await?;
        show::show(&node, &body.name).await
    };
    Ok(Json(to_the_end(create).await?))
}

/// Shows a dot and its branches.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}",
    operation_id = "get_dot",
    tag = "dots",
    params(AtPath),
    responses((status = 200, description = "The dot.", body = DotDetail), Problems),
)]
pub(super) async fn get_dot(State(node): State<Node>, AtPath(at): AtPath) -> Answer<DotDetail> {
    Ok(Json(show::show(&node, at).await?))
}

/// Deletes a dot with all its branches and commits.
///
/// Refused while containers use it. An undo restores it.
#[utoipa::path(
    delete,
    path = "/v1/dots/{namespace}/{dot}",
    operation_id = "delete_dot",
    tag = "dots",
    params(DotPath),
    responses((status = 204, description = "It is deleted."), Problems),
)]
pub(super) async fn delete_one_dot(
    State(node): State<Node>,
    DotPath(name): DotPath,
) -> Result<StatusCode, ApiError> {
    to_the_end(async move { delete_dot::delete_dot(&node, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renames a dot.
///
/// Refused while containers use it.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/rename",
    operation_id = "rename_dot",
    tag = "dots",
    params(DotPath),
    request_body = RenameDot,
    responses((status = 204, description = "It is renamed."), Problems),
)]
pub(super) async fn post_rename(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<RenameDot>,
) -> Result<StatusCode, ApiError> {
    to_the_end(async move { rename_dot::rename_dot(&node, &name, &body.to).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
