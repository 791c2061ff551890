//! `/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}`: one of a dot's webhooks.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::webhooks::{ChangeWebhook, Webhook};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::change_webhook::{
    change_webhook, delete_webhook, open_webhook,
};

use super::MAX_BODY_LENGTH;
use super::webhooks::shown;
use crate::error::HttpError;
use crate::extract::{DotPath, WebhookPath, parse_json, read_body};
use crate::openapi::OfChange;

/// Shows a webhook.
///
/// For the owner only.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}",
    operation_id = "get_webhook",
    tag = "webhooks",
    params(DotPath, WebhookPath),
    responses((status = 200, description = "The webhook.", body = Webhook), OfChange),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
) -> Result<Json<Webhook>, HttpError> {
    let (_, webhook) = open_webhook(&hub, &caller, &dot, id).await?;
    Ok(Json(shown(webhook)))
}

/// Changes a webhook, or switches it on or off.
///
/// For the owner only.
#[utoipa::path(
    patch,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}",
    operation_id = "change_webhook",
    tag = "webhooks",
    params(DotPath, WebhookPath),
    request_body = ChangeWebhook,
    responses((status = 204, description = "It is changed."), OfChange),
)]
pub(crate) async fn patch(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    // Who may not has no business with what is wrong with the request.
    caller.open(&hub, &dot, Action::Administer).await?;
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let change: ChangeWebhook = parse_json(&body)?;
    change_webhook(&hub, &caller, &dot, id, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a webhook.
///
/// For the owner only. The hub drops pending deliveries.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}",
    operation_id = "delete_webhook",
    tag = "webhooks",
    params(DotPath, WebhookPath),
    responses((status = 204, description = "It is deleted."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
) -> Result<StatusCode, HttpError> {
    delete_webhook(&hub, &caller, &dot, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
