//! `GET /api/v1/dots/{namespace}/{dot}/forks`: a dot's forks that the viewer may see.

use axum::extract::State;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_model::DotName;

use crate::error::HttpError;
use crate::extract::{DotPath, ListPage, Paging};
use crate::openapi::OfLookup;

/// Lists the forks of a dot that the caller may see.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/forks",
    operation_id = "list_forks",
    tag = "dots",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, Paging),
    responses((status = 200, description = "The forks, by name.", body = Vec<DotName>), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    paging: Paging,
) -> Result<ListPage<DotName>, HttpError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let part = paging.part(|name| name.parse().ok())?;
    let forks = hub.database.forks(open.existing()?, viewer.id(), part);
    Ok(paging.page(forks.await?, DotName::full, |name| name))
}
