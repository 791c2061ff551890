//! `/api/v1/dots/{namespace}/{dot}/settings`: what maintainers set of a dot.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::{ChangeSettings, DotSettings};

use crate::access::Action;
use crate::auth::{Caller, Viewer};
use crate::error::HubError;
use crate::extract::{DotPath, parse_json, read_body};
use crate::operations::change_settings;
use crate::state::Hub;

/// A description may need several bytes of JSON for each of its own.
const MAX_BODY_LENGTH: usize = 8 * change_settings::MAX_DESCRIPTION_LENGTH;

/// Shows them to everyone who sees the dot.
pub async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
) -> Result<Json<DotSettings>, HubError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let id = open.existing()?;
    let details = hub.database.dot_details(id, viewer.id()).await?;
    let protected = hub.database.protected(id).await?;
    Ok(Json(DotSettings {
        description: details.description,
        default_branch: details.default_branch,
        visibility: open.visibility,
        protected: protected.into_iter().collect(),
        forked_from: details.forked_from,
    }))
}

/// Changes some.
pub async fn patch(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<StatusCode, HubError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let change: ChangeSettings = parse_json(&body)?;
    change_settings::change_settings(&hub, &caller, &dot, change).await?;
    Ok(StatusCode::NO_CONTENT)
}
