//! Completes user names by prefix, for forms that ask for one.

use dotmesh_model::UserName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// The shortest prefix, so that nobody can list all accounts.
const MIN_PREFIX_LENGTH: usize = 2;

const MAX_USERS: u32 = 10;

/// Returns the first users with the prefix. `_` proves that the caller is logged in.
pub async fn complete_user(hub: &Hub, _: &Caller, prefix: &str) -> Result<Vec<UserName>, HubError> {
    if prefix.chars().count() < MIN_PREFIX_LENGTH {
        return Ok(Vec::new());
    }
    Ok(hub.database.users_by_prefix(prefix, MAX_USERS).await?)
}
