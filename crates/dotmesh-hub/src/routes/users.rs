//! `GET /api/v1/users?prefix=`: names that begin so, for who is about to name a user.

use axum::Json;
use axum::extract::{Query, State};
use dotmesh_model::UserName;
use serde::Deserialize;

use crate::auth::Caller;
use crate::error::HubError;
use crate::operations::complete_user::complete_user;
use crate::state::Hub;

/// The query.
#[derive(Debug, Deserialize)]
pub struct Prefix {
    #[serde(default)]
    prefix: String,
}

/// The first few, by name.
pub async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    Query(Prefix { prefix }): Query<Prefix>,
) -> Result<Json<Vec<UserName>>, HubError> {
    Ok(Json(complete_user(&hub, &caller, &prefix).await?))
}
