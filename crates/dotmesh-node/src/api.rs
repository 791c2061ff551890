//! The local API that `dm` calls over the node's unix socket. Each route is one operation.

use std::path::PathBuf;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dotmesh_api::node::{
    ApplyStash, BranchRemoved, Checkout, Checkup, Committed, ComposeDots, ContentQuery,
    CreateCommit, CreateDot, Current, DeleteBranch, DeleteTag, Diff, DotDetail, DotStatus,
    DotSummary, DropStash, Fetch, Fsck, Log, LogQuery, Lookalike, MakeStash, MakeTag, MountVolume,
    MountedVolume, NodeVersion, Operations, RenameBranch, RenameDot, Report, Reset, RestorePaths,
    Source, Stash, SwitchProgress, Tag, Transfer, Undo, UnmountVolume,
};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode, PROBLEM_TYPE, Problem};
use dotmesh_model::DotName;
use dotmesh_pool::PoolError;
use serde::Deserialize;
use tokio::sync::watch;

use crate::error::NodeError;
use crate::events;
use crate::node::Node;
use crate::operations::transfer::Work;
use crate::operations::{
    checkout, checkup, commit, compose_dots, copy_out, create_dot, delete_branch, delete_dot, diff,
    fsck, list, log, lookalikes, mount, op_log, rename_branch, rename_dot, reset, restore, show,
    stash, status, tag, to_the_end, transfer, undo, upstream,
};

/// All routes.
pub(crate) fn router(node: Node) -> Router {
    Router::new()
        .route("/v1/version", get(get_version))
        .route("/v1/problems", get(get_problems))
        .route("/v1/checkup", post(post_checkup))
        .route("/v1/fsck", post(post_fsck))
        .route("/v1/lookalikes", get(get_lookalikes))
        .route("/v1/compose", get(get_compose))
        .route("/v1/dots", get(get_dots).post(post_dots))
        .route(
            "/v1/dots/{namespace}/{dot}",
            get(get_dot).delete(delete_one_dot),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/commits",
            get(get_commits).post(post_commits),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/branches/delete",
            post(post_branches_delete),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/branches/rename",
            post(post_branches_rename),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/tags",
            get(get_tags).post(post_tags),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/tags/delete",
            post(post_tags_delete),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/stashes",
            get(get_stashes).post(post_stashes),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/stashes/apply",
            post(post_stashes_apply),
        )
        .route(
            "/v1/dots/{namespace}/{dot}/stashes/drop",
            post(post_stashes_drop),
        )
        .route("/v1/dots/{namespace}/{dot}/rename", post(post_rename))
        .route("/v1/dots/{namespace}/{dot}/restore", post(post_restore))
        .route("/v1/dots/{namespace}/{dot}/content", get(get_content))
        .route("/v1/dots/{namespace}/{dot}/status", get(get_status))
        .route("/v1/dots/{namespace}/{dot}/diff", get(get_diff))
        .route("/v1/dots/{namespace}/{dot}/current", get(get_current))
        .route("/v1/dots/{namespace}/{dot}/checkout", post(post_checkout))
        .route("/v1/dots/{namespace}/{dot}/reset", post(post_reset))
        .route("/v1/dots/{namespace}/{dot}/undo", post(post_undo))
        .route("/v1/dots/{namespace}/{dot}/redo", post(post_redo))
        .route("/v1/dots/{namespace}/{dot}/operations", get(get_operations))
        .route("/v1/dots/{namespace}/{dot}/push", post(post_push))
        .route("/v1/dots/{namespace}/{dot}/pull", post(post_pull))
        .route("/v1/dots/{namespace}/{dot}/clone", post(post_clone))
        .route("/v1/dots/{namespace}/{dot}/fetch", post(post_fetch))
        .route(
            "/v1/dots/{namespace}/{dot}/fetch-branches",
            post(post_fetch_branches),
        )
        .route("/v1/dots/{namespace}/{dot}/forget", post(post_forget))
        .route("/v1/mounts", post(post_mounts))
        .route("/v1/unmounts", post(post_unmounts))
        .fallback(async || {
            ApiError(ErrorBody::new(ErrorCode::NotFound, "no such route").hint(
                "'dm' and 'dotmeshd' may have different versions: compare them with 'dm version'.",
            ))
        })
        .with_state(node)
}

/// The responses while the pool is mounted again.
pub(crate) fn without_pool(path: PathBuf) -> Router {
    let refused = move || {
        let path = path.clone();
        async { ApiError::from(NodeError::Pool(PoolError::ReadOnly { path })) }
    };
    Router::new().fallback(refused)
}

