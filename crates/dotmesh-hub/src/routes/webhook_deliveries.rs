//! `/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}/deliveries`: what a webhook was told, and what came of it.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use dotmesh_api::webhooks::Delivery;
use dotmesh_hub_db::deliveries::StoredDelivery;
use dotmesh_hub_db::ids::DeliveryId;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::change_webhook::open_webhook;
use dotmesh_hub_service::operations::deliver_again;
use dotmesh_hub_service::webhooks::payload;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::HttpError;
use crate::extract::{DeliveryPath, DotPath, WebhookPath};
use crate::openapi::OfChange;

/// The most deliveries in an answer.
const PAGE: u32 = 100;

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Before {
    /// Lists deliveries before the delivery with this id. Without it, lists the newest.
    before: Option<i64>,
}

/// The delivery of a test `ping`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ping {
    /// The delivery's id.
    id: String,
}

/// Lists the deliveries of a webhook, sent and pending.
///
/// For the owner only. A response has at most 100. The hub keeps deliveries for four weeks.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}/deliveries",
    operation_id = "list_webhook_deliveries",
    tag = "webhooks",
    params(DotPath, WebhookPath, Before),
    responses((status = 200, description = "The deliveries, the newest first.", body = Vec<Delivery>), OfChange),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
    query: Result<Query<Before>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Delivery>>, HttpError> {
    open_webhook(&hub, &caller, &dot, id).await?;
    let Query(Before { before }) =
        query.map_err(|_| HttpError::malformed("`before` must be the id of a delivery"))?;
    let before = before.map(DeliveryId::from_number);
    let deliveries = hub.database.deliveries(id, before, PAGE).await?;
    Ok(Json(deliveries.into_iter().map(shown).collect()))
}

/// Tests a webhook: sends it a `ping`.
///
/// For the owner only.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}/ping",
    operation_id = "ping_webhook",
    tag = "webhooks",
    params(DotPath, WebhookPath),
    responses((status = 202, description = "The hub delivers it at once.", body = Ping), OfChange),
)]
pub(crate) async fn ping(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
) -> Result<(StatusCode, Json<Ping>), HttpError> {
    let id = deliver_again::ping(&hub, &caller, &dot, id).await?;
    let id = id.to_string();
    Ok((StatusCode::ACCEPTED, Json(Ping { id })))
}

/// Repeats a delivery, or sends a pending one at once.
///
/// For the owner only. It has the same `webhook-id` as before.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/webhooks/{webhook}/deliveries/{delivery}/redeliver",
    operation_id = "redeliver",
    tag = "webhooks",
    params(DotPath, WebhookPath, DeliveryPath),
    responses((status = 202, description = "The hub delivers it at once."), OfChange),
)]
pub(crate) async fn redeliver(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    WebhookPath(id): WebhookPath,
    DeliveryPath(delivery): DeliveryPath,
) -> Result<StatusCode, HttpError> {
    deliver_again::redeliver(&hub, &caller, &dot, id, delivery).await?;
    Ok(StatusCode::ACCEPTED)
}

fn shown(delivery: StoredDelivery) -> Delivery {
    let last = delivery.last.as_ref();
    Delivery {
        id: delivery.id.to_string(),
        kind: payload::kind(&delivery.event.kind).to_owned(),
        created: delivery.event.time.as_second(),
        state: delivery.state,
        attempts: delivery.attempts,
        due: delivery.due.map(jiff::Timestamp::as_second),
        attempted: last.map(|last| last.ended.as_second()),
        took: last.map(|last| last.took),
        status: last.and_then(|last| last.status),
        error: delivery.error,
        response: last.map(|last| last.response.clone()),
        message: delivery.message,
    }
}
