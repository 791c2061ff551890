//! `/api/v1/dots/{namespace}/{dot}/offer`: a dot's offer to another user.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::OfferDot;

use super::MAX_BODY_LENGTH;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{DotPath, parse_json, read_body};
use crate::operations::offer_dot;
use crate::state::Hub;

/// Offers it.
pub async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<StatusCode, HubError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let OfferDot { user } = parse_json(&body)?;
    offer_dot::offer_dot(&hub, &caller, &dot, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraws the offer.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<StatusCode, HubError> {
    offer_dot::withdraw_offer(&hub, &caller, &dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
