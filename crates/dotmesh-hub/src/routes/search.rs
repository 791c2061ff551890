//! `GET /api/v1/search?q=&in=&page=`: dots, branches, tags and commits that the viewer may see.

use axum::Json;
use axum::extract::{Query, State};
use dotmesh_api::dots::SearchResults;
use dotmesh_hub_model::search::{Place, Words};
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_hub_service::operations::search;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::HttpError;
use crate::openapi::OfView;

/// What to search for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// The search words, as the user typed them.
    #[serde(default)]
    pub(crate) q: String,
    /// Where to search.
    #[serde(default, rename = "in")]
    #[param(inline, value_type = Place, required = false)]
    pub(crate) place: Option<Place>,
    /// The page number, from 1.
    #[serde(default)]
    pub(crate) page: Option<u32>,
}

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
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    query: Result<Query<SearchQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<SearchResults>, HttpError> {
    let Query(query) = query.map_err(|_| {
        HttpError::malformed("the query must be ?q=WORDS&in=PLACE&page=NUMBER, with PLACE dots, branches, tags, commits or tables")
    })?;
    let words = Words::new(&query.q);
    let found = search::search(
        &hub,
        viewer.id(),
        &words,
        query.place.unwrap_or_default(),
        query.page,
    );
    Ok(Json(found.await?))
}
