//! Accepts or declines a dot that another user offers.

use dotmesh_hub_db::events::Deed;
use dotmesh_hub_db::ids::DotId;
use dotmesh_hub_db::transfers::OwnershipTransfer;
use dotmesh_hub_model::access::Scope;
use dotmesh_model::DotName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Moves the dot into the caller's namespace under a name, and returns its full name.
pub async fn take_dot(
    hub: &Hub,
    caller: &Caller,
    dot: DotId,
    name: &str,
) -> Result<DotName, HubError> {
    caller.require(Scope::Admin)?;
    let to = DotName::new(caller.name.clone().into(), name)?;
    let offers = hub.database.offers(caller.id).await?;
    let offer = offers
        .into_iter()
        .find(|offer| offer.id == dot)
        .ok_or(HubError::NoSuchOffer)?;
    let deed = Deed {
        actor: &caller.name,
        dot,
        name: &offer.name,
        now: hub.clock.now(),
    };
    let quota = hub.settings.quota;
    let transfer = hub.database.transfer_dot(deed, caller.id, &to, quota);
    match transfer.await? {
        OwnershipTransfer::Done => Ok(to),
        OwnershipTransfer::Missing => Err(HubError::NoSuchOffer),
        OwnershipTransfer::NameTaken => Err(HubError::DotExists { dot: to }),
        OwnershipTransfer::OverQuota(usage) => Err(HubError::over_quota(usage, true)),
    }
}

/// Declines the offer.
pub async fn decline_dot(hub: &Hub, caller: &Caller, dot: DotId) -> Result<(), HubError> {
    caller.require(Scope::Admin)?;
    if hub.database.end_offer(dot, Some(caller.id)).await? {
        Ok(())
    } else {
        Err(HubError::NoSuchOffer)
    }
}
