//! Deletes a dot. For some time, its owner can restore it.

use std::time::Duration;

use dotmesh_hub_model::access::Action;
use dotmesh_model::DotName;

use crate::audit;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// How long the owner can restore a deleted dot.
pub const GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Deletes a dot. Its name is free at once.
pub async fn delete_dot(hub: &Hub, caller: &Caller, dot: &DotName) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Administer).await?;
    hub.database.delete_dot(open.deed(hub, caller)?).await?;
    tracing::info!(dot = open.name.full(), user = %caller.name, "dot deleted");
    audit::deleted(hub, caller, format!("the dot {}", open.name.full())).await
}
