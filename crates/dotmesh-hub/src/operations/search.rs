//! Searches dots, branches, tags and commit messages that the viewer may see.

use dotmesh_api::dots::{Found, SearchResults};
use dotmesh_hub_db::ids::UserId;
use dotmesh_hub_model::search::{Place, Words};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::HubError;
use crate::state::Hub;

/// Results on a page.
pub const HITS_PER_PAGE: u32 = 20;

/// The last page. A user finds later results with more words.
pub const LAST_PAGE: u32 = 50;

/// What to search for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The search words, as the user typed them.
    #[serde(default)]
    pub q: String,
    /// Where to search.
    #[serde(default, rename = "in")]
    #[param(inline)]
    pub place: Place,
    /// The page number, from 1.
    #[serde(default)]
    pub page: Option<u32>,
}

/// Searches for a user, or for an anonymous viewer. A query without words finds nothing.
pub async fn search(
    hub: &Hub,
    viewer: Option<UserId>,
    query: &SearchQuery,
) -> Result<SearchResults, HubError> {
    let words = Words::new(&query.q);
    let page = query.page.unwrap_or(1).clamp(1, LAST_PAGE);
    let mut found: Vec<Found> = Vec::new();
    if !words.as_slice().is_empty() {
        let skip = (page - 1) * HITS_PER_PAGE;
        found = hub
            .database
            .search(viewer, query.place, &words, skip, HITS_PER_PAGE + 1)
            .await?;
    }
    let more = found.len() > HITS_PER_PAGE as usize && page < LAST_PAGE;
    found.truncate(HITS_PER_PAGE as usize);
    Ok(SearchResults { found, more })
}
