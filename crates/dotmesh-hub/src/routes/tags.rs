//! `/api/v1/dots/{namespace}/{dot}/tags`: a dot's tags.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_api::dots::{CreateTag, HubTag};
use dotmesh_hub_db::tags::DotTag;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::{Caller, Viewer};
use dotmesh_hub_service::operations::create_tag::{NewTag, create_tag};
use dotmesh_hub_service::operations::delete_tag::delete_tag;
use jiff::Timestamp;

use super::MAX_BODY_LENGTH;
use crate::error::HttpError;
use crate::extract::{DotPath, ListPage, Paging, TagPath, parse_json, read_body};
use crate::openapi::{OfChange, OfLookup};

/// Lists the tags of a dot.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/tags",
    operation_id = "list_tags",
    tag = "tags",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, Paging),
    responses((status = 200, description = "The tags, the newest first.", body = Vec<HubTag>), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    paging: Paging,
) -> Result<ListPage<HubTag>, HttpError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let part = paging.part(|text| {
        let (time, name) = text.split_once('.')?;
        let time = Timestamp::from_second(time.parse().ok()?).ok()?;
        Some((time, name.parse().ok()?))
    })?;
    let tags = hub.database.tags(open.existing()?, part).await?;
    let name = |tag: &DotTag| format!("{}.{}", tag.created.as_second(), tag.name);
    Ok(paging.page(tags, name, |tag| HubTag {
        name: tag.name,
        commit: tag.commit,
        message: tag.message,
        author: tag.author,
        created: tag.created.as_second(),
    }))
}

/// Creates a tag.
///
/// For users who may push. A tag never moves.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/tags/{tag}",
    operation_id = "create_tag",
    tag = "tags",
    params(DotPath, TagPath),
    request_body = CreateTag,
    responses((status = 201, description = "It is created."), OfChange),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    TagPath(name): TagPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    let body = read_body(body, MAX_BODY_LENGTH, "bytes in this request").await?;
    let CreateTag { at, message } = parse_json(&body)?;
    create_tag(&hub, &caller, &dot, NewTag { name, at, message }).await?;
    Ok(StatusCode::CREATED)
}

/// Deletes a tag.
///
/// For maintainers.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/tags/{tag}",
    operation_id = "delete_tag",
    tag = "tags",
    params(DotPath, TagPath),
    responses((status = 204, description = "It is deleted."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    TagPath(tag): TagPath,
) -> Result<StatusCode, HttpError> {
    delete_tag(&hub, &caller, &dot, tag).await?;
    Ok(StatusCode::NO_CONTENT)
}
