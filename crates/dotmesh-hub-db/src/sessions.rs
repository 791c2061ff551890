//! The sessions of users who are logged in with a browser.

use dotmesh_hub_model::credentials::KeyDigest;
use dotmesh_model::UserName;
use jiff::{SignedDuration, Timestamp};

use crate::ids::{self, UserId};
use crate::{Database, DatabaseError};

/// How long an unused session lasts.
pub const SESSION_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long a session lasts at most, even if it is used.
pub const LONGEST_SESSION: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How often a session's use is recorded. Recording it for every page would cost too many writes.
const USE_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// The user of a session.
#[derive(Debug, Clone)]
pub struct SessionUser {
    pub id: UserId,
    /// The account's name.
    pub name: UserName,
    /// Whether the user is an administrator.
    pub is_admin: bool,
}

/// A session as its user sees it.
#[derive(Debug, Clone)]
pub struct ListedSession {
    /// SHA-256 of its token.
    pub digest: KeyDigest,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used, to the hour.
    pub used: Timestamp,
    /// The name that the browser gives itself.
    pub agent: String,
}

impl Database {
    /// Returns a user's sessions that have not ended, the last used first.
    pub async fn sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<ListedSession>, DatabaseError> {
        let rows: Vec<(Vec<u8>, i64, i64, String)> = sqlx::query_as(
            "SELECT digest, created, used, agent FROM sessions
             WHERE user_id = $1 AND used > $2 AND created > $3 ORDER BY used DESC, created DESC",
        )
        .bind(user)
        .bind((now - SESSION_LIFETIME).as_second())
        .bind((now - LONGEST_SESSION).as_second())
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(digest, created, used, agent)| {
                Ok(ListedSession {
                    digest: KeyDigest::from_stored(&digest)
                        .ok_or(DatabaseError::Damaged { what: "digest" })?,
                    created: ids::time(created)?,
                    used: ids::time(used)?,
                    agent,
                })
            })
            .collect()
    }

    /// Ends one of a user's sessions.
    pub async fn end_session_of(
        &self,
        user: UserId,
        digest: &KeyDigest,
    ) -> Result<(), DatabaseError> {
        sqlx::query("DELETE FROM sessions WHERE digest = $1 AND user_id = $2")
            .bind(digest.as_bytes())
            .bind(user)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Begins a session. `false` when the user is suspended or no longer exists.
    pub async fn begin_session(
        &self,
        user: UserId,
        digest: &KeyDigest,
        agent: &str,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let begun = sqlx::query(
            "INSERT INTO sessions (digest, user_id, created, used, agent)
             SELECT $1, id, $3, $3, $4 FROM users WHERE id = $2 AND suspended IS NULL",
        )
        .bind(digest.as_bytes())
        .bind(user)
        .bind(now.as_second())
        .bind(agent)
        .execute(&self.writer)
        .await?;
        Ok(begun.rows_affected() > 0)
    }

    /// Returns the user of a session. `None` when it does not exist, it has ended, or its user is suspended.
    pub async fn session(
        &self,
        digest: &KeyDigest,
        now: Timestamp,
    ) -> Result<Option<SessionUser>, DatabaseError> {
        let row: Option<(UserId, String, i64, i64)> = sqlx::query_as(
            "SELECT u.id, u.name, u.admin, s.used FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.digest = $1 AND s.used > $2 AND s.created > $3 AND u.suspended IS NULL",
        )
        .bind(digest.as_bytes())
        .bind((now - SESSION_LIFETIME).as_second())
        .bind((now - LONGEST_SESSION).as_second())
        .fetch_optional(&self.readers)
        .await?;
        let Some((id, name, admin, used)) = row else {
            return Ok(None);
        };
        if ids::time(used)? < now - USE_INTERVAL {
            sqlx::query("UPDATE sessions SET used = $1 WHERE digest = $2")
                .bind(now.as_second())
                .bind(digest.as_bytes())
                .execute(&self.writer)
                .await?;
        }
        Ok(Some(SessionUser {
            id,
            name: ids::name(&name)?,
            is_admin: admin != 0,
        }))
    }

    /// Ends a session.
    pub async fn end_session(&self, digest: &KeyDigest) -> Result<(), DatabaseError> {
        sqlx::query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest.as_bytes())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Removes the sessions that have ended.
    pub async fn expire_sessions(&self, now: Timestamp) -> Result<(), DatabaseError> {
        sqlx::query("DELETE FROM sessions WHERE used <= $1 OR created <= $2")
            .bind((now - SESSION_LIFETIME).as_second())
            .bind((now - LONGEST_SESSION).as_second())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Ends all sessions of a user except `kept`.
pub(crate) async fn end_others(
    connection: &mut sqlx::AnyConnection,
    user: UserId,
    kept: Option<&KeyDigest>,
) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND digest <> $2")
        .bind(user)
        .bind(kept.map_or(&[][..], KeyDigest::as_bytes))
        .execute(connection)
        .await?;
    Ok(())
}
