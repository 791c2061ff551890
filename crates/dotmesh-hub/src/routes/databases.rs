//! `/api/v1/dots/{namespace}/{dot}/commits/{commit}/databases`: what is in the databases of a commit.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::SUMMARY;
use dotmesh_hub_service::auth::{Caller, Viewer};
use dotmesh_hub_service::operations::keep_databases;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_rows::model::DatabaseSummary;

use crate::error::HttpError;
use crate::extract::{CommitPath, DotPath, read_body};
use crate::openapi::{OfChange, OfLookup};

/// Shows the database summary of a commit: tables, rows, and what changed since its parent.
///
/// A client has made it where the commit was made, and the hub has checked its form only.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/commits/{commit}/databases",
    operation_id = "get_databases",
    tag = "databases",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, CommitPath),
    responses((status = 200, description = "The summary.", body = DatabaseSummary), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    CommitPath(commit): CommitPath,
) -> Result<Response, HttpError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let json = keep_databases::databases_json(&hub, &open, commit).await?;
    let json = json.ok_or(HubError::NoDatabases {
        dot: open.name,
        commit,
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

/// Stores the database summary of a commit.
///
/// For users who may push. The first summary of a commit stays: the same again is accepted, another one is not.
#[utoipa::path(
    put,
    path = "/dots/{namespace}/{dot}/commits/{commit}/databases",
    operation_id = "put_databases",
    tag = "databases",
    params(DotPath, CommitPath),
    request_body = DatabaseSummary,
    responses((status = 204, description = "It is stored."), OfChange),
)]
pub(crate) async fn put(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    CommitPath(commit): CommitPath,
    body: Body,
) -> Result<StatusCode, HttpError> {
    // Who may not push is told so before the hub reads the body.
    caller.open(&hub, &dot, Action::Push).await?.existing()?;
    let body = read_body(body, SUMMARY.most, "bytes in a database summary").await?;
    keep_databases::keep_databases(&hub, &caller, &dot, commit, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes the database summary of a commit.
///
/// For maintainers, for example because rows are personal data. The commit itself stays.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/commits/{commit}/databases",
    operation_id = "delete_databases",
    tag = "databases",
    params(DotPath, CommitPath),
    responses((status = 204, description = "It is deleted."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    CommitPath(commit): CommitPath,
) -> Result<StatusCode, HttpError> {
    keep_databases::delete_databases(&hub, &caller, &dot, commit).await?;
    Ok(StatusCode::NO_CONTENT)
}
