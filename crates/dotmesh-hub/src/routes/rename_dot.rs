//! `POST /api/v1/dots/{namespace}/{dot}/rename`: gives a dot another name in its namespace.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::NewName;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::rename_dot;
use dotmesh_model::DotName;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotPath, parse_json, read_body};
use crate::openapi::OfChange;

/// Renames a dot in its namespace.
///
/// For the owner only. The former name leads to the dot until another dot takes that name.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/rename",
    operation_id = "rename_dot",
    tag = "dots",
    params(DotPath),
    request_body = NewName,
    responses((status = 200, description = "The new full name.", body = DotName), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<(StatusCode, Json<DotName>), HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let NewName { name } = parse_json(&body)?;
    let name = rename_dot::rename_dot(&hub, &caller, &dot, &name).await?;
    Ok((StatusCode::OK, Json(name)))
}
