//! Changes a dot's description, default branch, visibility and fork policy.

use dotmesh_api::dots::{ChangeSettings, Visibility};
use dotmesh_hub_db::dot_settings::NewSettings;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::DESCRIPTION;
use dotmesh_model::{CommitId, DotName};

use super::objects_of_dot;
use super::room_for_text::room_for_text;
use crate::auth::{Caller, OpenDot};
use crate::error::HubError;
use crate::state::Hub;

/// The most branches whose heads are searched for secrets. The default branch is among them.
const SEARCHED_BRANCHES: u32 = 50;

/// The most tree pages that are read for it.
const SEARCHED_PAGES: usize = 2_000;

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
    if change.visibility == Some(Visibility::Public)
        && open.visibility == Visibility::Private
        && !change.allow_secrets
    {
        refuse_secrets(hub, &open).await?;
    }
    let branch = change.default_branch.clone();
    let new = NewSettings {
        description: change.description,
        default_branch: change.default_branch,
        visibility: change.visibility,
        forks: change.forks,
    };
    match (
        hub.database.set_dot(open.deed(hub, caller)?, &new).await?,
        branch,
    ) {
        (false, Some(branch)) => Err(HubError::NoSuchBranch {
            dot: open.name,
            branch,
        }),
        _ => Ok(()),
    }
}

/// Returns an error if the heads of the newest branches have files that look like secrets. It is a warning about an
/// oversight: a very large dot is searched in part only.
async fn refuse_secrets(hub: &Hub, dot: &OpenDot) -> Result<(), HubError> {
    let id = dot.existing()?;
    let branches = hub.database.newest_branches(id, SEARCHED_BRANCHES).await?;
    let mut roots = Vec::with_capacity(branches.len());
    for branch in branches {
        let ancestry = hub.database.ancestry(id, branch.head, CommitId::ROOT, 1);
        let heads = ancestry.await?.commits;
        let heads = heads.iter().filter(|commit| !commit.without_data);
        roots.extend(heads.map(|commit| commit.root));
    }
    let reader = objects_of_dot::reader(hub, dot.share(hub), dot.owner, id);
    let found = reader.suspects(&roots, SEARCHED_PAGES).await?;
    match found.count {
        0 => Ok(()),
        count => Err(HubError::LooksSecret {
            dot: dot.name.clone(),
            count,
            first: found.first,
        }),
    }
}
