//! Logins of programs, which their user approves in a browser.

use dotmesh_model::UserName;
use jiff::{SignedDuration, Timestamp};

use super::events::{self, Event, EventKind};
use super::ids::{self, UserId};
use super::keys::{self, NewKey};
use super::{Database, DatabaseError};
use crate::access::Scope;
use crate::credentials::KeyDigest;

/// How long a login waits to be approved, and then to be fetched.
pub const DEVICE_LOGIN_LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// A login that begins.
#[derive(Debug)]
pub struct NewDeviceLogin<'a> {
    /// Of what the program asks with.
    pub device: &'a KeyDigest,
    /// Of what the user types.
    pub code: &'a KeyDigest,
    /// Where the program says that it runs.
    pub client: &'a str,
    /// Where its request came from.
    pub address: &'a str,
}

/// A login that waits for its user's word.
#[derive(Debug, Clone)]
pub struct WaitingLogin {
    /// Where the program says that it runs.
    pub client: String,
    /// Where its request came from.
    pub address: String,
    /// When it began.
    pub created: Timestamp,
}

/// What the user says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The program gets a key of this user's.
    Approve(UserId),
    /// It gets none.
    Deny,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceLoginState {
    /// Nobody has decided.
    Pending,
    /// It was denied.
    Denied,
    /// It was approved by this user, and the key is stored. The login has ended.
    Approved(UserName),
}

impl Database {
    /// Begins a login. Those that have ended make room.
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

    /// The login that waits under this code.
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

    /// Decides about a waiting login. `false` when none waits under this code: it is decided once.
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

    /// What became of a login; `None` when it has ended, or never was. An approved one ends with this, and `key` becomes
    /// its user's until it expires: of several who ask at once, one gets it.
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

/// Logins that began then or before have ended.
fn oldest(now: Timestamp) -> i64 {
    (now - DEVICE_LOGIN_LIFETIME).as_second()
}
