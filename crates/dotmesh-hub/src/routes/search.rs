//! `GET /api/v1/search?q=&in=&page=`: dots, branches, tags and commits that the viewer may see.

use axum::Json;
use axum::extract::{Query, State};
use dotmesh_api::dots::SearchResults;

use crate::auth::Viewer;
use crate::error::HubError;
use crate::openapi::OfView;
use crate::operations::search::{self, SearchQuery};
use crate::state::Hub;

/// Searches the dots that the caller may see.
#[utoipa::path(
    get,
    path = "/search",
    operation_id = "search",
    tag = "hub",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(SearchQuery),
    responses((status = 200, description = "A page of results.", body = SearchResults), OfView),
)]
pub async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    query: Result<Query<SearchQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<SearchResults>, HubError> {
    let Query(query) = query.map_err(|_| {
        HubError::malformed("the query must be ?q=WORDS&in=PLACE&page=NUMBER, with PLACE dots, branches, tags or commits")
    })?;
    Ok(Json(search::search(&hub, viewer.id(), &query).await?))
}
