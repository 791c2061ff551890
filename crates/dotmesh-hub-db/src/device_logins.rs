//! Logins of programs, which a user approves in a browser.

use dotmesh_hub_model::access::Scope;
use dotmesh_hub_model::credentials::KeyDigest;
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::UserName;
use jiff::{SignedDuration, Timestamp};

use crate::events::{self, Event};
use crate::ids::{self, UserId};
use crate::keys::{self, NewKey};
use crate::{Database, DatabaseError};

/// How long a login lasts. The user must approve it, and the program fetch the key, within this time.
pub const DEVICE_LOGIN_LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// A login that begins.
#[derive(Debug)]
pub struct NewDeviceLogin<'a> {
    /// The digest of the token that the program polls with.
    pub device: &'a KeyDigest,
    /// The digest of the code that the user types.
    pub code: &'a KeyDigest,
    /// The host that the program says it runs on.
    pub client: &'a str,
    /// The address that its request came from.
    pub address: &'a str,
}

/// A login that waits for the user's decision.
#[derive(Debug, Clone)]
pub struct WaitingLogin {
    /// The host that the program says it runs on.
    pub client: String,
    /// The address that its request came from.
    pub address: String,
    /// When it began.
    pub created: Timestamp,
}

/// The user's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The program gets an API key of this user.
    Approve(UserId),
    /// The program gets no key.
    Deny,
}

/// The state of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceLoginState {
    /// The user has not decided yet.
    Pending,
    /// The user denied it.
    Denied,
    /// This user approved it, and the key is stored. The login has ended.
    Approved(UserName),
}

impl Database {
    /// Begins a login, and removes expired logins.
    pub async fn begin_device_login(
        &self,
        login: &NewDeviceLogin<'_>,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM device_logins WHERE created <= $1")
            .bind(oldest(now))
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO device_logins (device, code, client, address, created, state)
             VALUES ($1, $2, $3, $4, $5, 'pending')",
        )
        .bind(login.device.as_bytes())
        .bind(login.code.as_bytes())
        .bind(login.client)
        .bind(login.address)
        .bind(now.as_second())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Returns the login that waits under this code.
    pub async fn waiting_login(
        &self,
        code: &KeyDigest,
        now: Timestamp,
    ) -> Result<Option<WaitingLogin>, DatabaseError> {
        let row: Option<(String, String, i64)> = sqlx::query_as(
            "SELECT client, address, created FROM device_logins
             WHERE code = $1 AND state = 'pending' AND created > $2",
        )
        .bind(code.as_bytes())
        .bind(oldest(now))
        .fetch_optional(&self.readers)
        .await?;
        row.map(|(client, address, created)| {
            Ok(WaitingLogin {
                client,
                address,
                created: ids::time(created)?,
            })
        })
        .transpose()
    }

    /// Records the decision about a waiting login. `false` when no login waits under this code. A decision is final.
    pub async fn decide_login(
        &self,
        code: &KeyDigest,
        decision: Decision,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let (state, user) = match decision {
            Decision::Approve(user) => ("approved", Some(user)),
            Decision::Deny => ("denied", None),
        };
        let done = sqlx::query(
            "UPDATE device_logins SET state = $1, user_id = $2
             WHERE code = $3 AND state = 'pending' AND created > $4",
        )
        .bind(state)
        .bind(user)
        .bind(code.as_bytes())
        .bind(oldest(now))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Returns the state of a login. `None` when it has ended or never existed.
    ///
    /// If the login is approved, this call ends it and stores `key` for its user, until `expires`. If several
    /// requests ask at once, only one gets the key.
    pub async fn device_login(
        &self,
        device: &KeyDigest,
        key: &KeyDigest,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<DeviceLoginState>, DatabaseError> {
        let state: Option<String> = sqlx::query_scalar(
            "SELECT state FROM device_logins WHERE device = $1 AND created > $2",
        )
        .bind(device.as_bytes())
        .bind(oldest(now))
        .fetch_optional(&self.readers)
        .await?;
        match state.as_deref() {
            None => Ok(None),
            Some("pending") => Ok(Some(DeviceLoginState::Pending)),
            Some("denied") => Ok(Some(DeviceLoginState::Denied)),
            Some(_) => self.end_device_login(device, key, expires, now).await,
        }
    }

    async fn end_device_login(
        &self,
        device: &KeyDigest,
        key: &KeyDigest,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<DeviceLoginState>, DatabaseError> {
        let mut tx = self.begin().await?;
        let row: Option<(UserId, String)> = sqlx::query_as(
            "DELETE FROM device_logins
             WHERE device = $1 AND state = 'approved' AND created > $2 RETURNING user_id, client",
        )
        .bind(device.as_bytes())
        .bind(oldest(now))
        .fetch_optional(&mut *tx)
        .await?;
        let Some((user, client)) = row else {
            return Ok(None);
        };
        let name: String = sqlx::query_scalar("SELECT name FROM users WHERE id = $1")
            .bind(user)
            .fetch_one(&mut *tx)
            .await?;
        let name: UserName = ids::name(&name)?;
        let new = NewKey {
            digest: key.clone(),
            name: format!("dm on {client}"),
            scope: Scope::Write,
            dot: None,
            expires,
        };
        keys::insert(&mut tx, user, &new, now).await?;
        let event = Event {
            actor: name.clone(),
            dot: None,
            kind: EventKind::CreateKey {
                name: new.name,
                scope: new.scope.as_str().to_owned(),
                user: None,
            },
        };
        events::insert(&mut tx, &event, now).await?;
        tx.commit().await?;
        Ok(Some(DeviceLoginState::Approved(name)))
    }
}

/// Returns the time in seconds. Logins that began at this time or before have ended.
fn oldest(now: Timestamp) -> i64 {
    (now - DEVICE_LOGIN_LIFETIME).as_second()
}
