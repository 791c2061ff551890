//! `/OWNER/DOT/activity`: what happened to a dot, the newest first.

use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::access::Action;
use crate::database::events::EventsOf;
use crate::extract::DotPath;
use crate::state::Hub;
use crate::web::shown_event::ShownEvent;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

const EVENTS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    visit: Visit,
    dot: DotHeader,
    events: Vec<ShownEvent>,
    next: Option<i64>,
}

impl ActivityPage {
    fn tab(&self) -> Tab {
        Tab::Activity
    }
}

/// Where to begin.
#[derive(Debug, Deserialize)]
pub struct Before {
    before: Option<i64>,
}

/// Shows it.
pub async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Query(Before { before }): Query<Before>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let of = EventsOf::Dot(open.existing()?);
    let events = hub.database.events(of, before, EVENTS_PER_PAGE).await?;
    let next = (events.len() == EVENTS_PER_PAGE as usize)
        .then(|| events.last().map(|event| event.id))
        .flatten();
    let url = dot.url();
    let events = events
        .into_iter()
        .map(|event| ShownEvent::new(event, &url))
        .collect();
    render(&ActivityPage {
        visit,
        dot,
        events,
        next,
    })
}
