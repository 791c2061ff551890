//! What is written into the access log: who came in, from where, and what they took or removed.
//!
//! What happens with every request is written once a day. What was is remembered here, which saves writes and decides nothing.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::access::Visibility;
use crate::auth::{Caller, OpenDot};
use crate::clock;
use crate::database::DatabaseError;
use crate::database::access_log::{self, Access, Act};
use crate::error::HubError;
use crate::extract::ClientAddress;
use crate::state::Hub;

/// What is remembered of a day at most.
const MOST_REMEMBERED: usize = 20_000;

/// What was written down today.
#[derive(Debug, Default)]
pub struct Written {
    today: Mutex<(i64, HashSet<Access>)>,
}

impl Written {
    fn has(&self, access: &Access, day: i64) -> bool {
        let today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        today.0 == day && today.1.contains(access)
    }

    fn add(&self, access: Access, day: i64) {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.0 != day || today.1.len() >= MOST_REMEMBERED {
            *today = (day, HashSet::new());
        }
        today.1.insert(access);
    }
}

/// Somebody has logged in.
pub async fn logged_in(
    hub: &Hub,
    user: &str,
    address: &ClientAddress,
    how: &str,
) -> Result<(), DatabaseError> {
    each_time(hub, Act::Login, user, address, how.to_owned()).await
}

/// Somebody gave a wrong password. A name that the hub does not know is not kept: it may be a password.
pub async fn wrong_password(
    hub: &Hub,
    known_user: Option<&str>,
    address: &ClientAddress,
) -> Result<(), DatabaseError> {
    let user = known_user.unwrap_or_default();
    each_time(hub, Act::WrongPassword, user, address, String::new()).await
}

/// A request came with a key, or with a password.
pub async fn credential_used(
    hub: &Hub,
    act: Act,
    user: &str,
    address: &ClientAddress,
    key: &str,
) -> Result<(), DatabaseError> {
    once_a_day(hub, act, user, address, key.to_owned()).await
}

/// Somebody is about to get content of a dot.
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

/// Somebody has removed something.
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
    let (access, now) = (access(act, actor, address, subject), clock::now());
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
    hub.database.log_access(&access, clock::now()).await
}

fn access(act: Act, actor: &str, address: &ClientAddress, subject: String) -> Access {
    Access {
        act,
        actor: actor.to_owned(),
        address: address.network(),
        subject,
    }
}
