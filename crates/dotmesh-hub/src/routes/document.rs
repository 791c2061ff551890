//! `GET /api/v1/openapi.json`: the API's description of itself.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use bytes::Bytes;

use crate::openapi;

/// Shows this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_document",
    tag = "hub",
    security(()),
    responses((status = 200, description = "An OpenAPI document.", body = serde_json::Value)),
)]
pub async fn get() -> impl IntoResponse {
    let body = Bytes::from_static(openapi::text().as_bytes());
    ([(CONTENT_TYPE, "application/json")], body)
}
