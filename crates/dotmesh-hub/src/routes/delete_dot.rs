//! `DELETE /api/v1/dots/{namespace}/{dot}`: deletes a dot with all its branches and commits.

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::openapi::OfChange;
use crate::operations::delete_dot::delete_dot;
use crate::state::Hub;

/// Deletes a dot with all its branches and commits.
///
/// For the owner only. The owner can restore it from the trash for seven days.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}",
    operation_id = "delete_dot",
    tag = "dots",
    params(DotPath),
    responses((status = 204, description = "It is in the trash."), OfChange),
)]
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<StatusCode, HubError> {
    delete_dot(&hub, &caller, &dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
