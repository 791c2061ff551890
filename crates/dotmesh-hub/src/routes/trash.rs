//! `/api/v1/trash`: the caller's deleted dots.

use axum::Json;
use axum::extract::State;
use dotmesh_api::dots::WaitingDot;
use dotmesh_model::DotName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::DotIdPath;
use crate::operations::restore_dot;
use crate::state::Hub;

/// Lists them, the last deleted first.
pub async fn get(
    State(hub): State<Hub>,
    caller: Caller,
) -> Result<Json<Vec<WaitingDot>>, HubError> {
    let deleted = hub.database.deleted_dots(caller.id).await?;
    let deleted = deleted.into_iter().map(|dot| WaitingDot {
        id: dot.id.to_string(),
        name: dot.name,
        since: dot.deleted.as_second(),
    });
    Ok(Json(deleted.collect()))
}

/// Restores one, and says what it is called.
pub async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotIdPath(dot): DotIdPath,
) -> Result<Json<DotName>, HubError> {
    Ok(Json(restore_dot::restore_dot(&hub, &caller, dot).await?))
}
