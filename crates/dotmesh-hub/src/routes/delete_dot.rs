//! `DELETE /api/v1/dots/{namespace}/{dot}`: deletes a dot with all its branches and commits.

use axum::extract::State;
use axum::http::StatusCode;

use crate::access::Action;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::state::Hub;

/// Deletes it, all of it in one step.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<StatusCode, HubError> {
    let dot = caller.open(&hub, &dot, Action::Administer).await?;
    hub.database.delete_dot(dot.deed(&caller)?).await?;
    tracing::info!(dot = dot.name.full(), user = %caller.name, "dot deleted");
    Ok(StatusCode::NO_CONTENT)
}
