//! The routes of the API, one file each. `router.rs` lists their paths, and `docs/protocol.md` describes them.

pub(crate) mod begin_login;
pub(crate) mod begin_upload;
pub(crate) mod branch;
pub(crate) mod bundle;
pub(crate) mod commits;
pub(crate) mod databases;
pub(crate) mod delete_dot;
pub(crate) mod document;
pub(crate) mod dot;
pub(crate) mod dots;
pub(crate) mod finish_upload;
pub(crate) mod fork_dot;
pub(crate) mod forks;
pub(crate) mod grant;
pub(crate) mod health;
pub(crate) mod login_state;
pub(crate) mod metrics;
pub(crate) mod missing;
pub(crate) mod notes;
pub(crate) mod objects;
pub(crate) mod offer;
pub(crate) mod offers;
pub(crate) mod protection;
pub(crate) mod push_bundle;
pub(crate) mod reference;
pub(crate) mod rename_dot;
pub(crate) mod revoke;
pub(crate) mod search;
pub(crate) mod send_pack;
pub(crate) mod settings;
pub(crate) mod tags;
pub(crate) mod trash;
pub(crate) mod user;
pub(crate) mod users;
pub(crate) mod version;
pub(crate) mod webhook;
pub(crate) mod webhook_deliveries;
pub(crate) mod webhook_secret;
pub(crate) mod webhooks;
pub(crate) mod without_data;

use dotmesh_api::hub::FinishUpload;
use dotmesh_api::identity::Meant;
use dotmesh_hub_db::uploads::OpenUpload;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::{BRANCHES_PER_PUSH, COMMITS_PER_PUSH};
use dotmesh_hub_service::auth::{Caller, OpenDot};
use dotmesh_hub_service::{Hub, HubError};

use crate::error::HttpError;
use crate::extract::{DotPath, UploadPath};

/// Checks that a new upload to a dot may store something.
async fn check_new_upload(hub: &Hub, caller: &Caller, dot: &OpenDot) -> Result<(), HubError> {
    if caller.meant == Some(Meant::New) && dot.id.is_some() {
        let dot = dot.name.clone();
        return Err(HubError::MadeMeanwhile { dot });
    }
    // A push that could store nothing is told so before it sends anything.
    let usage = hub.database.usage(dot.owner, hub.settings.quota).await?;
    match usage.room() {
        0 => Err(HubError::over_quota(usage, dot.owner == caller.id)),
        _ => Ok(()),
    }
}

/// Checks that a push has no more commits and ref updates than a push may have.
fn check_limits(push: &FinishUpload) -> Result<(), HttpError> {
    COMMITS_PER_PUSH.check(push.commits.len())?;
    BRANCHES_PER_PUSH.check(push.branches.len())?;
    Ok(())
}

/// The longest body of a small request, in bytes.
const MAX_BODY_LENGTH: usize = 64 << 10;

/// Returns an upload and its dot. Only the user who began the upload can open it, while they may push to the dot.
async fn open_upload(
    hub: &Hub,
    caller: &Caller,
    DotPath(dot): &DotPath,
    UploadPath(token): &UploadPath,
) -> Result<(OpenDot, OpenUpload), HttpError> {
    let dot = caller.open(hub, dot, Action::Push).await?;
    let upload = hub
        .database
        .upload(token, caller.id, dot.owner, &dot.name)
        .await?;
    Ok((dot, upload.ok_or(HubError::NoSuchUpload)?))
}
