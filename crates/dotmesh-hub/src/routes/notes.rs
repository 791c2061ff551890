//! `/api/v1/dots/{namespace}/{dot}/notes`: what people say of a commit or a branch.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use dotmesh_api::dots::{HubNote, NoteTarget, WriteNote};
use serde::Serialize;

use crate::access::Action;
use crate::auth::{Caller, Viewer};
use crate::error::HubError;
use crate::extract::{DotPath, NotePath, parse_json, read_body};
use crate::operations::write_note;
use crate::state::Hub;

/// The longest request, in bytes: more than a note is, so that one that is too long is told so.
const MAX_NOTE_LENGTH: usize = 512 << 10;

/// What a note that was written is deleted by.
#[derive(Debug, Serialize)]
pub struct Written {
    id: String,
}

/// Lists those on `?branch=` or `?commit=`, the oldest first.
pub async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    query: Result<Query<NoteTarget>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<HubNote>>, HubError> {
    let open = viewer.open(&hub, &dot, Action::Read).await?;
    let Query(target) =
        query.map_err(|_| HubError::malformed("say on what: ?branch=NAME or ?commit=ID"))?;
    let on = write_note::note_target(&hub, &open, target).await?;
    let notes = hub.database.notes(open.existing()?, &on).await?;
    let notes = notes.into_iter().map(|note| HubNote {
        id: note.id.to_string(),
        author: note.author,
        created: note.created.as_second(),
        body: note.body,
    });
    Ok(Json(notes.collect()))
}

/// Writes one.
pub async fn post(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<(StatusCode, Json<Written>), HubError> {
    let body = read_body(body, MAX_NOTE_LENGTH, "bytes in this request").await?;
    let WriteNote { on, body } = parse_json(&body)?;
    let id = write_note::write_note(&hub, &caller, &dot, on, &body).await?;
    let id = id.to_string();
    Ok((StatusCode::CREATED, Json(Written { id })))
}

/// Deletes one.
pub async fn delete(
    State(hub): State<Hub>,
    caller: Caller,
    DotPath(dot): DotPath,
    NotePath(note): NotePath,
) -> Result<StatusCode, HubError> {
    write_note::delete_note(&hub, &caller, &dot, note).await?;
    Ok(StatusCode::NO_CONTENT)
}
