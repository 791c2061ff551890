//! `GET /api/v1/users?prefix=`: names that begin so, for who is about to name a user.

use axum::Json;
use axum::extract::{Query, State};
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::operations::complete_user::complete_user;
use dotmesh_model::UserName;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::HttpError;
use crate::openapi::OfUser;

/// The query.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Prefix {
    /// The prefix: at least two characters.
    #[serde(default)]
    prefix: String,
}

/// Lists users whose names start with a prefix, for autocompletion.
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "complete_user",
    tag = "hub",
    params(Prefix),
    responses((status = 200, description = "The first few users, by name.", body = Vec<UserName>), OfUser),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    Query(Prefix { prefix }): Query<Prefix>,
) -> Result<Json<Vec<UserName>>, HttpError> {
    Ok(Json(complete_user(&hub, &caller, &prefix).await?))
}