/// An error as a response to `dm`.
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
        root: Some(node.config.root.clone()),
        network: Some(node.network.known().to_vec()),
    })
}

/// Problems that the daemon could not solve: writing to the pool, deleting something, or reading a dot.
async fn get_problems(State(node): State<Node>) -> Json<Vec<String>> {
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

async fn post_checkup(State(node): State<Node>, Json(body): Json<Checkup>) -> Json<Report> {
    Json(checkup::checkup(&node, body).await)
}

async fn post_fsck(State(node): State<Node>, Json(body): Json<Fsck>) -> Response {
    fsck::start(node, body)
}

async fn get_lookalikes(State(node): State<Node>) -> Answer<Vec<Lookalike>> {
    Ok(Json(lookalikes::lookalikes(&node).await?))
}

#[derive(Deserialize)]
struct ComposeQuery {
    folder: PathBuf,
}

async fn get_compose(
    State(node): State<Node>,
    Query(query): Query<ComposeQuery>,
) -> Answer<ComposeDots> {
    Ok(Json(
        compose_dots::compose_dots(&node, &query.folder).await?,
    ))
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

async fn get_commits(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Answer<Log> {
    Ok(Json(log::log(&node, &dot(path)?, &query).await?))
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

async fn post_branches_delete(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<DeleteBranch>,
) -> Answer<BranchRemoved> {
    let name = dot(path)?;
    let DeleteBranch { branch, force } = body;
    let delete = async move { delete_branch::delete_branch(&node, &name, &branch, force).await };
    let head = to_the_end(delete).await?;
    Ok(Json(BranchRemoved { head }))
}

async fn post_branches_rename(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<RenameBranch>,
) -> Result<StatusCode, ApiError> {
    let name = dot(path)?;
    let rename = async move { rename_branch::rename_branch(&node, &name, &body).await };
    to_the_end(rename).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn get_tags(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Answer<Vec<Tag>> {
    Ok(Json(tag::list(&node, &dot(path)?).await?))
}

async fn post_tags(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<MakeTag>,
) -> Answer<Tag> {
    let name = dot(path)?;
    Ok(Json(
        to_the_end(async move { tag::make(&node, &name, body).await }).await?,
    ))
}

async fn post_tags_delete(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<DeleteTag>,
) -> Answer<Tag> {
    let name = dot(path)?;
    Ok(Json(
        to_the_end(async move { tag::delete(&node, &name, &body.name).await }).await?,
    ))
}

async fn get_stashes(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Answer<Vec<Stash>> {
    Ok(Json(stash::list(&node, &dot(path)?).await?))
}

async fn post_stashes(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<MakeStash>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { stash::make(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn post_stashes_apply(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<ApplyStash>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { stash::apply(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn post_stashes_drop(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<DropStash>,
) -> Answer<Stash> {
    let name = dot(path)?;
    Ok(Json(
        to_the_end(async move { stash::drop_one(&node, &name, body.id).await }).await?,
    ))
}

async fn post_rename(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<RenameDot>,
) -> Result<StatusCode, ApiError> {
    let name = dot(path)?;
    to_the_end(async move { rename_dot::rename_dot(&node, &name, &body.to).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn post_restore(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<RestorePaths>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { restore::restore(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn get_content(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Query(query): Query<ContentQuery>,
) -> Result<Response, ApiError> {
    Ok(copy_out::copy_out(&node, &dot(path)?, query).await?)
}

async fn get_status(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Answer<DotStatus> {
    Ok(Json(status::status(&node, &dot(path)?).await?))
}

async fn get_diff(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Query(request): Query<diff::Request>,
) -> Answer<Diff> {
    Ok(Json(diff::diff(&node, &dot(path)?, request).await?))
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

async fn post_undo(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Undo>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { undo::undo(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn post_redo(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Undo>,
) -> Result<Response, ApiError> {
    let name = dot(path)?;
    let (tell, told) = watch::channel(SwitchProgress::default());
    let work = async move { undo::redo(&node, &name, body, tell).await };
    Ok(events::of_switch(work, told).await?)
}

async fn get_operations(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
) -> Answer<Operations> {
    Ok(Json(op_log::op_log(&node, &dot(path)?).await?))
}

async fn post_forget(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(there): Json<Source>,
) -> Result<StatusCode, ApiError> {
    upstream::forget(&node, &dot(path)?, &there).await?;
    Ok(StatusCode::NO_CONTENT)
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

async fn post_fetch_branches(
    State(node): State<Node>,
    Path(path): Path<(String, String)>,
    Json(body): Json<Transfer>,
) -> Result<Response, ApiError> {
    let work = Work::Transfer(Direction::Fetch, body);
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
