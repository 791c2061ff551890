//! `POST /api/v1/dots/{namespace}/{dot}/fork`: makes a dot of the caller's with the same history.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::NewName;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::fork_dot;
use dotmesh_model::DotName;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotPath, parse_json, read_body};
use crate::openapi::OfChange;

/// Forks a dot: creates a dot of the caller with the same history.
///
/// No data is copied.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/fork",
    operation_id = "fork_dot",
    tag = "dots",
    params(DotPath),
    request_body = NewName,
    responses((status = 201, description = "The fork's full name.", body = DotName), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<(StatusCode, Json<DotName>), HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let NewName { name } = parse_json(&body)?;
    let name = fork_dot::fork_dot(&hub, &caller, &dot, &name).await?;
    Ok((StatusCode::CREATED, Json(name)))
}
