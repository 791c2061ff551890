//! `GET /api/v1/version`: what answers here. Needs no login.

use axum::Json;
use dotmesh_api::hub::{HubVersion, PROTOCOL_VERSION};

/// Shows the version of the hub.
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "get_version",
    tag = "hub",
    security(()),
    responses((status = 200, description = "The version.", body = HubVersion)),
)]
pub(crate) async fn get() -> Json<HubVersion> {
    Json(HubVersion {
        server: "dothub".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL_VERSION,
        commits_without_data: true,
        databases: true,
        bundles: true,
    })
}
