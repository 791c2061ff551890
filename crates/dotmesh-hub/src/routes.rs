//! One file for each route. `router.rs` says where they are, `docs/protocol.md` what they promise.

pub mod begin_login;
pub mod begin_upload;
pub mod commits;
pub mod delete_dot;
pub mod dot;
pub mod dots;
pub mod finish_upload;
pub mod grant;
pub mod health;
pub mod login_state;
pub mod metrics;
pub mod missing;
pub mod objects;
pub mod reference;
pub mod revoke;
pub mod send_pack;
pub mod user;
pub mod version;

use crate::access::Action;
use crate::auth::{Caller, OpenDot};
use crate::database::uploads::OpenUpload;
use crate::error::HubError;
use crate::extract::{DotPath, UploadPath};
use crate::state::Hub;

/// An upload's dot and the upload itself, for its own user as long as that user may push there.
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
