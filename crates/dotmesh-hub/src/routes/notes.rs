//! `/api/v1/dots/{namespace}/{dot}/notes`: what people say of a commit or a branch.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use dotmesh_api::dots::{HubNote, NoteTarget, WriteNote};
use dotmesh_hub_db::notes::Note;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::{Caller, Viewer};
use dotmesh_hub_service::operations::write_note;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::HttpError;
use crate::extract::{DotPath, ListPage, NotePath, Paging, parse_json, read_body};
use crate::openapi::{OfChange, OfLookup};

/// The longest request, in bytes: more than a note is, so that one that is too long is told so.
const MAX_NOTE_LENGTH: usize = 512 << 10;

/// The most notes of an answer, each of which may be long.
const NOTES_PER_PAGE: u32 = 100;

/// The id of a new note.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Written {
    /// The note's id.
    id: String,
}

/// Lists the notes on a branch or on a commit.
#[utoipa::path(
    get,
    path = "/dots/{namespace}/{dot}/notes",
    operation_id = "list_notes",
    tag = "notes",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath, NoteTarget, Paging),
    responses((status = 200, description = "The notes, the oldest first.", body = Vec<HubNote>), OfLookup),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    query: Result<Query<NoteTarget>, axum::extract::rejection::QueryRejection>,
    paging: Paging,
) -> Result<ListPage<HubNote>, HttpError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let Query(target) = query.map_err(|_| {
        HttpError::malformed("give a branch or a commit: ?branch=NAME or ?commit=ID")
    })?;
    let on = write_note::note_target(&hub, &open, target).await?;
    let paging = paging.at_most(NOTES_PER_PAGE);
    let part = paging.part(|note| note.parse().ok())?;
    let notes = hub.database.notes(open.existing()?, &on, part).await?;
    let id = |note: &Note| note.id.to_string();
    Ok(paging.page(notes, id, |note| HubNote {
        id: note.id.to_string(),
        author: note.author,
        created: note.created.as_second(),
        body: note.body,
    }))
}

/// Writes a note on a branch or on a commit.
///
/// For every logged-in user who can see the dot.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/notes",
    operation_id = "write_note",
    tag = "notes",
    params(DotPath),
    request_body = WriteNote,
    responses((status = 201, description = "The id of the new note.", body = Written), OfChange),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<(StatusCode, Json<Written>), HttpError> {
    let body = read_body(body, MAX_NOTE_LENGTH, "bytes in this request").await?;
    let WriteNote {
        branch,
        commit,
        body,
    } = parse_json(&body)?;
    let on = NoteTarget { branch, commit };
    let id = write_note::write_note(&hub, &caller, &dot, on, &body).await?;
    let id = id.to_string();
    Ok((StatusCode::CREATED, Json(Written { id })))
}

/// Deletes a note.
///
/// For its author and for maintainers.
#[utoipa::path(
    delete,
    path = "/dots/{namespace}/{dot}/notes/{note}",
    operation_id = "delete_note",
    tag = "notes",
    params(DotPath, NotePath),
    responses((status = 204, description = "It is deleted."), OfChange),
)]
pub(crate) async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    NotePath(note): NotePath,
) -> Result<StatusCode, HttpError> {
    write_note::delete_note(&hub, &caller, &dot, note).await?;
    Ok(StatusCode::NO_CONTENT)
}
