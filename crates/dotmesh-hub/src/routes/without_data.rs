//! `GET /api/v1/dots/{namespace}/{dot}/without-data`: the commits whose data is not here.

use axum::Json;
use axum::extract::State;
use dotmesh_api::hub::WithoutData;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Viewer;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::openapi::OfLookup;

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
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
) -> Result<Json<WithoutData>, HttpError> {
    let dot = viewer.open(&hub, &dot, Action::Read).await?;
    let commits = hub.database.commits_without_data(dot.existing()?).await?;
    Ok(Json(WithoutData { commits }))
}
