//! `DELETE /api/v1/dots/{namespace}/{dot}`: deletes a dot with all its branches and commits.

use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::delete_dot::delete_dot;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::openapi::OfChange;

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
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<StatusCode, HttpError> {
    delete_dot(&hub, &caller, &dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
