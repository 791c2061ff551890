//! `POST …/uploads/{upload}/finish`: makes a push visible, all of it or nothing.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::{FinishUpload, MAX_COMMITS_PER_PUSH};
use sha2::{Digest as _, Sha256};

use super::open_upload;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{DotPath, UploadPath, parse_json, read_body};
use crate::openapi::OfChange;
use crate::operations::finish_upload::{self, Finish};
use crate::state::Hub;

/// The longest request, in bytes.
pub const MAX_FINISH_LENGTH: usize = 64 << 20;

/// The most branches that one push may move.
pub const MAX_BRANCHES_PER_PUSH: usize = 1000;

/// Makes a push visible, all of it or nothing.
///
/// Asking again with the same body says what came of it.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/uploads/{upload}/finish",
    operation_id = "finish_upload",
    tag = "pushing",
    params(DotPath, UploadPath),
    request_body = FinishUpload,
    responses((status = 204, description = "The commits and branches are there."), OfChange),
)]
pub async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    dot: DotPath,
    upload: UploadPath,
    body: Body,
) -> Result<StatusCode, HubError> {
    let (dot, upload) = open_upload(&hub, &caller, &dot, &upload).await?;
    let turn = hub.finishes.clone().acquire_owned().await;
    let body = read_body(body, MAX_FINISH_LENGTH, "bytes of commits in one push").await?;
    let request: FinishUpload = parse_json(&body)?;
    if request.commits.len() > MAX_COMMITS_PER_PUSH {
        return Err(HubError::TooLarge {
            what: "commits in one push",
            limit: MAX_COMMITS_PER_PUSH,
        });
    }
    if request.branches.len() > MAX_BRANCHES_PER_PUSH {
        let what = "branches in one push";
        return Err(HubError::TooLarge {
            what,
            limit: MAX_BRANCHES_PER_PUSH,
        });
    }
    let digest = Sha256::digest(&body).to_vec();
    let finish = Finish {
        caller,
        dot: dot.name,
        upload: upload.id,
        digest,
        request,
    };
    tokio::spawn(async move {
        let _turn = turn;
        finish_upload::finish_upload(&hub, &finish).await
    })
    .await??;
    Ok(StatusCode::NO_CONTENT)
}
