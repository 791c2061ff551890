//! Creates a webhook.

use std::collections::BTreeSet;

use dotmesh_api::webhooks::{NewWebhook, WebhookTopic};
use dotmesh_hub_db::ids::WebhookId;
use dotmesh_hub_db::webhooks::WebhookToBe;
use dotmesh_hub_model::SigningSecret;
use dotmesh_hub_model::access::Action;
use dotmesh_model::DotName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;
use crate::webhooks::target;

/// Creates a webhook and returns its signing secret.
pub async fn create_webhook(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    new: &NewWebhook,
    hub_url: &str,
) -> Result<(WebhookId, SigningSecret), HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    let url = check_url(hub, &new.url)?;
    check_topics(&new.topics)?;
    let secret = SigningSecret::generate(&hub.random);
    let to_be = WebhookToBe {
        url: &url,
        topics: &new.topics,
        secret: &secret,
        hub_url,
    };
    let id = hub
        .database
        .create_webhook(open.deed(hub, caller)?, &to_be)
        .await?;
    Ok((id, secret))
}

/// Checks a webhook's address, and returns it as it is stored.
pub(super) fn check_url(hub: &Hub, url: &str) -> Result<String, HubError> {
    target::parse(url.trim(), hub.settings.webhooks_to_private)
        .map(String::from)
        .map_err(|error| HubError::malformed(error.to_string()))
}

/// Refuses a webhook without topics.
pub(super) fn check_topics(topics: &BTreeSet<WebhookTopic>) -> Result<(), HubError> {
    if topics.is_empty() {
        return Err(HubError::malformed(
            "choose at least one topic for the webhook: push, branch, tag or access",
        ));
    }
    Ok(())
}
