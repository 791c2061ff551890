//! `PUT /api/v1/dots/{namespace}/{dot}/collaborators/{user}`: lets a user read or write a dot.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::hub::GrantAccess;

use crate::access::Action;
use crate::auth::Caller;
use crate::database::collaborators::Grant;
use crate::error::HubError;
use crate::extract::{DotPath, UserPath, parse_json, read_body};
use crate::state::Hub;

const MAX_BODY_LENGTH: usize = 1024;

/// Gives access, or changes what was given.
pub async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    UserPath(user): UserPath,
    body: Body,
) -> Result<StatusCode, HubError> {
    let dot = caller.open(&hub, &dot, Action::Administer).await?;
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let GrantAccess { access } = parse_json(&body)?;
    let grant = Grant::new(access).ok_or(HubError::OwnerIsFixed)?;
    if user == caller.name {
        return Err(HubError::OwnerIsFixed);
    }
    let Some(id) = hub.database.user(&user).await? else {
        return Err(HubError::NoSuchUser { user });
    };
    let deed = dot.deed(&caller)?;
    hub.database.grant(deed, id, &user, grant).await?;
    tracing::info!(dot = dot.name.full(), %user, ?grant, "access granted");
    Ok(StatusCode::NO_CONTENT)
}
