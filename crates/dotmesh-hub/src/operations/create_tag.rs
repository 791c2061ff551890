//! Tagging a commit.

use dotmesh_model::{BranchName, DotName};

use super::resolve_ref::resolve_ref;
use crate::access::Action;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// The longest message of a tag, in bytes.
const MAX_MESSAGE_LENGTH: usize = 4096;

/// A tag to be made.
#[derive(Debug, Clone)]
pub struct NewTag {
    /// Its name.
    pub name: BranchName,
    /// A branch, whose head is tagged, a tag or a commit.
    pub at: String,
    /// What it is for.
    pub message: String,
}

/// Makes it. It is never moved.
pub async fn create_tag(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    tag: NewTag,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Push).await?;
    tag.name.check_new()?;
    if tag.message.len() > MAX_MESSAGE_LENGTH {
        return Err(HubError::TooLarge {
            what: "bytes in a tag's message",
            limit: MAX_MESSAGE_LENGTH,
        });
    }
    let commit = resolve_ref(hub, &open, &tag.at).await?;
    let deed = open.deed(caller)?;
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
