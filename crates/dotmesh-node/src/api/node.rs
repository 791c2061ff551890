//! Routes of the node itself, and of what it found out by itself.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dotmesh_api::node::{Checkup, ComposeDots, Fsck, FsckEvent, Lookalike, NodeVersion, Report};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Body, Query};
use super::openapi::{EVENTS, Problems};
use super::{Answer, document};
use crate::node::Node;
use crate::operations::{checkup, compose_dots, forks, fsck, lookalikes};

/// Shows the version of the node.
#[utoipa::path(
    get,
    path = "/v1/version",
    operation_id = "get_version",
    tag = "node",
    responses((status = 200, description = "The version.", body = NodeVersion), Problems),
)]
pub(super) async fn get_version(State(node): State<Node>) -> Json<NodeVersion> {
    Json(NodeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.pool.node().to_owned(),
        driver: node.config.driver(),
        pid: std::process::id(),
        root: Some(node.config.root.clone()),
        network: Some(node.network.known().to_vec()),
    })
}

/// Shows this document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "get_document",
    tag = "node",
    responses((status = 200, description = "An OpenAPI document.", body = serde_json::Value), Problems),
)]
pub(super) async fn get_document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document())
}

/// Lists problems that the daemon could not solve.
///
/// They are about writing to the pool, deleting something, or reading a dot.
#[utoipa::path(
    get,
    path = "/v1/problems",
    operation_id = "list_problems",
    tag = "node",
    responses((status = 200, description = "Sentences for people. Usually none.", body = Vec<String>), Problems),
)]
pub(super) async fn get_problems(State(node): State<Node>) -> Json<Vec<String>> {
    let leftovers = node.leftovers.list().into_iter().map(|leftover| {
        let path = leftover.path.display();
        format!(
            "{path} cannot be deleted yet, the daemon keeps trying: {}",
            leftover.problem
        )
    });
    let damaged = node.leftovers.damaged().into_iter().map(|dot| {
        format!(
            "dot {} is left out, since it cannot be read: {}",
            dot.name, dot.problem
        )
    });
    let pool = node.leftovers.pool().into_iter();
    Json(pool.chain(leftovers).chain(damaged).collect())
}

/// Looks whether the pool, Docker and hubs work.
#[utoipa::path(
    post,
    path = "/v1/checkup",
    operation_id = "check_up",
    tag = "node",
    request_body = Checkup,
    responses((status = 200, description = "What was found.", body = Report), Problems),
)]
pub(super) async fn post_checkup(
    State(node): State<Node>,
    Body(body): Body<Checkup>,
) -> Json<Report> {
    Json(checkup::checkup(&node, body).await)
}

/// Checks that all dots are whole.
///
/// It stops when the client leaves. The last line has the problems.
#[utoipa::path(
    post,
    path = "/v1/fsck",
    operation_id = "fsck",
    tag = "node",
    request_body = Fsck,
    responses(
        (status = 200, description = EVENTS, body = FsckEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_fsck(State(node): State<Node>, Body(body): Body<Fsck>) -> Response {
    fsck::start(node, body)
}

/// Lists empty dots that Docker made, with almost the name of a cloned dot.
#[utoipa::path(
    get,
    path = "/v1/lookalikes",
    operation_id = "list_lookalikes",
    tag = "node",
    responses((status = 200, description = "The empty dots.", body = Vec<Lookalike>), Problems),
)]
pub(super) async fn get_lookalikes(State(node): State<Node>) -> Answer<Vec<Lookalike>> {
    Ok(Json(lookalikes::lookalikes(&node).await?))
}

/// The query of `GET /v1/compose`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ComposeQuery {
    /// The absolute path of the folder.
    #[param(value_type = String)]
    folder: PathBuf,
    /// Leaves out the dots of the Compose project.
    #[serde(default)]
    only_forks: bool,
}

/// Finds the dots of the Compose project in a folder.
///
/// Looks in the folder's parents, too.
#[utoipa::path(
    get,
    path = "/v1/compose",
    operation_id = "find_compose_dots",
    tag = "node",
    params(ComposeQuery),
    responses((status = 200, description = "The folder, and its dots.", body = ComposeDots), Problems),
)]
pub(super) async fn get_compose(
    State(node): State<Node>,
    Query(query): Query<ComposeQuery>,
) -> Answer<ComposeDots> {
    if query.only_forks {
        return Ok(Json(ComposeDots {
            forks: forks::here(&node, &query.folder).await?,
            ..ComposeDots::default()
        }));
    }
    Ok(Json(
        compose_dots::compose_dots(&node, &query.folder).await?,
    ))
}
