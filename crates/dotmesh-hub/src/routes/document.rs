//! `GET /api/v1/openapi.json`: the API's description of itself.

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use bytes::Bytes;

use crate::openapi::Document;

/// Shows this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_document",
    tag = "hub",
    security(()),
    responses((status = 200, description = "An OpenAPI document.", body = serde_json::Value)),
)]
pub(crate) async fn get(Extension(document): Extension<Document>) -> impl IntoResponse {
    let body = Bytes::from_static(document.0.as_bytes());
    ([(CONTENT_TYPE, "application/json")], body)
}
