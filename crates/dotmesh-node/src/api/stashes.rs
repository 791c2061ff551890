//! Routes of a dot's stashes.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use dotmesh_api::node::{
    ApplyStash, DropStash, MakeStash, OperationKind, Stash, SwitchEvent, SwitchProgress,
};
use tokio::sync::watch;

use super::extract::{AtPath, Body, DotPath};
use super::openapi::{EVENTS, Problems};
use super::{Answer, ApiError};
use crate::events;
use crate::node::Node;
use crate::operations::{stash, to_the_end};

/// Lists the stashes of a dot.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/stashes",
    operation_id = "list_stashes",
    tag = "stashes",
    params(DotPath),
    responses((status = 200, description = "The stashes, the newest first.", body = Vec<Stash>), Problems),
)]
pub(super) async fn get_stashes(
    State(node): State<Node>,
    DotPath(name): DotPath,
) -> Answer<Vec<Stash>> {
    Ok(Json(stash::list(&node, &name).await?))
}

/// Stashes the uncommitted changes of the current branch.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/stashes",
    operation_id = "create_stash",
    tag = "stashes",
    params(AtPath),
    request_body = MakeStash,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_stashes(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<MakeStash>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let (on, dot) = (node.clone(), at.dot.clone());
    let work = async move { stash::make(&node, at, body, tell).await };
    let what = (OperationKind::Stash, &dot);
    Ok(events::of_switch(&on, what, work, told).await?)
}

/// Applies the changes of a stash to the current branch.
///
/// Containers that use the working copy are stopped and started again. If it fails before its first event, the answer
/// is a problem. It runs to its end even if the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/stashes/apply",
    operation_id = "apply_stash",
    tag = "stashes",
    params(AtPath),
    request_body = ApplyStash,
    responses(
        (status = 200, description = EVENTS, body = SwitchEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_stashes_apply(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<ApplyStash>,
) -> Result<Response, ApiError> {
    let (tell, told) = watch::channel(SwitchProgress::default());
    let (on, dot) = (node.clone(), at.dot.clone());
    let work = async move { stash::apply(&node, at, body, tell).await };
    let what = (OperationKind::ApplyStash, &dot);
    Ok(events::of_switch(&on, what, work, told).await?)
}

/// Drops a stash.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/stashes/drop",
    operation_id = "drop_stash",
    tag = "stashes",
    params(DotPath),
    request_body = DropStash,
    responses((status = 200, description = "The dropped stash.", body = Stash), Problems),
)]
pub(super) async fn post_stashes_drop(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<DropStash>,
) -> Answer<Stash> {
    Ok(Json(
        to_the_end(async move { stash::drop_one(&node, &name, body.id).await }).await?,
    ))
}
