//! `/OWNER/DOT/settings/webhooks`: the webhooks of a dot. A new secret is shown once, in the response to the form that
//! creates it.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse as _;
use dotmesh_api::webhooks::{NewWebhook, WebhookState, WebhookTopic};
use dotmesh_hub_db::webhooks::StoredWebhook;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::create_webhook::create_webhook;
use serde::Deserialize;

use crate::extract::DotPath;
use crate::web::form::Form;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

/// The topics of webhooks, in words.
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
    /// The page's address and the secret of a webhook that was just created.
    made: Option<(String, String)>,
}

impl WebhooksPage {
    fn tab(&self) -> Tab {
        Tab::Settings
    }
}

/// The form that creates or changes a webhook. Browsers don't send a box that is not checked.
#[derive(Debug, Deserialize)]
pub(crate) struct Fields {
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

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Administer).await?;
    let webhooks = hub.database.webhooks(open.existing()?).await?;
    render(&WebhooksPage {
        visit,
        dot,
        webhooks,
        made: None,
    })
}

/// Creates a webhook.
pub(crate) async fn post(
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

/// Renders a page with a secret. No cache may store it, not even the browser's own.
pub(super) fn once(page: &impl Template) -> Page {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((headers, render(page)?).into_response())
}

/// Returns a webhook's state in words.
pub(crate) fn word(state: WebhookState) -> &'static str {
    match state {
        WebhookState::On => "on",
        WebhookState::Off => "off",
        WebhookState::Failed => "switched off: it failed",
    }
}
