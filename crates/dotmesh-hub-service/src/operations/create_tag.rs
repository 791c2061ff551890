//! Creates a tag on a commit.

use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::TAG_MESSAGE;
use dotmesh_model::{BranchName, DotName};

use super::resolve_ref::resolve_with_data;
use super::room_for_text::room_for_text;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// A tag to be created.
#[derive(Debug, Clone)]
pub struct NewTag {
    pub name: BranchName,
    /// The tagged place: a branch, a tag or a commit. For a branch, its head is tagged.
    pub at: String,
    /// The tag's message.
    pub message: String,
}

/// Creates a tag. A tag never moves.
pub async fn create_tag(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    tag: NewTag,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Push).await?;
    tag.name.check_new()?;
    TAG_MESSAGE.check(tag.message.len())?;
    room_for_text(hub, caller, open.owner, &tag.message).await?;
    let commit = resolve_with_data(hub, &open, &tag.at).await?;
    let deed = open.deed(hub, caller)?;
    let created = hub
        .database
        .create_tag(deed, &tag.name, commit, tag.message.trim())
        .await?;
    if created {
        Ok(())
    } else {
        Err(HubError::NameTaken {
            dot: open.name,
            what: "tag",
            name: tag.name,
        })
    }
}
