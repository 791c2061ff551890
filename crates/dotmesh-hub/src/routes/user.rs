//! `GET /api/v1/user`: whose credentials these are.

use axum::Json;
use dotmesh_api::hub::CurrentUser;
use dotmesh_hub_service::auth::Caller;

use crate::openapi::OfUser;

/// Shows the user that the credentials belong to.
#[utoipa::path(
    get,
    path = "/user",
    operation_id = "get_user",
    tag = "hub",
    responses((status = 200, description = "The user.", body = CurrentUser), OfUser),
)]
pub(crate) async fn get(caller: Caller) -> Json<CurrentUser> {
    Json(CurrentUser { name: caller.name })
}
