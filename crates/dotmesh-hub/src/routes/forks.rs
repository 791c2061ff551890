//! `GET /api/v1/dots/{namespace}/{dot}/forks`: a dot's forks that the viewer may see.

use axum::Json;
use axum::extract::State;
use dotmesh_model::DotName;

use crate::access::Action;
use crate::auth::Viewer;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::openapi::OfLookup;
use crate::state::Hub;

/// Lists the forks of a dot that the caller may see.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/forks",
    operation_id = "list_forks",
    tag = "dots",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath),
    responses((status = 200, description = "The forks, by name.", body = Vec<DotName>), OfLookup),
)]
pub async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
) -> Result<Json<Vec<DotName>>, HubError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let forks = hub.database.forks(open.existing()?, viewer.id());
    Ok(Json(forks.await?))
}
