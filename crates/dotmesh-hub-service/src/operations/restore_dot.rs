//! Restores a deleted dot.

use dotmesh_hub_db::events::Deed;
use dotmesh_hub_db::ids::DotId;
use dotmesh_hub_db::trash::Restoration;
use dotmesh_hub_model::access::Scope;
use dotmesh_model::DotName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Restores a dot under the name that it had, and returns that name.
pub async fn restore_dot(hub: &Hub, caller: &Caller, dot: DotId) -> Result<DotName, HubError> {
    caller.require(Scope::Admin)?;
    let deleted = hub.database.deleted_dots(caller.id).await?;
    let deleted = deleted
        .into_iter()
        .find(|deleted| deleted.id == dot)
        .ok_or(HubError::NoSuchDeletedDot)?;
    let deed = Deed {
        actor: &caller.name,
        dot,
        name: &deleted.name,
        now: hub.clock.now(),
    };
    match hub.database.restore_dot(deed, caller.id).await? {
        Restoration::Restored => Ok(deleted.name),
        Restoration::Missing => Err(HubError::NoSuchDeletedDot),
        Restoration::NameTaken => Err(HubError::DotExists { dot: deleted.name }),
    }
}
