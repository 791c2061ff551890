//! `DELETE /api/v1/dots/{namespace}/{dot}`: deletes a dot with all its branches and commits.

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::operations::delete_dot::delete_dot;
use crate::state::Hub;

/// Deletes it, all of it in one step.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<StatusCode, HubError> {
    delete_dot(&hub, &caller, &dot).await?;
    Ok(StatusCode::NO_CONTENT)
}
