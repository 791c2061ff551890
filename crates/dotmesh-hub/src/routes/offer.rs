//! `/api/v1/dots/{namespace}/{dot}/offer`: a dot's offer to another user.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::OfferDot;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::offer_dot;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotPath, parse_json, read_body};
use crate::openapi::OfChange;

/// Offers a dot to another user, who may take it.
///
/// For the owner only.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/offer",
    operation_id = "offer_dot",
    tag = "moving dots",
    params(DotPath),
    request_body = OfferDot,
    responses((status = 204, description = "It is offered."), OfChange),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let OfferDot { user } = parse_json(&body)?;
    offer_dot::offer_dot(&hub, &caller, &dot, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraws the offer of a dot.
///
/// For the owner only.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/offer",
    operation_id = "withdraw_offer",
    tag = "moving dots",
    params(DotPath),
    responses((status = 204, description = "It is not offered any more."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<StatusCode, HttpError> {
    offer_dot::withdraw_offer(&hub, &caller, &dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
