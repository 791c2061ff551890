//! Renames a dot. The old name leads to it until another dot takes that name.

use dotmesh_hub_model::access::Action;
use dotmesh_model::DotName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Renames a dot within its namespace and returns its new name.
pub async fn rename_dot(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    name: &str,
) -> Result<DotName, HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    let to = DotName::new(open.name.namespace.clone(), name)?;
    if to == open.name {
        return Ok(to);
    }
    let renamed = hub
        .database
        .rename_dot(open.deed(hub, caller)?, open.owner, &to)
        .await?;
    if renamed {
        Ok(to)
    } else {
        Err(HubError::DotExists { dot: to })
    }
}
