//! `DELETE /api/v1/dots/{namespace}/{dot}/collaborators/{user}`: takes a user's access away.

use axum::extract::State;
use axum::http::StatusCode;

use crate::access::Action;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::{DotPath, UserPath};
use crate::state::Hub;

/// Takes it away. What the user has cloned already stays with the user.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    UserPath(user): UserPath,
) -> Result<StatusCode, HubError> {
    let dot = caller.open(&hub, &dot, Action::Administer).await?;
    let revoked = match hub.database.user(&user).await? {
        Some(id) => {
            let deed = dot.deed(&caller)?;
            hub.database.revoke(deed, id, &user).await?
        }
        None => false,
    };
    if !revoked {
        return Err(HubError::NoSuchCollaborator {
            user,
            dot: dot.name,
        });
    }
    tracing::info!(dot = dot.name.full(), %user, "access revoked");
    Ok(StatusCode::NO_CONTENT)
}
