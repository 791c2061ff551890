//! `POST …/uploads/{upload}/missing`: which objects the hub needs to be sent.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dotmesh_api::hub_client;
use dotmesh_hub_db::objects::UploadScope;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::ObjectHash;

use super::open_upload;
use crate::error::HttpError;
use crate::extract::{DotPath, UploadPath, read_hashes};
use crate::openapi::{Binary, OfChange};

/// Lists the objects that the client has to send.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/uploads/{upload}/missing",
    operation_id = "list_missing",
    tag = "pushing",
    params(DotPath, UploadPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "Hashes, 32 bytes each, at most 8192."),
    responses((status = 200, description = "Their hashes in the requested order, 32 bytes each.", body = inline(Binary), content_type = "application/octet-stream"), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    dot: DotPath,
    upload: UploadPath,
    body: Body,
) -> Result<impl IntoResponse, HttpError> {
    let (dot, upload) = open_upload(&hub, &caller, &dot, &upload).await?;
    if upload.finished.is_some() {
        return Err(HubError::NoSuchUpload.into());
    }
    let hashes = read_hashes(body).await?;
    let scope = UploadScope {
        user: caller.id,
        reads_as: caller.reads_as(),
        owner: dot.owner,
        dot: dot.id,
        upload: upload.id,
    };
    let usable = hub.database.usable_and_noted(scope, &hashes).await?;
    let missing: Vec<ObjectHash> = hashes
        .into_iter()
        .zip(usable)
        .filter_map(|(hash, known)| known.is_none().then_some(hash))
        .collect();
    Ok((
        [(CONTENT_TYPE, "application/octet-stream")],
        hub_client::join(&missing),
    ))
}
