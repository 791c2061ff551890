//! `/`: one's own dots and those shared with one; for who is not logged in, what this is.

use askama::Template;
use axum::extract::State;

use crate::database::listing::{DotSummary, Listing};
use crate::state::Hub;
use crate::web::{Page, Visit, render};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    visit: Visit,
    /// How many dots others offer to the viewer.
    offers: u64,
    dots: Vec<DotSummary>,
}

/// Shows it.
pub async fn get(State(hub): State<Hub>, visit: Visit) -> Page {
    let listing = match visit.user() {
        Some(user) => Listing::Accessible(user.id),
        None => Listing::Public,
    };
    let offers = match visit.user() {
        Some(user) => hub.database.offers(user.id).await?.len() as u64,
        None => 0,
    };
    let dots = hub.database.list_dots(listing).await?;
    render(&HomePage {
        visit,
        offers,
        dots,
    })
}
