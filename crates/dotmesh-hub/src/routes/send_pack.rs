//! `POST …/uploads/{upload}/packs`: objects of a push.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::MAX_PACK_LENGTH;
use dotmesh_hub_db::objects::UploadScope;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::receive_pack;
use dotmesh_hub_service::rate_limit::Subject;
use dotmesh_hub_service::{Hub, HubError};

use super::open_upload;
use crate::error::HttpError;
use crate::extract::{DotPath, UploadPath, read_body};
use crate::openapi::{Binary, OfChange};

/// Receives a pack of objects.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/uploads/{upload}/packs",
    operation_id = "send_pack",
    tag = "pushing",
    params(DotPath, UploadPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "A pack of at most 32 MiB; see `docs/format.md`."),
    responses((status = 204, description = "The hub has verified and stored every object."), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    dot: DotPath,
    upload: UploadPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let (dot, upload) = open_upload(&hub, &caller, &dot, &upload).await?;
    if upload.finished.is_some() {
        return Err(HubError::NoSuchUpload.into());
    }
    let pack = read_body(body, MAX_PACK_LENGTH, "bytes in a pack").await?;
    let subject = Subject::User(caller.id);
    let _turn = hub.turns.packs_in.take(&subject, pack.len()).await?;
    let scope = UploadScope {
        user: caller.id,
        reads_as: caller.reads_as(),
        owner: dot.owner,
        dot: dot.id,
        upload: upload.id,
    };
    receive_pack::receive_pack(&hub, &dot.name, scope, pack).await?;
    Ok(StatusCode::NO_CONTENT)
}
