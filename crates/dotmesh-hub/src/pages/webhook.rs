//! `/OWNER/DOT/settings/webhooks/{webhook}`: a webhook and its deliveries.

use askama::Template;
use axum::extract::State;
use dotmesh_api::webhooks::{ChangeWebhook, DeliveryState, WebhookState};
use dotmesh_hub_db::deliveries::StoredDelivery;
use dotmesh_hub_db::ids::{DeliveryId, WebhookId};
use dotmesh_hub_db::webhooks::StoredWebhook;
use dotmesh_hub_model::SigningSecret;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::change_webhook::{self, open_webhook};
use dotmesh_hub_service::operations::deliver_again;
use dotmesh_hub_service::webhooks::payload;
use dotmesh_model::DotName;
use serde::Deserialize;

use super::webhooks::{Fields, TOPICS, once};
use crate::error::HttpError;
use crate::extract::{DotPath, WebhookPath};
use crate::web::form::Form;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The most deliveries on a page.
const PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    visit: Visit,
    dot: DotHeader,
    webhook: StoredWebhook,
    deliveries: Vec<Shown>,
    /// The delivery before which the older ones are listed.
    older: Option<i64>,
    /// The secret that was just created.
    secret: Option<String>,
}

/// A delivery on the page.
struct Shown {
    delivery: StoredDelivery,
    kind: &'static str,
    payload: String,
}

impl WebhookPage {
    fn tab(&self) -> Tab {
        Tab::Settings
    }

    fn url(&self) -> String {
        format!("{}/settings/webhooks/{}", self.dot.url(), self.webhook.id)
    }

    fn is_on(&self) -> bool {
        self.webhook.state == WebhookState::On
    }
}

/// The delivery before which the page begins.
#[derive(Debug, Deserialize)]
pub(crate) struct Before {
    before: Option<i64>,
}

/// The form that switches a webhook on or off.
#[derive(Debug, Deserialize)]
pub(crate) struct Switched {
    on: u8,
}

/// The form that repeats a delivery.
#[derive(Debug, Deserialize)]
pub(crate) struct Again {
    delivery: i64,
}

/// Shows a webhook.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Page {
    let Before { before } = serde_urlencoded::from_str(query.as_deref().unwrap_or_default())
        .map_err(|_| HttpError::malformed("`before` must be the id of a delivery"))?;
    render(&page(&hub, visit, &name, id, before, None).await?)
}

/// Changes the webhook's address and topics.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
    Form(fields): Form<Fields>,
) -> Page {
    let new = fields.into_webhook();
    let change = ChangeWebhook {
        url: Some(new.url),
        topics: Some(new.topics),
        on: None,
    };
    change_webhook::change_webhook(&hub, visit.caller()?, &name, id, &change).await?;
    back(&name, id)
}

/// Switches the webhook on or off.
pub(crate) async fn switch(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
    Form(Switched { on }): Form<Switched>,
) -> Page {
    let change = ChangeWebhook {
        on: Some(on != 0),
        ..ChangeWebhook::default()
    };
    change_webhook::change_webhook(&hub, visit.caller()?, &name, id, &change).await?;
    back(&name, id)
}

/// Replaces the secret.
pub(crate) async fn renew_secret(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
) -> Page {
    let secret = change_webhook::renew_secret(&hub, visit.caller()?, &name, id).await?;
    once(&page(&hub, visit, &name, id, None, Some(&secret)).await?)
}

/// Sends a test delivery.
pub(crate) async fn ping(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
) -> Page {
    deliver_again::ping(&hub, visit.caller()?, &name, id).await?;
    back(&name, id)
}

/// Repeats a delivery.
pub(crate) async fn redeliver(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
    Form(Again { delivery }): Form<Again>,
) -> Page {
    let delivery = DeliveryId::from_number(delivery);
    deliver_again::redeliver(&hub, visit.caller()?, &name, id, delivery).await?;
    back(&name, id)
}

/// Deletes the webhook.
pub(crate) async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    WebhookPath(id): WebhookPath,
) -> Page {
    change_webhook::delete_webhook(&hub, visit.caller()?, &name, id).await?;
    go(&format!("/{}/settings/webhooks", name.full()))
}

async fn page(
    hub: &Hub,
    visit: Visit,
    name: &DotName,
    id: WebhookId,
    before: Option<i64>,
    secret: Option<&SigningSecret>,
) -> Result<WebhookPage, HttpError> {
    let (_, dot) = visit.open(hub, name, Action::Administer).await?;
    let (_, webhook) = open_webhook(hub, visit.caller()?, name, id).await?;
    let before = before.map(DeliveryId::from_number);
    let deliveries = hub.database.deliveries(id, before, PAGE).await?;
    let is_full = deliveries.len() == PAGE as usize;
    let last = deliveries.last().map(|delivery| delivery.id.number());
    let hub_url = hub.settings.url_or(&webhook.hub_url);
    let deliveries = deliveries.into_iter().map(|delivery| Shown {
        kind: payload::kind(&delivery.event.kind),
        payload: payload::body(&delivery.event, hub_url),
        delivery,
    });
    Ok(WebhookPage {
        deliveries: deliveries.collect(),
        older: last.filter(|_| is_full),
        secret: secret.map(SigningSecret::reveal),
        visit,
        dot,
        webhook,
    })
}

fn back(dot: &DotName, id: WebhookId) -> Page {
    go(&format!("/{}/settings/webhooks/{id}", dot.full()))
}
