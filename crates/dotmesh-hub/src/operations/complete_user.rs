//! The users whose names begin so, for who is about to name one.

use dotmesh_model::UserName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// The fewest characters: nobody lists all accounts.
const MIN_PREFIX_LENGTH: usize = 2;

const MAX_USERS: u32 = 10;

/// The first few. `_` has to be logged in.
pub async fn complete_user(hub: &Hub, _: &Caller, prefix: &str) -> Result<Vec<UserName>, HubError> {
    if prefix.chars().count() < MIN_PREFIX_LENGTH {
        return Ok(Vec::new());
    }
    Ok(hub.database.users_by_prefix(prefix, MAX_USERS).await?)
}
