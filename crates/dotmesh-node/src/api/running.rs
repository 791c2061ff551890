//! Routes of the long operations that run: a client can attach to them again, and stop some of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use dotmesh_api::node::RunningOperation;

use super::extract::OperationPath;
use super::openapi::{AnyEvent, EVENTS, Problems};
use super::{Answer, ApiError};
use crate::node::Node;

/// Lists the long operations that run, and those that ended in the last ten minutes.
#[utoipa::path(
    get,
    path = "/v1/operations",
    operation_id = "list_running",
    tag = "running",
    responses((status = 200, description = "The operations, the oldest first.", body = Vec<RunningOperation>), Problems),
)]
pub(super) async fn get_running(State(node): State<Node>) -> Answer<Vec<RunningOperation>> {
    Ok(Json(node.running.list()))
}

/// Attaches to an operation: sends its newest event, and all that come.
///
/// The lines are those that the client which began it gets, with the schema of its route.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}/events",
    operation_id = "attach",
    tag = "running",
    params(OperationPath),
    responses(
        (status = 200, description = EVENTS, body = inline(AnyEvent), content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn get_running_events(
    State(node): State<Node>,
    OperationPath(id): OperationPath,
) -> Result<Response, ApiError> {
    Ok(node.running.attach(&id).map_err(ApiError)?.answer())
}

/// Stops a transfer.
///
/// Its last event says so. What was transferred stays for the next one.
#[utoipa::path(
    delete,
    path = "/v1/operations/{id}",
    operation_id = "stop",
    tag = "running",
    params(OperationPath),
    responses((status = 204, description = "It has ended."), Problems),
)]
pub(super) async fn delete_running(
    State(node): State<Node>,
    OperationPath(id): OperationPath,
) -> Result<StatusCode, ApiError> {
    node.running.stop(&id).await.map_err(ApiError)?;
    Ok(StatusCode::NO_CONTENT)
}
