//! `POST /api/v1/dots/{namespace}/{dot}/uploads`: begins a push.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::Upload;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;

use super::check_new_upload;
use crate::error::HttpError;
use crate::extract::DotPath;
use crate::openapi::OfChange;

/// Starts a push.
///
/// The dot need not exist yet. Finishing the push creates a dot in the caller's own namespace.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/uploads",
    operation_id = "begin_upload",
    tag = "pushing",
    params(DotPath),
    responses((status = 201, description = "The upload accepts packs.", body = Upload), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<(StatusCode, Json<Upload>), HttpError> {
    let dot = caller.open(&hub, &dot, Action::Push).await?;
    check_new_upload(&hub, &caller, &dot).await?;
    let id = hex::encode(hub.random.bytes::<16>());
    hub.database
        .begin_upload(&id, caller.id, dot.owner, &dot.name, hub.clock.now())
        .await?;
    Ok((StatusCode::CREATED, Json(Upload { id })))
}
