//! `GET /api/v1/dots/{namespace}/{dot}/refs/{reference}`: the commit that an id, a branch, a tag or the beginning of an id stands for.

use axum::Json;
use axum::extract::State;
use dotmesh_api::hub::ResolvedRef;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::BRANCHES_PER_DOT;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_hub_service::operations::resolve_ref::resolve_ref;

use crate::error::HttpError;
use crate::extract::{DotPath, RefPath};
use crate::openapi::OfLookup;

/// Resolves a full id, a branch, a tag or an id prefix, in this order, to a commit.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/refs/{reference}",
    operation_id = "resolve_ref",
    tag = "pulling",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, RefPath),
    responses((status = 200, description = "The commit.", body = ResolvedRef), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    RefPath(reference): RefPath,
) -> Result<Json<ResolvedRef>, HttpError> {
    let dot = viewer.open(&hub, &dot, Action::Read).await?;
    let commit = resolve_ref(&hub, &dot, &reference).await?;
    let at = [commit];
    let mut heads = hub
        .database
        .branches_at(dot.existing()?, &at, BRANCHES_PER_DOT.most as u32)
        .await?;
    let heads = heads.remove(&commit).unwrap_or_default();
    Ok(Json(ResolvedRef { commit, heads }))
}
