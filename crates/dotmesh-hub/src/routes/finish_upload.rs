//! `POST …/uploads/{upload}/finish`: makes a push visible, all of it or nothing.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use dotmesh_api::hub::FinishUpload;
use dotmesh_api::identity::IDENTITY_HEADER;
use dotmesh_hub_model::limits::PUSH;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::finish_upload::{self, Finish};
use dotmesh_hub_service::rate_limit::Subject;
use dotmesh_model::DotIdentity;
use sha2::{Digest as _, Sha256};

use super::{check_limits, open_upload};
use crate::error::HttpError;
use crate::extract::{DotPath, UploadPath, parse_open_json, read_body};
use crate::openapi::OfChange;

/// Finishes a push atomically: all of it becomes visible, or nothing.
///
/// If the response got lost, the same request again returns the result.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/uploads/{upload}/finish",
    operation_id = "finish_upload",
    tag = "pushing",
    params(DotPath, UploadPath),
    request_body = FinishUpload,
    responses(
        (
            status = 204,
            description = "The commits and branches are visible.",
            headers(("dotmesh-identity" = DotIdentity, description = "The identity of their dot.")),
        ),
        OfChange,
    ),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    dot: DotPath,
    upload: UploadPath,
    body: Body,
) -> Result<impl IntoResponse, HttpError> {
    let (_, upload) = open_upload(&hub, &caller, &dot, &upload).await?;
    let body = read_body(body, PUSH.most, "bytes of commits in one push").await?;
    let request: FinishUpload = parse_open_json(&body)?;
    check_limits(&request)?;
    let digest = Sha256::digest(&body).to_vec();
    let turn = hub
        .turns
        .finishes
        .take(&Subject::User(caller.id), 1)
        .await?;
    let finish = Finish {
        caller,
        dot: dot.0,
        upload: upload.id,
        digest,
        request,
    };
    let identity = tokio::spawn(async move {
        let _turn = turn;
        finish_upload::finish_upload(&hub, &finish).await
    })
    .await??;
    let identity = [(IDENTITY_HEADER, identity.to_string())];
    Ok((StatusCode::NO_CONTENT, identity))
}
