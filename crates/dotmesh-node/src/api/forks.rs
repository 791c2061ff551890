//! Routes of forks: copies of an app that run side by side.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::node::{DeleteFork, Fork, ForkQuery, MakeFork, StopFork};

use super::extract::{AtPath, Body, DotPath, Query};
use super::openapi::Problems;
use super::{Answer, ApiError};
use crate::node::Node;
use crate::operations::{forks, to_the_end};

/// Lists the forks of all dots.
#[utoipa::path(
    get,
    path = "/v1/forks",
    operation_id = "list_forks",
    tag = "forks",
    responses((status = 200, description = "The forks, sorted by dot and branch.", body = Vec<Fork>), Problems),
)]
pub(super) async fn get_forks(State(node): State<Node>) -> Answer<Vec<Fork>> {
    Ok(Json(forks::list(&node).await?))
}

/// Shows a fork, with the configuration that Compose got for it.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/forks/one",
    operation_id = "get_fork",
    tag = "forks",
    params(DotPath, ForkQuery),
    responses((status = 200, description = "The fork.", body = Fork), Problems),
)]
pub(super) async fn get_fork(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Query(query): Query<ForkQuery>,
) -> Answer<Fork> {
    Ok(Json(forks::one(&node, &name, &query.fork).await?))
}

/// Makes a fork, or updates it.
///
/// The branch is made at one instant of all subdots, also with uncommitted changes, while containers run. The node chooses
/// free ports and remembers them. It starts no containers: they pin their volumes to the branch, and have the label
/// `dotmesh.fork` with the value `NAMESPACE/DOT@BRANCH`, where the branch is spelled as in the name of a volume.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/forks",
    operation_id = "make_fork",
    tag = "forks",
    params(AtPath),
    request_body = MakeFork,
    responses((status = 200, description = "The fork.", body = Fork), Problems),
)]
pub(super) async fn post_forks(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<MakeFork>,
) -> Answer<Fork> {
    let make = async move { forks::make(&node, at, body).await };
    Ok(Json(to_the_end(make).await?))
}

/// Stops the containers of a fork.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/forks/stop",
    operation_id = "stop_fork",
    tag = "forks",
    params(DotPath),
    request_body = StopFork,
    responses((status = 200, description = "The fork.", body = Fork), Problems),
)]
pub(super) async fn post_forks_stop(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<StopFork>,
) -> Answer<Fork> {
    let stop = async move { forks::stop(&node, &name, &body.branch).await };
    Ok(Json(to_the_end(stop).await?))
}

/// Forgets a fork whose containers were removed, and deletes its branch. `undo` brings the branch back.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/forks/delete",
    operation_id = "delete_fork",
    tag = "forks",
    params(DotPath),
    request_body = DeleteFork,
    responses((status = 204, description = "It is forgotten."), Problems),
)]
pub(super) async fn post_forks_delete(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<DeleteFork>,
) -> Result<StatusCode, ApiError> {
    to_the_end(async move { forks::delete(&node, &name, &body).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
