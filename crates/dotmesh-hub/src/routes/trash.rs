//! `/api/v1/trash`: the caller's deleted dots.

use axum::Json;
use axum::extract::State;
use dotmesh_api::dots::WaitingDot;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::restore_dot;
use dotmesh_model::DotName;

use crate::error::HttpError;
use crate::extract::DotIdPath;
use crate::openapi::{OfChange, OfUser};

/// Lists the caller's deleted dots that can be restored.
#[utoipa::path(
    get,
    path = "/trash",
    operation_id = "list_trash",
    tag = "moving dots",
    responses((status = 200, description = "The dots, most recently deleted first.", body = Vec<WaitingDot>), OfUser),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
) -> Result<Json<Vec<WaitingDot>>, HttpError> {
    let deleted = hub.database.deleted_dots(caller.id).await?;
    let deleted = deleted.into_iter().map(|dot| WaitingDot {
        id: dot.id.to_string(),
        name: dot.name,
        since: dot.deleted.as_second(),
    });
    Ok(Json(deleted.collect()))
}

/// Restores a deleted dot.
///
/// Needs a session, the password, or a key with the scope `admin`.
#[utoipa::path(
    post,
    path = "/trash/{id}/restore",
    operation_id = "restore_dot",
    tag = "moving dots",
    params(DotIdPath),
    responses((status = 200, description = "The new full name of the dot.", body = DotName), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotIdPath(dot): DotIdPath,
) -> Result<Json<DotName>, HttpError> {
    Ok(Json(restore_dot::restore_dot(&hub, &caller, dot).await?))
}
