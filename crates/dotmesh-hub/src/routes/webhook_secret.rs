//! `/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}/secret`: what a webhook's deliveries are signed with.

use axum::Json;
use axum::extract::State;
use dotmesh_api::webhooks::WebhookSecret;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::change_webhook::renew_secret;

use crate::error::HttpError;
use crate::extract::{DotPath, WebhookPath};
use crate::openapi::OfChange;

/// Replaces the secret of a webhook.
///
/// For the owner only. The hub signs with the new secret from now on, and does not show it again.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}/secret",
    operation_id = "renew_webhook_secret",
    tag = "webhooks",
    params(DotPath, WebhookPath),
    responses((status = 200, description = "The new secret.", body = WebhookSecret), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
) -> Result<Json<WebhookSecret>, HttpError> {
    let secret = renew_secret(&hub, &caller, &dot, id).await?;
    Ok(Json(WebhookSecret {
        id: id.to_string(),
        secret: secret.reveal(),
    }))
}
