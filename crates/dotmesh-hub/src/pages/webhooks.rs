//! `/OWNER/DOT/settings/webhooks`: where the hub tells of what happens to a dot. A secret is shown by the answer to the
//! form that makes it, and never again.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse as _;
use dotmesh_api::webhooks::{NewWebhook, WebhookState, WebhookTopic};
use serde::Deserialize;

use crate::access::Action;
use crate::database::webhooks::StoredWebhook;
use crate::extract::DotPath;
use crate::operations::create_webhook::create_webhook;
use crate::state::Hub;
use crate::web::form::Form;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

/// What there is to be told of, in words.
pub(super) const TOPICS: [(WebhookTopic, &str); 4] = [
    (WebhookTopic::Push, "pushes"),
    (
        WebhookTopic::Branch,
        "branches: created, deleted, protected, set as default",
    ),
    (WebhookTopic::Tag, "tags: created, deleted"),
    (
        WebhookTopic::Access,
        "access: people, visibility, name and owner",
    ),
];

#[derive(Template)]
#[template(path = "webhooks.html")]
struct WebhooksPage {
    visit: Visit,
    dot: DotHeader,
    webhooks: Vec<StoredWebhook>,
    /// The address of one that was just made, and its secret.
    made: Option<(String, String)>,
}

impl WebhooksPage {
    fn tab(&self) -> Tab {
        Tab::Settings
    }
}

/// Of the form that makes one, and of that which changes it. A box that is not checked is not sent.
#[derive(Debug, Deserialize)]
pub struct Fields {
    url: String,
    push: Option<String>,
    branch: Option<String>,
    tag: Option<String>,
    access: Option<String>,
}

impl Fields {
    pub(super) fn into_webhook(self) -> NewWebhook {
        let boxes = [
            (WebhookTopic::Push, self.push),
            (WebhookTopic::Branch, self.branch),
            (WebhookTopic::Tag, self.tag),
            (WebhookTopic::Access, self.access),
        ];
        let checked = boxes.into_iter().filter(|(_, checked)| checked.is_some());
        let topics: BTreeSet<_> = checked.map(|(topic, _)| topic).collect();
        NewWebhook {
            url: self.url,
            topics,
        }
    }
}

/// Lists them.
pub async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Administer).await?;
    let webhooks = hub.database.webhooks(open.existing()?).await?;
    render(&WebhooksPage {
        visit,
        dot,
        webhooks,
        made: None,
    })
}

/// Makes one.
pub async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Form(fields): Form<Fields>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Administer).await?;
    let new = fields.into_webhook();
    let made = create_webhook(&hub, visit.caller()?, &name, &new, &visit.hub_url);
    let (id, secret) = made.await?;
    let webhooks = hub.database.webhooks(open.existing()?).await?;
    let address = format!("{}/settings/webhooks/{id}", dot.url());
    once(&WebhooksPage {
        visit,
        dot,
        webhooks,
        made: Some((address, secret.reveal())),
    })
}

/// A page with a secret: it is in no cache, be it the browser's own.
pub(super) fn once(page: &impl Template) -> Page {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((headers, render(page)?).into_response())
}

/// Whether a webhook is told anything, in a word.
pub fn word(state: WebhookState) -> &'static str {
    match state {
        WebhookState::On => "on",
        WebhookState::Off => "off",
        WebhookState::Failed => "switched off: it failed",
    }
}
