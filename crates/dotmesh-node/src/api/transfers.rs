//! Routes that send commits to hubs, and fetch them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use dotmesh_api::node::{Fetch, Source, Transfer, TransferEvent};
use dotmesh_api::node_client::Direction;

use super::ApiError;
use super::extract::{Body, DotPath};
use super::openapi::{EVENTS, Problems};
use crate::node::Node;
use crate::operations::transfer::Work;
use crate::operations::{to_the_end, transfer, upstream};

/// Sends commits to a hub.
///
/// The same request attaches to a running push if no branch and no tag of the dot has changed since it began.
///
/// It goes on when the client leaves: see `GET /v1/operations`. If it fails, the status is 200 all the same, and the last
/// line says so.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/push",
    operation_id = "push",
    tag = "transfers",
    params(DotPath),
    request_body = Transfer,
    responses(
        (status = 200, description = EVENTS, body = TransferEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_push(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Push, body);
    Ok(transfer::start(node, name, work).await?)
}

/// Fetches the new commits of a hub's dot, and updates the branches.
///
/// It goes on when the client leaves: see `GET /v1/operations`. If it fails, the status is 200 all the same, and the last
/// line says so.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/pull",
    operation_id = "pull",
    tag = "transfers",
    params(DotPath),
    request_body = Transfer,
    responses(
        (status = 200, description = EVENTS, body = TransferEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_pull(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Pull, body);
    Ok(transfer::start(node, name, work).await?)
}

/// Copies a hub's dot to this node.
///
/// It goes on when the client leaves: see `GET /v1/operations`. If it fails, the status is 200 all the same, and the last
/// line says so.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/clone",
    operation_id = "clone",
    tag = "transfers",
    params(DotPath),
    request_body = Transfer,
    responses(
        (status = 200, description = EVENTS, body = TransferEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_clone(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Clone, body);
    Ok(transfer::start(node, name, work).await?)
}

/// Fetches the data of commits whose records are here.
///
/// It goes on when the client leaves: see `GET /v1/operations`. If it fails, the status is 200 all the same, and the last
/// line says so.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/fetch",
    operation_id = "fetch",
    tag = "transfers",
    params(DotPath),
    request_body = Fetch,
    responses(
        (status = 200, description = EVENTS, body = TransferEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_fetch(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<Fetch>,
) -> Result<Response, ApiError> {
    Ok(transfer::start(node, name, Work::Fetch(body)).await?)
}

/// Fetches the commits of a hub's branches, and changes no branch here.
///
/// It goes on when the client leaves: see `GET /v1/operations`. If it fails, the status is 200 all the same, and the last
/// line says so.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/fetch-branches",
    operation_id = "fetch_branches",
    tag = "transfers",
    params(DotPath),
    request_body = Transfer,
    responses(
        (status = 200, description = EVENTS, body = TransferEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_fetch_branches(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Fetch, body);
    Ok(transfer::start(node, name, work).await?)
}

/// Forgets which dot has a name on a hub.
///
/// The next transfer takes the dot that has the name then.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/forget",
    operation_id = "forget",
    tag = "transfers",
    params(DotPath),
    request_body = Source,
    responses((status = 204, description = "It is forgotten."), Problems),
)]
pub(super) async fn post_forget(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(there): Body<Source>,
) -> Result<StatusCode, ApiError> {
    to_the_end(async move { upstream::forget(&node, &name, &there).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
