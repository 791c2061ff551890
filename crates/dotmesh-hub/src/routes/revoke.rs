//! `DELETE /api/v1/dots/{namespace}/{dot}/collaborators/{user}`: takes a user's access away.

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{DotPath, UserPath};
use crate::openapi::OfChange;
use crate::operations::grant_access::revoke_access;
use crate::state::Hub;

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
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    UserPath(user): UserPath,
) -> Result<StatusCode, HubError> {
    revoke_access(&hub, &caller, &dot, user).await?;
    Ok(StatusCode::NO_CONTENT)
}
