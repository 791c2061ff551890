//! Writes a note on a commit or a branch, or deletes one.

use dotmesh_api::dots::NoteTarget;
use dotmesh_api::hub::Access;
use dotmesh_hub_db::ids::NoteId;
use dotmesh_hub_db::notes::NoteOn;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::NOTE;
use dotmesh_model::DotName;

use super::room_for_text::room_for_text;
use crate::audit;
use crate::auth::{Caller, OpenDot};
use crate::error::HubError;
use crate::state::Hub;

/// Returns the target of a note. The target must exist in the dot.
pub async fn note_target(
    hub: &Hub,
    open: &OpenDot,
    target: NoteTarget,
) -> Result<NoteOn, HubError> {
    let id = open.existing()?;
    let dot = open.name.clone();
    match target {
        NoteTarget {
            branch: Some(branch),
            commit: None,
        } => match hub.database.branch_head(id, &branch).await? {
            Some(_) => Ok(NoteOn::Branch(branch)),
            None => Err(HubError::NoSuchBranch { dot, branch }),
        },
        NoteTarget {
            branch: None,
            commit: Some(commit),
        } => {
            if hub.database.has_commit(id, commit).await? {
                Ok(NoteOn::Commit(commit))
            } else {
                Err(HubError::NoSuchCommit { dot, commit })
            }
        }
        _ => Err(HubError::malformed(
            "give either a branch or a commit for the note",
        )),
    }
}

/// Writes a note. Every logged-in user who sees the dot may do so.
pub async fn write_note(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    target: NoteTarget,
    body: &str,
) -> Result<NoteId, HubError> {
    let open = caller.open(hub, dot, Action::Note).await?;
    let body = body.trim();
    if body.is_empty() {
        return Err(HubError::malformed("a note needs some text"));
    }
    NOTE.check(body.len())?;
    room_for_text(hub, caller, caller.id, body).await?;
    let on = note_target(hub, &open, target).await?;
    let deed = open.deed(hub, caller)?;
    Ok(hub.database.add_note(deed, caller.id, &on, body).await?)
}

/// Deletes a note. An author may delete their own notes, and a maintainer may delete any.
pub async fn delete_note(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    note: NoteId,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Note).await?;
    let id = open.existing()?;
    let missing = || HubError::NoSuchNote {
        dot: open.name.clone(),
    };
    let author = hub.database.note_author(id, note).await?;
    let author = author.ok_or_else(missing)?;
    if author != caller.id && open.access < Access::Maintain {
        return Err(HubError::NoteOfOther);
    }
    if !hub.database.delete_note(id, note).await? {
        return Err(missing());
    }
    if author == caller.id {
        return Ok(());
    }
    let what = format!("another's note on {}", open.name.full());
    audit::deleted(hub, caller, what).await
}
