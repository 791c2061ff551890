//! `/-/offers`: dots that other users offer, to accept or to decline.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::transfers::Offer;
use dotmesh_hub_service::operations::take_dot;
use dotmesh_hub_service::{Hub, HubError};
use serde::Deserialize;

use crate::web::form::Form;
use crate::web::visit::AccountTab;
use crate::web::{Page, Visit, go, render};

#[derive(Template)]
#[template(path = "offers.html")]
struct OffersPage {
    visit: Visit,
    user: String,
    offers: Vec<Offer>,
}

impl OffersPage {
    fn tab(&self) -> AccountTab {
        AccountTab::Offers
    }
}

/// The form that accepts a dot under a name.
#[derive(Debug, Deserialize)]
pub(crate) struct Taken {
    dot: String,
    name: String,
}

/// The form that declines a dot.
#[derive(Debug, Deserialize)]
pub(crate) struct Declined {
    dot: String,
}

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit) -> Page {
    let caller = visit.account()?;
    let offers = hub.database.offers(caller.id).await?;
    render(&OffersPage {
        user: caller.name.to_string(),
        visit,
        offers,
    })
}

/// Accepts a dot.
pub(crate) async fn take(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Taken { dot, name }): Form<Taken>,
) -> Page {
    let dot = dot.parse().map_err(|_| HubError::NoSuchOffer)?;
    let name = take_dot::take_dot(&hub, visit.caller()?, dot, name.trim()).await?;
    go(&format!("/{}", name.full()))
}

/// Declines a dot.
pub(crate) async fn decline(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Declined { dot }): Form<Declined>,
) -> Page {
    let dot = dot.parse().map_err(|_| HubError::NoSuchOffer)?;
    take_dot::decline_dot(&hub, visit.caller()?, dot).await?;
    go("/-/offers")
}
