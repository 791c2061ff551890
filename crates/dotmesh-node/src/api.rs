//! The local API that `dm` calls over the node's unix socket. Each route is one operation.
//!
//! A route is in the router because it is described: [`routes()`] lists the handlers, and both the router and the OpenAPI
//! document are derived from that list. The document that is checked in is `docs/node-openapi.json`.
//!
//! **A new route** is a handler with `#[utoipa::path]` in the file of its subject, and its name in [`routes()`]. Its doc
//! comment is what the document says of it. The types of its bodies derive `ToSchema`. `UPDATE=1 cargo test -p
//! dotmesh-node api` writes the document.

use std::path::PathBuf;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use dotmesh_api::{ErrorBody, ErrorCode, PROBLEM_TYPE, Problem};
use dotmesh_pool::PoolError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::NodeError;
use crate::node::Node;

mod branches;
mod commits;
mod copies;
pub(crate) mod dots;
pub(crate) mod extract;
mod forks;
mod node;
mod openapi;
mod operations;
mod rows;
mod running;
mod stashes;
mod state;
mod tags;
#[cfg(test)]
pub(crate) mod tests;
mod transfers;
mod volumes;

/// The route of the OpenAPI document.
const DOCUMENT: &str = "/v1/openapi.json";

/// What the document says of `type` of a problem.
const KIND: &str = "The address of the document with the list of codes, and the code.";

/// All routes. Each handler declares its path, its method, and what it takes and returns.
fn routes() -> OpenApiRouter<Node> {
    OpenApiRouter::new()
        .routes(routes!(node::get_version))
        .routes(routes!(node::get_document))
        .routes(routes!(node::get_problems))
        .routes(routes!(node::post_checkup))
        .routes(routes!(node::post_fsck))
        .routes(routes!(node::get_lookalikes))
        .routes(routes!(node::get_compose))
        .routes(routes!(dots::get_dots, dots::post_dots))
        .routes(routes!(dots::get_dot, dots::delete_one_dot))
        .routes(routes!(dots::post_rename))
        .routes(routes!(commits::get_commits, commits::post_commits))
        .routes(routes!(branches::post_branches_delete))
        .routes(routes!(branches::post_branches_rename))
        .routes(routes!(forks::get_forks))
        .routes(routes!(forks::get_fork))
        .routes(routes!(forks::post_forks))
        .routes(routes!(forks::post_forks_stop))
        .routes(routes!(forks::post_forks_delete))
        .routes(routes!(tags::get_tags, tags::post_tags))
        .routes(routes!(tags::post_tags_delete))
        .routes(routes!(stashes::get_stashes, stashes::post_stashes))
        .routes(routes!(stashes::post_stashes_apply))
        .routes(routes!(stashes::post_stashes_drop))
        .routes(routes!(state::get_current))
        .routes(routes!(state::get_status))
        .routes(routes!(state::get_diff))
        .routes(routes!(state::get_content))
        .routes(routes!(state::post_checkout))
        .routes(routes!(state::post_reset))
        .routes(routes!(state::post_restore))
        .routes(routes!(operations::get_operations))
        .routes(routes!(operations::post_undo))
        .routes(routes!(operations::post_redo))
        .routes(routes!(running::get_running))
        .routes(routes!(running::get_running_events))
        .routes(routes!(running::delete_running))
        .routes(routes!(transfers::post_push))
        .routes(routes!(transfers::post_pull))
        .routes(routes!(transfers::post_clone))
        .routes(routes!(transfers::post_fetch))
        .routes(routes!(transfers::post_fetch_branches))
        .routes(routes!(transfers::post_forget))
        .routes(routes!(copies::post_imports))
        .routes(routes!(copies::post_exports))
        .routes(routes!(copies::get_archive))
        .routes(routes!(rows::post_rows))
        .routes(routes!(rows::post_rows_diff))
        .routes(routes!(rows::post_sql))
        .routes(routes!(rows::post_sql_session))
        .routes(routes!(volumes::post_mounts))
        .routes(routes!(volumes::post_unmounts))
}

/// The API as a service.
pub(crate) fn router(node: Node) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .method_not_allowed_fallback(async || {
            let error = ErrorBody::new(ErrorCode::Invalid, "this route has no such method");
            let error = error.hint("'GET /v1/openapi.json' describes each route.");
            problem(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .fallback(async || {
            ApiError(ErrorBody::new(ErrorCode::NotFound, "no such route").hint(
                "'dm' and 'dotmeshd' may have different versions: compare them with 'dm version'.",
            ))
        })
        .with_state(node)
}

/// The OpenAPI document, as it is served and checked in.
fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let document = openapi::complete(routes().into_openapi());
        let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        // Links between Rust types lead nowhere in this document.
        text.replace("[`crate::", "`")
            .replace("[`", "`")
            .replace("`]", "`")
            // Only hubs have pages about the codes.
            .replace(
                "The address of the code's description, on the hub's own pages.",
                KIND,
            )
            .replace("/-/api#", &format!("{DOCUMENT}#"))
    });
    &TEXT
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
#[derive(Debug)]
pub(crate) struct ApiError(ErrorBody);

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        problem(status, self.0)
    }
}

fn problem(status: StatusCode, error: ErrorBody) -> Response {
    let problem = Problem {
        // The document has the list of the codes.
        kind: format!("{DOCUMENT}#{}", error.code.as_str()),
        status: status.as_u16(),
        ..Problem::from(error)
    };
    (status, [(CONTENT_TYPE, PROBLEM_TYPE)], Json(problem)).into_response()
}

type Answer<T> = Result<Json<T>, ApiError>;
