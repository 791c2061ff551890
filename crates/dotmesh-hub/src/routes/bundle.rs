//! `GET …/bundle?head=ID&until=ID`: a commit and its ancestors, with the first objects of the commit.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dotmesh_api::bundle;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_hub_service::operations::{first_objects, sending};
use futures::{StreamExt as _, stream};

use super::commits::{CommitsQuery, Line};
use crate::error::HttpError;
use crate::extract::DotPath;
use crate::openapi::{Binary, OfLookup};

/// Sends a commit and its ancestors, with the first objects of the commit.
///
/// A client that has `until` needs only what is new in `head`. So the pack leaves out most of what both have.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/bundle",
    operation_id = "get_bundle",
    tag = "pulling",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, CommitsQuery),
    responses((status = 200, description = "A bundle: the length of a pack as a little-endian `u32`, the pack, and the JSON text of `CommitList`; see `docs/protocol.md`.", body = inline(Binary), content_type = "application/octet-stream"), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    dot: DotPath,
    query: Result<Query<CommitsQuery>, QueryRejection>,
) -> Result<Response, HttpError> {
    let line = Line::open(&hub, &viewer, &dot, query).await?;
    audit::download(&hub, &line.dot, viewer.caller.as_ref(), "by clone or pull").await?;
    let pack = first_objects::first_objects(&hub, &line.dot, line.head, line.until).await?;
    let turn = hub.turns.downloads.take(&line.dot.subject, 1).await?;
    let begin = stream::iter([Ok(bundle::begin(&pack))]);
    let parts = begin.chain(line.json(&hub));
    let body = Body::from_stream(sending::send(turn, "a bundle", parts));
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
