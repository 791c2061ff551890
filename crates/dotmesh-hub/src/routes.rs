//! The routes of the API, one file each. `router.rs` lists their paths, and `docs/protocol.md` describes them.

pub mod begin_login;
pub mod begin_upload;
pub mod branch;
pub mod commits;
pub mod delete_dot;
pub mod document;
pub mod dot;
pub mod dots;
pub mod finish_upload;
pub mod fork_dot;
pub mod forks;
pub mod grant;
pub mod health;
pub mod login_state;
pub mod metrics;
pub mod missing;
pub mod notes;
pub mod objects;
pub mod offer;
pub mod offers;
pub mod protection;
pub mod reference;
pub mod rename_dot;
pub mod revoke;
pub mod search;
pub mod send_pack;
pub mod settings;
pub mod tags;
pub mod trash;
pub mod user;
pub mod users;
pub mod version;
pub mod webhook;
pub mod webhook_deliveries;
pub mod webhook_secret;
pub mod webhooks;
pub mod without_data;

use dotmesh_hub_db::uploads::OpenUpload;
use dotmesh_hub_model::access::Action;

use crate::auth::{Caller, OpenDot};
use crate::error::HubError;
use crate::extract::{DotPath, UploadPath};
use crate::state::Hub;

/// The longest body of a small request, in bytes.
const MAX_BODY_LENGTH: usize = 64 << 10;

/// Returns an upload and its dot. Only the user who began the upload can open it, while they may push to the dot.
async fn open_upload(
    hub: &Hub,
    caller: &Caller,
    DotPath(dot): &DotPath,
    UploadPath(token): &UploadPath,
) -> Result<(OpenDot, OpenUpload), HubError> {
    let dot = caller.open(hub, dot, Action::Push).await?;
    let upload = hub
        .database
        .upload(token, caller.id, dot.owner, &dot.name)
        .await?;
    Ok((dot, upload.ok_or(HubError::NoSuchUpload)?))
}
