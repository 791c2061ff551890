//! Forks a dot: creates a dot of the caller's with the history of another.

use dotmesh_hub_db::forks::Forking;
use dotmesh_hub_model::access::{self, Action};
use dotmesh_model::DotName;

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Creates the fork in the caller's namespace and returns its name. A fork is private, even if its origin is public.
pub async fn fork_dot(
    hub: &Hub,
    caller: &Caller,
    origin: &DotName,
    name: &str,
) -> Result<DotName, HubError> {
    let open = caller.open(hub, origin, Action::Read).await?;
    let to = DotName::new(caller.name.clone().into(), name)?;
    caller.require(Action::Push.scope())?;
    let details = hub.database.dot_details(open.existing()?, Some(caller.id));
    let forks = details.await?.who_forks;
    if !access::may_fork(open.access, open.visibility, forks) {
        return Err(HubError::NoForks {
            dot: open.name,
            forks,
        });
    }
    let deed = open.deed(hub, caller)?;
    let forking = hub
        .database
        .fork_dot(deed, caller.id, &to, hub.settings.quota);
    match forking.await? {
        Forking::Done => {
            tracing::info!(origin = open.name.full(), dot = to.full(), "forked");
            Ok(to)
        }
        Forking::NameTaken => Err(HubError::DotExists { dot: to }),
        Forking::OverQuota(usage) => Err(HubError::over_quota(usage, true)),
    }
}
