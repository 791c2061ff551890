//! `DELETE /api/v1/dots/{namespace}/{dot}/collaborators/{user}`: takes a user's access away.

use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::grant_access::revoke_access;

use crate::error::HttpError;
use crate::extract::{DotPath, UserPath};
use crate::openapi::OfChange;

/// Revokes a user's access to a dot.
///
/// For the owner only.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/collaborators/{user}",
    operation_id = "revoke_access",
    tag = "dots",
    params(DotPath, UserPath),
    responses((status = 204, description = "The user has no access any more."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    UserPath(user): UserPath,
) -> Result<StatusCode, HttpError> {
    revoke_access(&hub, &caller, &dot, user).await?;
    Ok(StatusCode::NO_CONTENT)
}
