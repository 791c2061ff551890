//! `GET /api/v1/dots/{namespace}/{dot}/forks`: a dot's forks that the caller may see.

use axum::Json;
use axum::extract::State;
use dotmesh_model::DotName;

use crate::access::Action;
use crate::auth::Caller;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::state::Hub;

/// Lists them by name.
pub async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
) -> Result<Json<Vec<DotName>>, HubError> {
    let open = caller.open(&hub, &dot, Action::Read).await?;
    let forks = hub.database.forks(open.existing()?, Some(caller.id));
    Ok(Json(forks.await?))
}
