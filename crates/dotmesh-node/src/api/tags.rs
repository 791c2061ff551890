//! Routes of a dot's tags.

use axum::Json;
use axum::extract::State;
use dotmesh_api::node::{DeleteTag, MakeTag, Tag};

use super::Answer;
use super::extract::{AtPath, Body, DotPath};
use super::openapi::Problems;
use crate::node::Node;
use crate::operations::{tag, to_the_end};

/// Lists the tags of a dot.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/tags",
    operation_id = "list_tags",
    tag = "tags",
    params(DotPath),
    responses((status = 200, description = "The tags, sorted by name.", body = Vec<Tag>), Problems),
)]
pub(super) async fn get_tags(State(node): State<Node>, DotPath(name): DotPath) -> Answer<Vec<Tag>> {
    Ok(Json(tag::list(&node, &name).await?))
}

/// Creates a tag.
///
/// A tag never moves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/tags",
    operation_id = "create_tag",
    tag = "tags",
    params(AtPath),
    request_body = MakeTag,
    responses((status = 200, description = "The new tag.", body = Tag), Problems),
)]
pub(super) async fn post_tags(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<MakeTag>,
) -> Answer<Tag> {
    Ok(Json(
        to_the_end(async move { tag::make(&node, at, body).await }).await?,
    ))
}

/// Deletes a tag.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/tags/delete",
    operation_id = "delete_tag",
    tag = "tags",
    params(DotPath),
    request_body = DeleteTag,
    responses((status = 200, description = "The deleted tag.", body = Tag), Problems),
)]
pub(super) async fn post_tags_delete(
    State(node): State<Node>,
    DotPath(name): DotPath,
    Body(body): Body<DeleteTag>,
) -> Answer<Tag> {
    Ok(Json(
        to_the_end(async move { tag::delete(&node, &name, &body.name).await }).await?,
    ))
}
