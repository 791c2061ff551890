//! Routes of a dot's commits.

use axum::Json;
use axum::extract::State;
use dotmesh_api::node::{Committed, CreateCommit, Log, LogQuery};

use super::Answer;
use super::extract::{AtPath, Body, Query};
use super::openapi::Problems;
use crate::node::Node;
use crate::operations::{commit, log, to_the_end};

/// Lists the commits that match a query.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/commits",
    operation_id = "list_commits",
    tag = "commits",
    params(AtPath, LogQuery),
    responses((status = 200, description = "The commits, the newest first.", body = Log), Problems),
)]
pub(super) async fn get_commits(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Query(query): Query<LogQuery>,
) -> Answer<Log> {
    Ok(Json(log::log(&node, at, &query).await?))
}

/// Commits the current branch: all subdots at one instant.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/commits",
    operation_id = "create_commit",
    tag = "commits",
    params(AtPath),
    request_body = CreateCommit,
    responses((status = 200, description = "The new commit.", body = Committed), Problems),
)]
pub(super) async fn post_commits(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<CreateCommit>,
) -> Answer<Committed> {
    Ok(Json(
        to_the_end(async move { commit::commit(&node, at, body).await }).await?,
    ))
}
