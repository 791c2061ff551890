//! Grants a user access to a dot, and revokes it.

use dotmesh_api::hub::Access;
use dotmesh_hub_db::collaborators::Grant;
use dotmesh_hub_model::access::Action;
use dotmesh_model::{DotName, UserName};

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Grants access, or changes the access that a user has.
pub async fn grant_access(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    user: UserName,
    access: Access,
) -> Result<(), HubError> {
    let dot = caller.open(hub, dot, Action::Administer).await?;
    let grant = Grant::new(access).ok_or(HubError::OwnerIsFixed)?;
    if user.as_str() == dot.name.namespace.as_str() {
        return Err(HubError::OwnerIsFixed);
    }
    let Some(id) = hub.database.user(&user).await? else {
        return Err(HubError::NoSuchUser { user });
    };
    hub.database
        .grant(dot.deed(hub, caller)?, id, &user, grant)
        .await?;
    tracing::info!(dot = dot.name.full(), %user, ?grant, "access granted");
    Ok(())
}

/// Revokes access. The user's clones stay with the user.
pub async fn revoke_access(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    user: UserName,
) -> Result<(), HubError> {
    let dot = caller.open(hub, dot, Action::Administer).await?;
    let deed = dot.deed(hub, caller)?;
    let revoked = match hub.database.user(&user).await? {
        Some(id) => hub.database.revoke(deed, id, &user).await?,
        None => false,
    };
    if !revoked {
        let dot = dot.name;
        return Err(HubError::NoSuchCollaborator { user, dot });
    }
    tracing::info!(dot = dot.name.full(), %user, "access revoked");
    Ok(())
}
