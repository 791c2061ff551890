//! `/api/v1/offers`: dots that are offered to the caller.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::{NewName, WaitingDot};
use dotmesh_model::DotName;

use super::MAX_BODY_LENGTH;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{DotIdPath, parse_json, read_body};
use crate::operations::take_dot;
use crate::state::Hub;

/// Lists them.
pub async fn get(
    State(hub): State<Hub>,
    caller: Caller,
) -> Result<Json<Vec<WaitingDot>>, HubError> {
    let offers = hub.database.offers(caller.id).await?;
    let offers = offers.into_iter().map(|offer| WaitingDot {
        id: offer.id.to_string(),
        name: offer.name,
        since: offer.created.as_second(),
    });
    Ok(Json(offers.collect()))
}

/// Takes one, and says what it is called.
pub async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotIdPath(dot): DotIdPath,
    body: Body,
) -> Result<Json<DotName>, HubError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let NewName { name } = parse_json(&body)?;
    Ok(Json(take_dot::take_dot(&hub, &caller, dot, &name).await?))
}

/// Declines one.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotIdPath(dot): DotIdPath,
) -> Result<StatusCode, HubError> {
    take_dot::decline_dot(&hub, &caller, dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
