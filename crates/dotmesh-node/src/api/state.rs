//! Routes that read, compare and replace the working copy of a dot.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use dotmesh_api::node::{
    Checkout, ContentQuery, Current, Diff, DotStatus, Reset, RestorePaths, SwitchEvent,
    SwitchProgress,
};
use tokio::sync::watch;

use super::extract::{AtPath, Body, Query};
use super::openapi::{Binary, EVENTS, Problems};
use super::{Answer, ApiError};
use crate::events;
use crate::node::Node;
use crate::operations::{checkout, copy_out, diff, reset, restore, status};

/// Shows the current branch.
///
/// Never waits for a switch that is under way.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/current",
    operation_id = "get_current",
    tag = "state",
    params(AtPath),
    responses((status = 200, description = "The branch and its head.", body = Current), Problems),
)]
pub(super) async fn get_current(State(node): State<Node>, AtPath(at): AtPath) -> Answer<Current> {
    let found = node.view(&at).await?;
    let head = found.head()?;
    let branch = found.here;
    Ok(Json(Current { branch, head }))
}

/// Shows the current branch, its changes since the head, and the containers that use the dot.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/status",
    operation_id = "get_status",
    tag = "state",
    params(AtPath),
    responses((status = 200, description = "The status.", body = DotStatus), Problems),
)]
pub(super) async fn get_status(State(node): State<Node>, AtPath(at): AtPath) -> Answer<DotStatus> {
    Ok(Json(status::status(&node, at).await?))
}

/// Compares two states of a dot, file by file.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/diff",
    operation_id = "get_diff",
    tag = "state",
    params(AtPath, diff::Request),
    responses((status = 200, description = "The differences.", body = Diff), Problems),
)]
pub(super) async fn get_diff(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Query(request): Query<diff::Request>,
) -> Answer<Diff> {
    Ok(Json(diff::diff(&node, at, request).await?))
}

/// Sends a file or a folder of a commit or of the working copy.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/content",
    operation_id = "get_content",
    tag = "state",
    params(AtPath, ContentQuery),
    responses(
        (
            status = 200,
            description = "A `tar` archive, whose first entry is the path.",
            body = inline(Binary),
            content_type = "application/x-tar",
        ),
        Problems,
    ),
)]
pub(super) async fn get_content(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Query(query): Query<ContentQuery>,
) -> Result<Response, ApiError> {
    Ok(copy_out::copy_out(&node, at, query).await?)
}

/// Switches to a branch, and creates it first if the request says so.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/checkout",
    operation_id = "checkout",
    tag = "state",
    params(AtPath),
    request_body = Checkout,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_checkout(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<Checkout>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { checkout::checkout(&node, at, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

/// Sets the current branch to a commit.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/reset",
    operation_id = "reset",
    tag = "state",
    params(AtPath),
    request_body = Reset,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_reset(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<Reset>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { reset::reset(&node, at, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

/// Restores files and folders of a commit in the working copy.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/restore",
    operation_id = "restore_paths",
    tag = "state",
    params(AtPath),
    request_body = RestorePaths,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_restore(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<RestorePaths>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { restore::restore(&node, at, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}
