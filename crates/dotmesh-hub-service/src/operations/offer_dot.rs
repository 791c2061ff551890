//! Offers a dot to another user. The dot moves only when that user accepts it, so users get no unwanted dots.

use dotmesh_hub_model::access::Action;
use dotmesh_model::{DotName, UserName};

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Offers the dot to a user. This replaces an earlier offer.
pub async fn offer_dot(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    user: UserName,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    if user.as_str() == open.name.namespace.as_str() {
        return Err(HubError::OwnerIsFixed);
    }
    let Some(id) = hub.database.user(&user).await? else {
        return Err(HubError::NoSuchUser { user });
    };
    hub.database
        .offer_dot(open.deed(hub, caller)?, id, &user)
        .await?;
    Ok(())
}

/// Withdraws the offer, if there is one.
pub async fn withdraw_offer(hub: &Hub, caller: &Caller, dot: &DotName) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    hub.database.end_offer(open.existing()?, None).await?;
    Ok(())
}
