//! `GET /api/v1/user`: whose credentials these are.

use axum::Json;
use dotmesh_api::hub::CurrentUser;

use crate::auth::Caller;

/// Names the caller.
pub async fn get(caller: Caller) -> Json<CurrentUser> {
    Json(CurrentUser { name: caller.name })
}
