//! `/api/v1/offers`: dots that are offered to the caller.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::{NewName, WaitingDot};
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::take_dot;
use dotmesh_model::DotName;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotIdPath, parse_json, read_body};
use crate::openapi::{OfChange, OfUser};

/// Lists the dots that are offered to the caller.
#[utoipa::path(
    get,
    path = "/offers",
    operation_id = "list_offers",
    tag = "moving dots",
    responses((status = 200, description = "The dots.", body = Vec<WaitingDot>), OfUser),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
) -> Result<Json<Vec<WaitingDot>>, HttpError> {
    let offers = hub.database.offers(caller.id).await?;
    let offers = offers.into_iter().map(|offer| WaitingDot {
        id: offer.id.to_string(),
        name: offer.name,
        since: offer.created.as_second(),
    });
    Ok(Json(offers.collect()))
}

/// Takes a dot that is offered.
///
/// Needs a session, the password, or a key with the scope `admin`.
#[utoipa::path(
    post,
    path = "/offers/{id}",
    operation_id = "take_dot",
    tag = "moving dots",
    params(DotIdPath),
    request_body = NewName,
    responses((status = 200, description = "The new full name of the dot.", body = DotName), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotIdPath(dot): DotIdPath,
    body: Body,
) -> Result<Json<DotName>, HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let NewName { name } = parse_json(&body)?;
    Ok(Json(take_dot::take_dot(&hub, &caller, dot, &name).await?))
}

/// Declines a dot that is offered.
///
/// Needs a session, the password, or a key with the scope `admin`.
#[utoipa::path(
    delete,
    path = "/offers/{id}",
    operation_id = "decline_dot",
    tag = "moving dots",
    params(DotIdPath),
    responses((status = 204, description = "It is not offered any more."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotIdPath(dot): DotIdPath,
) -> Result<StatusCode, HttpError> {
    take_dot::decline_dot(&hub, &caller, dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
