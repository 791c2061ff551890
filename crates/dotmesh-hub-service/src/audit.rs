//! Writes the access log: who logged in, from where, and what they downloaded or deleted.
//!
//! An entry that could recur with every request is written once a day. Each process remembers the entries of the day,
//! which only saves writes.

use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::access_log::{self, Act, LoggedAccess};
use dotmesh_hub_model::access::Visibility;

use crate::address::ClientAddress;
use crate::auth::{Caller, OpenDot};
use crate::error::HubError;
use crate::state::Hub;

/// Logs a login.
pub async fn logged_in(
    hub: &Hub,
    user: &str,
    address: &ClientAddress,
    how: &str,
) -> Result<(), DatabaseError> {
    each_time(hub, Act::Login, user, address, how.to_owned()).await
}

/// Logs a wrong password. An unknown user name is not stored, because it may be a password typed into the wrong field.
pub(crate) async fn wrong_password(
    hub: &Hub,
    known_user: Option<&str>,
    address: &ClientAddress,
) -> Result<(), DatabaseError> {
    let user = known_user.unwrap_or_default();
    each_time(hub, Act::WrongPassword, user, address, String::new()).await
}

/// Logs that a request was authenticated by an API key or a password.
pub(crate) async fn credential_used(
    hub: &Hub,
    act: Act,
    user: &str,
    address: &ClientAddress,
    key: &str,
) -> Result<(), DatabaseError> {
    once_a_day(hub, act, user, address, key.to_owned()).await
}

/// Logs that a user is about to download content of a dot. Public dots and anonymous downloads are not logged.
pub async fn download(
    hub: &Hub,
    dot: &OpenDot,
    caller: Option<&Caller>,
    how: &str,
) -> Result<(), HubError> {
    if let Some(caller) = caller
        && dot.visibility == Visibility::Private
    {
        let subject = format!("{} {how}", dot.name.full());
        let (user, address) = (caller.name.as_str(), &caller.address);
        once_a_day(hub, Act::Download, user, address, subject).await?;
    }
    Ok(())
}

/// Logs a deletion.
pub async fn deleted(hub: &Hub, caller: &Caller, what: String) -> Result<(), HubError> {
    let (user, address) = (caller.name.as_str(), &caller.address);
    Ok(each_time(hub, Act::Deletion, user, address, what).await?)
}

async fn once_a_day(
    hub: &Hub,
    act: Act,
    actor: &str,
    address: &ClientAddress,
    subject: String,
) -> Result<(), DatabaseError> {
    let (access, now) = (access(act, actor, address, subject), hub.clock.now());
    let day = access_log::day(now);
    if !hub.written.has(&access, day) {
        hub.database.log_access(&access, now).await?;
        hub.written.add(access, day);
    }
    Ok(())
}

async fn each_time(
    hub: &Hub,
    act: Act,
    actor: &str,
    address: &ClientAddress,
    subject: String,
) -> Result<(), DatabaseError> {
    let access = access(act, actor, address, subject);
    hub.database.log_access(&access, hub.clock.now()).await
}

fn access(act: Act, actor: &str, address: &ClientAddress, subject: String) -> LoggedAccess {
    LoggedAccess {
        act,
        actor: actor.to_owned(),
        address: address.network(),
        subject,
    }
}
