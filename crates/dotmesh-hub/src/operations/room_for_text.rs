//! Whether a namespace has room for a text that someone writes.

use crate::auth::Caller;
use crate::database::ids::UserId;
use crate::error::HubError;
use crate::state::Hub;

/// Refuses a text that `owner` has no room for.
pub async fn room_for_text(
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
