//! Routes that read the databases of states.

use axum::extract::State;
use axum::response::Response;
use dotmesh_api::node::{
    DiffRows, DiffRowsEvent, ListRows, RowsEvent, RunSql, SqlEvent, SqlInput, SqlSession,
};

use super::ApiError;
use super::extract::{AtPath, Body, Query};
use super::openapi::{EVENTS, Problems};
use crate::node::Node;
use crate::operations::rows::{diff, list, session, sql};

/// Lists the tables of the databases of a state, or the rows of a table.
///
/// The databases are opened on a copy that is thrown away. If that fails after the first line, the last line says so.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/rows",
    operation_id = "list_rows",
    tag = "rows",
    params(AtPath),
    request_body = ListRows,
    responses(
        (status = 200, description = EVENTS, body = RowsEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_rows(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<ListRows>,
) -> Result<Response, ApiError> {
    Ok(list::start(node, at, body).await?)
}

/// Compares the rows of two states.
///
/// If it fails after the first line, the last line says so. It is cancelled when the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/rows/diff",
    operation_id = "diff_rows",
    tag = "rows",
    params(AtPath),
    request_body = DiffRows,
    responses(
        (status = 200, description = EVENTS, body = DiffRowsEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_rows_diff(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<DiffRows>,
) -> Result<Response, ApiError> {
    Ok(diff::start(node, at, body).await?)
}

/// Runs statements on a copy of a state, with the client of the database's own image.
///
/// The copy is thrown away, so nothing changes. It is cancelled when the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/sql",
    operation_id = "run_sql",
    tag = "rows",
    params(AtPath),
    request_body = RunSql,
    responses(
        (status = 200, description = EVENTS, body = SqlEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_sql(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<RunSql>,
) -> Result<Response, ApiError> {
    Ok(sql::start(node, at, body).await?)
}

/// Starts the client of the database's own image on a copy of a state.
///
/// The client reads the lines of the body while its output is sent. The session and its copy end with the client, or when the
/// connection breaks.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/sql/session",
    operation_id = "start_sql_session",
    tag = "rows",
    params(AtPath, SqlSession),
    request_body(
        content = SqlInput,
        content_type = "application/x-ndjson",
        description = "A line of JSON for each piece of input. This is the schema of one line.",
    ),
    responses(
        (status = 200, description = EVENTS, body = SqlEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_sql_session(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Query(query): Query<SqlSession>,
    body: axum::body::Body,
) -> Result<Response, ApiError> {
    Ok(session::start(node, at, query, body).await?)
}
