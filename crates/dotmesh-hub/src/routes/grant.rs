//! `PUT /api/v1/dots/{namespace}/{dot}/collaborators/{user}`: lets a user read, write or maintain a dot.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::GrantAccess;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::grant_access::grant_access;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotPath, UserPath, parse_json, read_body};
use crate::openapi::OfChange;

/// Grants a user access to a dot, or changes the user's access.
///
/// For the owner only.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/collaborators/{user}",
    operation_id = "grant_access",
    tag = "dots",
    params(DotPath, UserPath),
    request_body = GrantAccess,
    responses((status = 204, description = "The user has that access."), OfChange),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    UserPath(user): UserPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    // Who may not has no business with what is wrong with the request.
    caller.open(&hub, &dot, Action::Administer).await?;
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let GrantAccess { access } = parse_json(&body)?;
    grant_access(&hub, &caller, &dot, user, access).await?;
    Ok(StatusCode::NO_CONTENT)
}
