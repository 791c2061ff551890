//! `/api/v1/dots/{namespace}/{dot}/webhooks`: where the hub tells of what happens to a dot.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::webhooks::{NewWebhook, Webhook, WebhookSecret};
use dotmesh_hub_db::webhooks::StoredWebhook;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::create_webhook::create_webhook;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotPath, HubUrl, parse_json, read_body};
use crate::openapi::OfChange;

/// Lists the webhooks of a dot.
///
/// For the owner only.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/webhooks",
    operation_id = "list_webhooks",
    tag = "webhooks",
    params(DotPath),
    responses((status = 200, description = "The webhooks, the oldest first.", body = Vec<Webhook>), OfChange),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<Json<Vec<Webhook>>, HttpError> {
    let open = caller.open(&hub, &dot, Action::Administer).await?;
    let webhooks = hub.database.webhooks(open.existing()?).await?;
    Ok(Json(webhooks.into_iter().map(shown).collect()))
}

/// Creates a webhook.
///
/// For the owner only. The response contains the secret that signs deliveries. The hub does not show it again.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/webhooks",
    operation_id = "create_webhook",
    tag = "webhooks",
    params(DotPath),
    request_body = NewWebhook,
    responses((status = 201, description = "It is created.", body = WebhookSecret), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    HubUrl(hub_url): HubUrl,
    body: Body,
) -> Result<(StatusCode, Json<WebhookSecret>), HttpError> {
    // Who may not has no business with what is wrong with the request.
    caller.open(&hub, &dot, Action::Administer).await?;
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let new: NewWebhook = parse_json(&body)?;
    let (id, secret) = create_webhook(&hub, &caller, &dot, &new, &hub_url).await?;
    let answer = WebhookSecret {
        id: id.to_string(),
        secret: secret.reveal(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A webhook as it is answered.
pub(super) fn shown(webhook: StoredWebhook) -> Webhook {
    Webhook {
        id: webhook.id.to_string(),
        url: webhook.url,
        topics: webhook.topics,
        state: webhook.state,
        created_by: webhook.created_by.to_string(),
        created: webhook.created.as_second(),
        failing_since: webhook.failing_since.map(jiff::Timestamp::as_second),
    }
}
