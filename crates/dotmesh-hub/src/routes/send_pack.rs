//! `POST …/uploads/{upload}/packs`: objects of a push.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::MAX_PACK_LENGTH;

use super::open_upload;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{DotPath, UploadPath, read_body};
use crate::operations::receive_pack;
use crate::state::Hub;

/// Answers when every object has been verified and is in safety.
pub async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    dot: DotPath,
    upload: UploadPath,
    body: Body,
) -> Result<StatusCode, HubError> {
    let (dot, upload) = open_upload(&hub, &caller, &dot, &upload).await?;
    if upload.finished.is_some() {
        return Err(HubError::NoSuchUpload);
    }
    let _turn = hub.packs_in.acquire().await;
    let pack = read_body(body, MAX_PACK_LENGTH, "bytes in a pack").await?;
    receive_pack::receive_pack(&hub, dot.owner, upload.id, pack).await?;
    Ok(StatusCode::NO_CONTENT)
}
