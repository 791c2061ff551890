//! `/OWNER/DOT/notes`: notes that are written and deleted on the pages of commits and branches.

use axum::extract::State;
use dotmesh_api::dots::NoteTarget;
use dotmesh_api::page::Reference;
use dotmesh_model::{BranchName, CommitId, DotName};
use jiff::Timestamp;
use serde::Deserialize;

use crate::access::Scope;
use crate::auth::OpenDot;
use crate::database::ids::NoteId;
use crate::database::notes::NoteOn;
use crate::database::paging::Part;
use crate::error::HubError;
use crate::extract::DotPath;
use crate::operations::write_note;
use crate::state::Hub;
use crate::web::form::Form;
use crate::web::visit::DotHeader;
use crate::web::{Page, Visit, go, markdown};

/// The most notes that are shown of one thing.
const MAX_NOTES: u32 = 500;

/// A note as it is shown.
#[derive(Debug, Clone)]
pub struct ShownNote {
    /// What it is deleted by.
    pub id: NoteId,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub created: Timestamp,
    /// As HTML.
    pub body: String,
    /// Whether the viewer may delete it.
    pub is_deletable: bool,
}

/// What the part of a page with notes needs.
#[derive(Debug, Clone)]
pub struct Notes {
    /// The notes, the oldest first.
    pub list: Vec<ShownNote>,
    /// The field of the form that says what they are on.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// Whether the viewer may write one.
    pub is_writable: bool,
}

impl Notes {
    /// Those on something.
    pub async fn on(
        hub: &Hub,
        visit: &Visit,
        open: &OpenDot,
        dot: &DotHeader,
        on: &NoteOn,
    ) -> Result<Self, HubError> {
        let user = visit.user();
        let (field, reference) = match on {
            NoteOn::Commit(commit) => ("commit", Reference::from(*commit)),
            NoteOn::Branch(branch) => ("branch", branch.clone().into()),
        };
        let value = reference.to_string();
        let place = markdown::Place {
            reference,
            ..markdown::Place::of(dot)
        };
        let part = Part {
            after: None,
            limit: MAX_NOTES,
        };
        let list = hub.database.notes(open.existing()?, on, part).await?;
        let list = list.into_iter().map(|note| ShownNote {
            is_deletable: dot.has_maintainer || user.is_some_and(|user| user.name == note.author),
            id: note.id,
            author: note.author.to_string(),
            created: note.created,
            body: markdown::render(&note.body, &place),
        });
        Ok(Self {
            list: list.collect(),
            field,
            value,
            is_writable: user.is_some_and(|user| user.scope >= Scope::Write),
        })
    }
}

/// A note to be written. Forms cannot flatten: the two fields of what it is on are here once more.
#[derive(Debug, Deserialize)]
pub struct New {
    branch: Option<BranchName>,
    commit: Option<CommitId>,
    body: String,
}

/// A note to be deleted, and what it is on.
#[derive(Debug, Deserialize)]
pub struct Old {
    note: String,
    branch: Option<BranchName>,
    commit: Option<CommitId>,
}

/// Writes one.
pub async fn post(
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

/// Deletes one.
pub async fn delete(
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

/// Where the notes on something are.
fn page_of(dot: &DotName, target: &NoteTarget) -> String {
    let dot = dot.full();
    match (&target.branch, &target.commit) {
        (_, Some(commit)) => format!("/{dot}/commit/{commit}#notes"),
        (Some(branch), None) => format!("/{dot}/commits/{}#notes", branch.spelling()),
        (None, None) => format!("/{dot}"),
    }
}
