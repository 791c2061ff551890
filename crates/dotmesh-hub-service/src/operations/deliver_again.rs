//! Repeats a webhook's delivery, or sends a test delivery.

use dotmesh_api::webhooks::WebhookState;
use dotmesh_hub_db::ids::{DeliveryId, WebhookId};
use dotmesh_model::DotName;

use super::change_webhook::open_webhook;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Repeats a delivery. A delivery that still waits is sent at once.
pub async fn redeliver(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    id: WebhookId,
    delivery: DeliveryId,
) -> Result<(), HubError> {
    let (_, webhook) = open_webhook(hub, caller, dot, id).await?;
    if hub.database.delivery(id, delivery).await?.is_none() {
        return Err(HubError::NoSuchDelivery);
    }
    require_on(webhook.state)?;
    if hub
        .database
        .redeliver(id, delivery, hub.clock.now())
        .await?
    {
        Ok(())
    } else {
        Err(HubError::NoSuchDelivery)
    }
}

/// Sends a test delivery.
pub async fn ping(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    id: WebhookId,
) -> Result<DeliveryId, HubError> {
    let (open, webhook) = open_webhook(hub, caller, dot, id).await?;
    require_on(webhook.state)?;
    Ok(hub
        .database
        .ping_webhook(open.deed(hub, caller)?, id)
        .await?)
}

fn require_on(state: WebhookState) -> Result<(), HubError> {
    match state {
        WebhookState::On => Ok(()),
        WebhookState::Off | WebhookState::Failed => Err(HubError::WebhookOff),
    }
}
