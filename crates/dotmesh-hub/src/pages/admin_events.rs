//! `/-/admin/events`: the audit log of the whole hub, newest first.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::events::EventsOf;
use dotmesh_hub_service::Hub;
use serde::Deserialize;

use crate::web::query::Query;
use crate::web::shown_event::ShownEvent;
use crate::web::visit::AdminTab;
use crate::web::{Page, Visit, render};

const EVENTS_PER_PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "admin_events.html")]
struct AdminEventsPage {
    visit: Visit,
    events: Vec<Entry>,
    next: Option<i64>,
}

/// An event with the name that its dot had then.
struct Entry {
    event: ShownEvent,
    dot: Option<String>,
}

impl AdminEventsPage {
    fn tab(&self) -> AdminTab {
        AdminTab::Events
    }
}

/// The event before which the page begins.
#[derive(Debug, Deserialize)]
pub(crate) struct Before {
    before: Option<i64>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    Query(Before { before }): Query<Before>,
) -> Page {
    visit.administrator()?;
    let events = hub
        .database
        .events(EventsOf::Hub, before, EVENTS_PER_PAGE)
        .await?;
    let next = (events.len() == EVENTS_PER_PAGE as usize)
        .then(|| events.last().map(|event| event.id))
        .flatten();
    let events = events
        .into_iter()
        .map(|event| {
            let dot = event.dot.as_ref().map(dotmesh_model::DotName::full);
            let url = dot
                .as_ref()
                .map_or_else(String::new, |dot| format!("/{dot}"));
            Entry {
                event: ShownEvent::new(event, &url),
                dot,
            }
        })
        .collect();
    render(&AdminEventsPage {
        visit,
        events,
        next,
    })
}
