//! Changes a dot's description, default branch, visibility and fork policy.

use dotmesh_api::dots::ChangeSettings;
use dotmesh_hub_db::dot_settings::NewSettings;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::DESCRIPTION;
use dotmesh_model::DotName;

use super::room_for_text::room_for_text;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Changes all given settings or none. Only the owner may change the visibility and the fork policy. Maintainers may
/// change the rest.
pub async fn change_settings(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    change: ChangeSettings,
) -> Result<(), HubError> {
    let action = match (change.visibility, change.forks) {
        (None, None) => Action::Maintain,
        _ => Action::Administer,
    };
    let open = caller.open(hub, dot, action).await?;
    if let Some(description) = &change.description {
        DESCRIPTION.check(description.len())?;
        room_for_text(hub, caller, open.owner, description).await?;
    }
    let branch = change.default_branch.clone();
    let new = NewSettings {
        description: change.description,
        default_branch: change.default_branch,
        visibility: change.visibility,
        forks: change.forks,
    };
    match (
        hub.database.set_dot(open.deed(caller)?, &new).await?,
        branch,
    ) {
        (false, Some(branch)) => Err(HubError::NoSuchBranch {
            dot: open.name,
            branch,
        }),
        _ => Ok(()),
    }
}
