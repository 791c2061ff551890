//! Routes of a dot's log of operations, with undo and redo.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use dotmesh_api::node::{OperationKind, Operations, SwitchEvent, SwitchProgress, Undo};
use tokio::sync::watch;

use super::extract::{AtPath, Body};
use super::openapi::{EVENTS, Problems};
use super::{Answer, ApiError};
use crate::events;
use crate::node::Node;
use crate::operations::{op_log, undo};

/// Lists the operations that can be undone or redone.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/operations",
    operation_id = "list_operations",
    tag = "operations",
    params(AtPath),
    responses((status = 200, description = "The log.", body = Operations), Problems),
)]
pub(super) async fn get_operations(
    State(node): State<Node>,
    AtPath(at): AtPath,
) -> Answer<Operations> {
    Ok(Json(op_log::op_log(&node, at).await?))
}

/// Undoes the last operation, or restores a deleted dot.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/undo",
    operation_id = "undo",
    tag = "operations",
    params(AtPath),
    request_body = Undo,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_undo(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<Undo>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let (on, dot) = (node.clone(), at.dot.clone());
    let work = async move { undo::undo(&node, at, body, tell).await };
    let what = (OperationKind::Undo, &dot);
    Ok(events::of_switch(&on, what, work, told).await?)
}

/// Redoes the operation that was undone last.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/redo",
    operation_id = "redo",
    tag = "operations",
    params(AtPath),
    request_body = Undo,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_redo(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<Undo>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let (on, dot) = (node.clone(), at.dot.clone());
    let work = async move { undo::redo(&node, at, body, tell).await };
    let what = (OperationKind::Redo, &dot);
    Ok(events::of_switch(&on, what, work, told).await?)
}
