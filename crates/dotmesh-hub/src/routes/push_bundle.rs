//! `PUT …/uploads/{upload}`: a whole push in one request, if it is small.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use dotmesh_api::Bundle;
use dotmesh_api::hub::FinishUpload;
use dotmesh_api::identity::IDENTITY_HEADER;
use dotmesh_hub_db::objects::UploadScope;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::BUNDLE;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::finish_upload::{Finish, finish_upload};
use dotmesh_hub_service::operations::receive_pack::receive_pack;
use dotmesh_hub_service::rate_limit::Subject;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::DotIdentity;
use sha2::{Digest as _, Sha256};

use super::{check_limits, check_new_upload};
use crate::error::HttpError;
use crate::extract::{DotPath, UploadPath, parse_open_json, read_body};
use crate::openapi::{Binary, OfChange};

/// Makes a small push in one request.
///
/// The client chooses the id of the upload: 32 random lowercase hex digits. The answer and all checks are those of
/// finishing an upload. If the response got lost, the same request again returns the result.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/uploads/{upload}",
    operation_id = "push_bundle",
    tag = "pushing",
    params(DotPath, UploadPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "A bundle of at most 1 MiB: the length of a pack as a little-endian `u32`, the pack, and the JSON text of `FinishUpload`; see `docs/protocol.md`."),
    responses(
        (
            status = 204,
            description = "The commits and branches are visible.",
            headers(("dotmesh-identity" = DotIdentity, description = "The identity of their dot.")),
        ),
        OfChange,
    ),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(name): DotPath,
    UploadPath(token): UploadPath,
    body: Body,
) -> Result<impl IntoResponse, HttpError> {
    let dot = caller.open(&hub, &name, Action::Push).await?;
    let find = || hub.database.upload(&token, caller.id, dot.owner, &dot.name);
    let known = find().await?;
    if known.is_none() {
        check_id(&token)?;
        check_new_upload(&hub, &caller, &dot).await?;
    }
    let body = read_body(body, BUNDLE.most, "bytes in a bundle").await?;
    let digest = Sha256::digest(&body).to_vec();
    let Bundle { pack, json } = Bundle::decode(&body)
        .ok_or_else(|| HttpError::malformed("the bundle is shorter than its pack"))?;
    let request: FinishUpload = parse_open_json(&json)?;
    check_limits(&request)?;
    let upload = match known {
        Some(upload) => upload,
        None => {
            let now = hub.clock.now();
            hub.database
                .begin_upload(&token, caller.id, dot.owner, &dot.name, now)
                .await?;
            // The id may be that of another upload.
            find().await?.ok_or(HubError::NoSuchUpload)?
        }
    };
    let subject = Subject::User(caller.id);
    let packs_in = hub.turns.packs_in.take(&subject, pack.len()).await?;
    let finishes = hub.turns.finishes.take(&subject, 1).await?;
    let scope = UploadScope {
        user: caller.id,
        reads_as: caller.reads_as(),
        owner: dot.owner,
        dot: dot.id,
        upload: upload.id,
    };
    let finish = Finish {
        caller,
        dot: name,
        upload: upload.id,
        digest,
        request,
    };
    // It goes on if the client disconnects.
    let identity = tokio::spawn(async move {
        let _turns = (packs_in, finishes);
        if upload.finished.is_none() {
            receive_pack(&hub, &dot.name, scope, pack).await?;
        }
        finish_upload(&hub, &finish).await
    })
    .await??;
    let identity = [(IDENTITY_HEADER, identity.to_string())];
    Ok((StatusCode::NO_CONTENT, identity))
}

/// Checks that an id is long enough to be random.
fn check_id(token: &str) -> Result<(), HttpError> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match token.len() == 32 && token.bytes().all(is_digit) {
        true => Ok(()),
        false => Err(HttpError::malformed(
            "the id of the upload is not 32 lowercase hex digits",
        )),
    }
}
