//! Checks a user's text against the quota of a namespace.

use dotmesh_hub_db::ids::UserId;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Returns an error if the text does not fit into the quota of `owner`.
pub(crate) async fn room_for_text(
    hub: &Hub,
    caller: &Caller,
    owner: UserId,
    text: &str,
) -> Result<(), HubError> {
    let usage = hub.database.usage(owner, hub.settings.quota).await?;
    if text.len() as u64 > usage.room() {
        Err(HubError::over_quota(usage, owner == caller.id))
    } else {
        Ok(())
    }
}
