//! Searches dots, branches, tags and commit messages that the viewer may see.

use dotmesh_api::dots::{Found, SearchResults};
use dotmesh_hub_db::ids::UserId;
use dotmesh_hub_model::search::{Place, Words};

use crate::error::HubError;
use crate::state::Hub;

/// Results on a page.
pub(crate) const HITS_PER_PAGE: u32 = 20;

/// The last page. A user finds later results with more words.
pub(crate) const LAST_PAGE: u32 = 50;

/// Searches for a user, or for an anonymous viewer, and returns a page of the results. Without words it finds nothing.
pub async fn search(
    hub: &Hub,
    viewer: Option<UserId>,
    words: &Words,
    place: Place,
    page: Option<u32>,
) -> Result<SearchResults, HubError> {
    let page = page.unwrap_or(1).clamp(1, LAST_PAGE);
    let mut found: Vec<Found> = Vec::new();
    if !words.as_slice().is_empty() {
        let skip = (page - 1) * HITS_PER_PAGE;
        found = hub
            .database
            .search(viewer, place, words, skip, HITS_PER_PAGE + 1)
            .await?;
    }
    let more = found.len() > HITS_PER_PAGE as usize && page < LAST_PAGE;
    found.truncate(HITS_PER_PAGE as usize);
    Ok(SearchResults { found, more })
}
