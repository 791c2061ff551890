//! `POST …/uploads/{upload}/missing`: which objects the hub needs to be sent.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dotmesh_api::hub_client;
use dotmesh_model::ObjectHash;

use super::open_upload;
use crate::auth::Caller;
use crate::database::objects::Scope;
use crate::error::HubError;
use crate::extract::{DotPath, UploadPath, read_hashes};
use crate::state::Hub;

/// Answers with those that the upload may not refer to yet, in the order asked.
///
/// Whether another's objects are stored does not show: they are missing, too.
pub async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    dot: DotPath,
    upload: UploadPath,
    body: Body,
) -> Result<impl IntoResponse, HubError> {
    let (dot, upload) = open_upload(&hub, &caller, &dot, &upload).await?;
    if upload.finished.is_some() {
        return Err(HubError::NoSuchUpload);
    }
    let hashes = read_hashes(body).await?;
    let scope = Scope {
        user: caller.id,
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
