//! Changes a webhook, renews its secret, or deletes it.

use dotmesh_api::webhooks::ChangeWebhook;
use dotmesh_hub_db::ids::WebhookId;
use dotmesh_hub_db::webhooks::{StoredWebhook, WebhookChange};
use dotmesh_hub_model::SigningSecret;
use dotmesh_hub_model::access::Action;
use dotmesh_model::DotName;

use super::create_webhook::{check_topics, check_url};
use crate::auth::{Caller, OpenDot};
use crate::error::HubError;
use crate::state::Hub;

/// Returns a webhook of a dot that the caller owns.
pub async fn open_webhook(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    id: WebhookId,
) -> Result<(OpenDot, StoredWebhook), HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    let found = hub.database.webhook(open.existing()?, id).await?;
    match found {
        Some(webhook) => Ok((open, webhook)),
        None => Err(missing(open)),
    }
}

pub async fn change_webhook(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    id: WebhookId,
    change: &ChangeWebhook,
) -> Result<(), HubError> {
    let (open, _) = open_webhook(hub, caller, dot, id).await?;
    let url = change.url.as_deref().map(|url| check_url(hub, url));
    let url = url.transpose()?;
    if let Some(topics) = &change.topics {
        check_topics(topics)?;
    }
    let change = WebhookChange {
        url: url.as_deref(),
        topics: change.topics.as_ref(),
        on: change.on,
        secret: None,
    };
    apply(hub, caller, open, id, &change).await
}

/// Replaces the secret and returns the new one. The old secret signs nothing from now on.
pub async fn renew_secret(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    id: WebhookId,
) -> Result<SigningSecret, HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    let secret = SigningSecret::generate(&hub.random);
    let change = WebhookChange {
        secret: Some(&secret),
        ..WebhookChange::default()
    };
    apply(hub, caller, open, id, &change).await?;
    Ok(secret)
}

pub async fn delete_webhook(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    id: WebhookId,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    let deed = open.deed(hub, caller)?;
    if hub.database.delete_webhook(deed, id).await? {
        Ok(())
    } else {
        Err(missing(open))
    }
}

async fn apply(
    hub: &Hub,
    caller: &Caller,
    open: OpenDot,
    id: WebhookId,
    change: &WebhookChange<'_>,
) -> Result<(), HubError> {
    let deed = open.deed(hub, caller)?;
    if hub.database.change_webhook(deed, id, change).await? {
        Ok(())
    } else {
        Err(missing(open))
    }
}

fn missing(open: OpenDot) -> HubError {
    HubError::NoSuchWebhook { dot: open.name }
}
