//! `GET /api/v1/dots/{namespace}/{dot}`: one dot with its branches.

use axum::Json;
use axum::extract::State;
use dotmesh_api::hub::{Access, HubDot};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Viewer;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::openapi::OfLookup;

/// Shows a dot with its branches.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}",
    operation_id = "get_dot",
    tag = "dots",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath),
    responses((status = 200, description = "The dot.", body = HubDot), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
) -> Result<Json<HubDot>, HttpError> {
    let dot = viewer.open(&hub, &dot, Action::Read).await?;
    let id = dot.existing()?;
    let branches = hub.database.branches(id).await?;
    let collaborators = match dot.access {
        Access::Owner => hub.database.collaborators(id).await?,
        Access::Read | Access::Write | Access::Maintain => Vec::new(),
    };
    Ok(Json(HubDot {
        name: dot.name,
        identity: dot.identity,
        access: dot.access,
        visibility: Some(dot.visibility),
        branches,
        collaborators,
        without_data: hub.database.count_without_data(id).await?,
    }))
}
