//! `/-/trash`: the user's deleted dots, which can be restored for some time.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::trash::TrashedDot;
use dotmesh_hub_service::operations::delete_dot::GRACE;
use dotmesh_hub_service::operations::restore_dot::restore_dot;
use dotmesh_hub_service::{Hub, HubError};
use jiff::Timestamp;
use serde::Deserialize;

use crate::web::form::Form;
use crate::web::visit::AccountTab;
use crate::web::{Page, Visit, go, render};

#[derive(Template)]
#[template(path = "trash.html")]
struct TrashPage {
    visit: Visit,
    user: String,
    dots: Vec<TrashedDot>,
}

impl TrashPage {
    fn tab(&self) -> AccountTab {
        AccountTab::Trash
    }

    /// Returns when the dot is purged.
    fn end(&self, dot: &TrashedDot) -> Timestamp {
        dot.deleted + GRACE
    }
}

/// The form that restores a dot.
#[derive(Debug, Deserialize)]
pub(crate) struct Deleted {
    dot: String,
}

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit) -> Page {
    let caller = visit.account()?;
    let dots = hub.database.deleted_dots(caller.id).await?;
    render(&TrashPage {
        user: caller.name.to_string(),
        visit,
        dots,
    })
}

/// Restores a dot.
pub(crate) async fn restore(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Deleted { dot }): Form<Deleted>,
) -> Page {
    let dot = dot.parse().map_err(|_| HubError::NoSuchDeletedDot)?;
    let name = restore_dot(&hub, visit.caller()?, dot).await?;
    go(&format!("/{}", name.full()))
}
