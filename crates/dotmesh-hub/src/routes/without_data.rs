//! `GET /api/v1/dots/{namespace}/{dot}/without-data`: the commits whose data is not here.

use axum::Json;
use axum::extract::State;
use dotmesh_api::hub::WithoutData;
use dotmesh_hub_model::access::Action;

use crate::auth::Viewer;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::openapi::OfLookup;
use crate::state::Hub;

/// Lists the commits that were pushed without their data.
///
/// A machine that has such data sends it with its next push.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/without-data",
    operation_id = "list_commits_without_data",
    tag = "pushing",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath),
    responses((status = 200, description = "The commits.", body = WithoutData), OfLookup),
)]
pub async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
) -> Result<Json<WithoutData>, HubError> {
    let dot = viewer.open(&hub, &dot, Action::Read).await?;
    let commits = hub.database.commits_without_data(dot.existing()?).await?;
    Ok(Json(WithoutData { commits }))
}
