//! The local API: what `dm` calls over the node's unix socket. Each route is one operation.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dotmesh_api::node::{
    Checkout, Committed, CreateCommit, CreateDot, Current, DotDetail, DotSummary, Fetch, Log,
    MountVolume, MountedVolume, NodeVersion, Reset, SwitchProgress, Transfer, UnmountVolume,
};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode, PROBLEM_TYPE, Problem};
use dotmesh_model::DotName;
use serde::Deserialize;
use tokio::sync::watch;

use crate::error::NodeError;
use crate::events;
use crate::node::Node;
use crate::operations::transfer::Work;
use crate::operations::{
    checkout, commit, create_dot, delete_dot, list, log, mount, reset, show, to_the_end, transfer,
};

/// All routes.
pub(crate) fn router(node: Node) -> Router {
    Router::new()
        .route("/v1/version", get(get_version))
        .route("/v1/problems", get(get_problems))
        .route("/v1/dots", get(get_dots).post(post_dots))
        .route(
            "/v1/dots/{namespace}/{dot}",
            get(get_dot).delete(delete_one_dot),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/commits",
            get(get_commits).post(post_commits),
        )
        .route("/v1/dots/{namespace}/{dot}/current", get(get_current))
        .route("/v1/dots/{namespace}/{dot}/checkout", post(post_checkout))
        .route("/v1/dots/{namespace}/{dot}/reset", post(post_reset))
        .route("/v1/dots/{namespace}/{dot}/push", post(post_push))
        .route("/v1/dots/{namespace}/{dot}/pull", post(post_pull))
        .route("/v1/dots/{namespace}/{dot}/clone", post(post_clone))
        .route("/v1/dots/{namespace}/{dot}/fetch", post(post_fetch))
        .route("/v1/mounts", post(post_mounts))
        .route("/v1/unmounts", post(post_unmounts))
        .fallback(async || {
            ApiError(ErrorBody::new(ErrorCode::NotFound, "no such route").hint(
                "'dm' and 'dotmeshd' may be of different versions; compare them with 'dm version'.",
            ))
        })
        .with_state(node)
}

/// A failure on its way to `dm`.
struct ApiError(ErrorBody);

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(CONTENT_TYPE, PROBLEM_TYPE)];
        (status, kind, Json(Problem::from(self.0))).into_response()
    }
}

type Answer<T> = Result<Json<T>, ApiError>;

/// The dot that a route names.
fn dot((namespace, dot): (String, String)) -> Result<DotName, NodeError> {
    Ok(DotName::new(namespace.parse()?, &dot)?)
}

async fn get_version(State(node): State<Node>) -> Json<NodeVersion> {
    Json(NodeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.pool.node().to_owned(),
        driver: node.config.driver(),
        pid: std::process::id(),
    })
}

/// What the daemon could not do by itself: what it can't delete yet, and dots that it can't read.
async fn get_problems(State(node): State<Node>) -> Json<Vec<String>> {
    let leftovers = node.leftovers.list().into_iter().map(|leftover| {
        let path = leftover.path.display();
        format!(
            "{path} cannot be deleted yet, and is tried again: {}",
            leftover.problem
        )
    });
    let damaged = node.leftovers.damaged().into_iter().map(|dot| {
        format!(
            "dot {} is left out, as it cannot be read: {}",
            dot.name, dot.problem
        )
    });
    Json(leftovers.chain(damaged).collect())
}

async fn get_dots(State(node): State<Node>) -> Answer<Vec<DotSummary>> {
    Ok(Json(list::list(&node).await?))
}

async fn post_dots(State(node): State<Node>, Json(body): Json<CreateDot>) -> Answer<DotDetail> {
    create_dot::create_dot(&node, &body.name).await?;
    Ok(Json(show::show(&node, &body.name).await?))
}

async fn get_dot(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Answer<DotDetail> {
    Ok(Json(show::show(&node, &dot(path)?).await?))
}

async fn delete_one_dot(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let name = dot(path)?;
    to_the_end(async move { delete_dot::delete_dot(&node, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct LogQuery {
    revision: Option<String>,
}

async fn get_commits(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Answer<Log> {
    Ok(Json(
        log::log(&node, &dot(path)?, query.revision.as_deref()).await?,
    ))
}

async fn post_commits(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<CreateCommit>,
) -> Answer<Committed> {
    let name = dot(path)?;
    Ok(Json(
        to_the_end(async move { commit::commit(&node, &name, body).await }).await?,
    ))
}

async fn get_current(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Answer<Current> {
    let found = node.registry.dot(&dot(path)?).await?;
    let head = found.current()?.head;
    let branch = found.current;
    Ok(Json(Current { branch, head }))
}

async fn post_checkout(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Checkout>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { checkout::checkout(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn post_reset(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Reset>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { reset::reset(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn post_push(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Push, body);
    Ok(transfer::start(node, dot(path)?, work))
}

async fn post_pull(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Pull, body);
    Ok(transfer::start(node, dot(path)?, work))
}

async fn post_clone(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Clone, body);
    Ok(transfer::start(node, dot(path)?, work))
}

async fn post_fetch(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Fetch>,
) -> Result<Response, ApiError> {
    Ok(transfer::start(node, dot(path)?, Work::Fetch(body)))
}

async fn post_mounts(
    State(node): State<Node>,
    Json(body): Json<MountVolume>,
) -> Answer<MountedVolume> {
    Ok(Json(mount::mount(&node, body).await?))
}

async fn post_unmounts(
    State(node): State<Node>,
    Json(body): Json<UnmountVolume>,
) -> Result<StatusCode, ApiError> {
    mount::unmount(&node, body).await?;
    Ok(StatusCode::NO_CONTENT)
}
