//! Routes that mount volumes for programs outside of containers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::node::{MountVolume, MountedVolume, UnmountVolume};

use super::extract::Body;
use super::openapi::Problems;
use super::{Answer, ApiError};
use crate::node::Node;
use crate::operations::{mount, to_the_end};

/// Mounts the folder of a volume for programs outside of containers.
#[utoipa::path(
    post,
    path = "/v1/mounts",
    operation_id = "mount_volume",
    tag = "volumes",
    request_body = MountVolume,
    responses((status = 200, description = "It is mounted.", body = MountedVolume), Problems),
)]
pub(super) async fn post_mounts(
    State(node): State<Node>,
    Body(body): Body<MountVolume>,
) -> Answer<MountedVolume> {
    Ok(Json(
        to_the_end(async move { mount::mount(&node, body).await }).await?,
    ))
}

/// Unmounts a volume.
#[utoipa::path(
    post,
    path = "/v1/unmounts",
    operation_id = "unmount_volume",
    tag = "volumes",
    request_body = UnmountVolume,
    responses((status = 204, description = "It is unmounted."), Problems),
)]
pub(super) async fn post_unmounts(
    State(node): State<Node>,
    Body(body): Body<UnmountVolume>,
) -> Result<StatusCode, ApiError> {
    to_the_end(async move { mount::unmount(&node, body).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
