//! `/OWNER/DOT/notes`: writes and deletes notes, which the pages of commits and branches show.

use axum::extract::State;
use dotmesh_api::dots::NoteTarget;
use dotmesh_api::page::Reference;
use dotmesh_hub_db::ids::NoteId;
use dotmesh_hub_db::notes::NoteOn;
use dotmesh_hub_model::access::Scope;
use dotmesh_hub_service::auth::OpenDot;
use dotmesh_hub_service::operations::write_note;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::{BranchName, CommitId, DotName};
use jiff::Timestamp;
use serde::Deserialize;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::web::form::Form;
use crate::web::visit::DotHeader;
use crate::web::{Page, Visit, go, markdown};

/// The most notes on a page.
const MAX_NOTES: u32 = 30;

/// The most text of notes on a page, in bytes. The page shows at least one note, however long it is.
const MAX_TEXT: usize = 256 << 10;

/// A note on a page.
#[derive(Debug, Clone)]
pub(crate) struct ShownNote {
    /// The id for deleting the note.
    pub(crate) id: NoteId,
    pub(crate) author: String,
    /// When it was written.
    pub(crate) created: Timestamp,
    /// The text, as HTML.
    pub(crate) body: String,
    /// Whether the viewer may delete it.
    pub(crate) is_deletable: bool,
}

/// The data for the notes on a page.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    /// The notes, oldest first.
    pub(crate) list: Vec<ShownNote>,
    /// The name of the form field for the notes' target.
    pub(crate) field: &'static str,
    /// The field's value.
    pub(crate) value: String,
    /// Whether the viewer may write notes.
    pub(crate) is_writable: bool,
    /// The note before which the earlier ones are listed.
    pub(crate) earlier: Option<NoteId>,
}

/// The notes that a page shows: those before a note, or else the last ones.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct NotesQuery {
    notes_before: Option<String>,
}

impl Notes {
    /// Loads the notes on a target.
    pub(crate) async fn on(
        hub: &Hub,
        visit: &Visit,
        open: &OpenDot,
        dot: &DotHeader,
        on: &NoteOn,
        query: &NotesQuery,
    ) -> Result<Self, HttpError> {
        let user = visit.user();
        let (field, reference) = match on {
            NoteOn::Commit(commit) => ("commit", Reference::from(*commit)),
            NoteOn::Branch(branch) => ("branch", branch.clone().into()),
        };
        let value = reference.to_string();
        let place = markdown::TextPlace {
            reference,
            ..markdown::TextPlace::of(dot)
        };
        let before = query.notes_before.as_deref();
        let before = before.and_then(|note| note.parse().ok());
        let id = open.existing()?;
        let mut notes = hub
            .database
            .last_notes(id, on, before, MAX_NOTES + 1)
            .await?;
        let mut room = MAX_TEXT;
        let shown = notes.iter().rev().take(MAX_NOTES as usize);
        let shown = shown.take_while(|note| {
            let is_room = room > 0;
            room = room.saturating_sub(note.body.len());
            is_room
        });
        let hidden = notes.len() - shown.count();
        notes.drain(..hidden);
        let earlier = notes.first().filter(|_| hidden > 0).map(|note| note.id);
        let mut list = Vec::with_capacity(notes.len());
        for note in notes {
            let is_deletable =
                dot.has_maintainer || user.is_some_and(|user| user.name == note.author);
            let (text, place) = (note.body, place.clone());
            let body = open
                .share(hub)
                .run(move |watch| markdown::render(&text, &place, watch))
                .await?;
            list.push(ShownNote {
                is_deletable,
                id: note.id,
                author: note.author.to_string(),
                created: note.created,
                body,
            });
        }
        Ok(Self {
            list,
            earlier,
            field,
            value,
            is_writable: user.is_some_and(|user| user.scope >= Scope::Write),
        })
    }
}

/// The form that writes a note. Forms cannot use `flatten`, so the two fields of `NoteTarget` are repeated here.
#[derive(Debug, Deserialize)]
pub(crate) struct New {
    branch: Option<BranchName>,
    commit: Option<CommitId>,
    body: String,
}

/// The form that deletes a note, with the note's target.
#[derive(Debug, Deserialize)]
pub(crate) struct Old {
    note: String,
    branch: Option<BranchName>,
    commit: Option<CommitId>,
}

/// Writes a note.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(New {
        branch,
        commit,
        body,
    }): Form<New>,
) -> Page {
    let target = NoteTarget { branch, commit };
    let to = page_of(&dot, &target);
    write_note::write_note(&hub, visit.caller()?, &dot, target, &body).await?;
    go(&to)
}

/// Deletes a note.
pub(crate) async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(Old {
        note,
        branch,
        commit,
    }): Form<Old>,
) -> Page {
    let note = note
        .parse()
        .map_err(|_| HubError::NoSuchNote { dot: dot.clone() })?;
    write_note::delete_note(&hub, visit.caller()?, &dot, note).await?;
    go(&page_of(&dot, &NoteTarget { branch, commit }))
}

/// Returns the address of a target's notes.
fn page_of(dot: &DotName, target: &NoteTarget) -> String {
    let dot = dot.full();
    match (&target.branch, &target.commit) {
        (_, Some(commit)) => format!("/{dot}/commit/{commit}#notes"),
        (Some(branch), None) => format!("/{dot}/commits/{}#notes", branch.spelling()),
        (None, None) => format!("/{dot}"),
    }
}
