//! `/api/v1/dots/{namespace}/{dot}/settings`: what maintainers set of a dot.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::{ChangeSettings, DotSettings};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::{Caller, Viewer};
use dotmesh_hub_service::operations::change_settings;

use crate::error::HttpError;
use crate::extract::{DotPath, parse_json, read_body};
use crate::openapi::{OfChange, OfLookup};

/// A description may need several bytes of JSON for each of its own.
const MAX_BODY_LENGTH: usize = 8 * (64 << 10);

/// Shows the settings of a dot.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/settings",
    operation_id = "get_settings",
    tag = "dots",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath),
    responses((status = 200, description = "The settings.", body = DotSettings), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
) -> Result<Json<DotSettings>, HttpError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let id = open.existing()?;
    let details = hub.database.dot_details(id, viewer.id()).await?;
    let protected = hub.database.protected(id).await?;
    Ok(Json(DotSettings {
        description: details.description,
        default_branch: details.default_branch,
        visibility: open.visibility,
        forks: details.who_forks,
        protected: protected.into_iter().collect(),
        forked_from: details.forked_from,
    }))
}

/// Changes some settings of a dot.
///
/// For maintainers. Only the owner can change `visibility` and `forks`.
#[utoipa::path(
    patch,
    path = "/dots/{namespace}/{dot}/settings",
    operation_id = "change_settings",
    tag = "dots",
    params(DotPath),
    request_body = ChangeSettings,
    responses((status = 204, description = "The settings are changed."), OfChange),
)]
pub(crate) async fn patch(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let change: ChangeSettings = parse_json(&body)?;
    change_settings::change_settings(&hub, &caller, &dot, change).await?;
    Ok(StatusCode::NO_CONTENT)
}
