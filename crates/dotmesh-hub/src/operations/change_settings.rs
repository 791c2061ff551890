//! Describing a dot, choosing its default branch and who may see it.

use dotmesh_api::dots::ChangeSettings;
use dotmesh_model::DotName;

use crate::access::Action;
use crate::auth::Caller;
use crate::database::dot_settings::NewSettings;
use crate::error::HubError;
use crate::state::Hub;

/// The longest description, in bytes.
pub const MAX_DESCRIPTION_LENGTH: usize = 64 << 10;

/// Changes all of it or nothing. The visibility is for the owner to change, the rest for maintainers.
pub async fn change_settings(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    change: ChangeSettings,
) -> Result<(), HubError> {
    let action = match change.visibility {
        Some(_) => Action::Administer,
        None => Action::Maintain,
    };
    let open = caller.open(hub, dot, action).await?;
    if let Some(description) = &change.description
        && description.len() > MAX_DESCRIPTION_LENGTH
    {
        return Err(HubError::TooLarge {
            what: "bytes in a description",
            limit: MAX_DESCRIPTION_LENGTH,
        });
    }
    let branch = change.default_branch.clone();
    let new = NewSettings {
        description: change.description,
        default_branch: change.default_branch,
        visibility: change.visibility,
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
