//! `/`: the dots that a user owns or can access. Without a login, public dots and a description of the hub.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::listing::{DotFilter, DotPreview};
use dotmesh_hub_service::Hub;

use crate::web::query::Query;
use crate::web::{Page, PageNumber, Visit, commands, render};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    visit: Visit,
    /// The number of dots that are offered to the viewer.
    offers: u64,
    dots: Vec<DotPreview>,
    /// The number of the next page of dots.
    next: Option<u32>,
    first_push: Vec<String>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    Query(asked): Query<PageNumber>,
) -> Page {
    let filter = match visit.user() {
        Some(user) => DotFilter::Accessible(user.id),
        None => DotFilter::Public,
    };
    let offers = match visit.user() {
        Some(user) => hub.database.offers(user.id).await?.len() as u64,
        None => 0,
    };
    let (dots, is_more) = hub.database.list_dots(filter, asked.number()).await?;
    let message = match visit.user() {
        Some(_) => "Empty state",
        None => "The bug nobody can reproduce",
    };
    let first_push = commands::first_push(&visit.hub_url, message);
    render(&HomePage {
        visit,
        offers,
        next: asked.next(is_more),
        dots,
        first_push,
    })
}
