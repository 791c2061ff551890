//! The access log for administrators: who logged in, from where, and what they downloaded or deleted. Entries are
//! kept for some time.

use jiff::{SignedDuration, Timestamp};

use crate::ids;
use crate::{Database, DatabaseError};

/// How long an entry is kept.
pub const ACCESS_LOG_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The most rows that are kept. They are the newest.
pub const MOST_ROWS: i64 = 500_000;

/// A kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Logged in: began a session, or got a key for a program.
    Login,
    /// Gave a wrong password.
    WrongPassword,
    /// Used an API key.
    Key,
    /// Used the password without a session, as programs do.
    Password,
    /// Downloaded content of a private dot.
    Download,
    /// Deleted something.
    Deletion,
}

impl Act {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Login,
        Self::WrongPassword,
        Self::Key,
        Self::Password,
        Self::Download,
        Self::Deletion,
    ];

    /// Returns the kind as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::WrongPassword => "wrong_password",
            Self::Key => "key",
            Self::Password => "password",
            Self::Download => "download",
            Self::Deletion => "deletion",
        }
    }
}

/// An access to log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    pub act: Act,
    /// The account's name. Empty when the hub has no such account.
    pub actor: String,
    /// Where the request came from.
    pub address: String,
    /// The name of the key that was used, or of the dot that was accessed.
    pub subject: String,
}

/// The accesses of one kind on a day, as one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAccess {
    /// Its number. Later entries have greater numbers.
    pub id: i64,
    pub access: Access,
    /// When it was first logged that day.
    pub began: Timestamp,
    /// When it was last logged that day.
    pub last: Timestamp,
    /// How often it happened that day.
    pub count: u64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    kind: String,
    actor: String,
    address: String,
    subject: String,
    began: i64,
    last: i64,
    count: i64,
}

impl Row {
    fn read(self) -> Result<PastAccess, DatabaseError> {
        let act = Act::ALL.into_iter().find(|act| act.as_str() == self.kind);
        Ok(PastAccess {
            id: self.id,
            access: Access {
                act: act.ok_or(DatabaseError::Damaged { what: "act" })?,
                actor: self.actor,
                address: self.address,
                subject: self.subject,
            },
            began: ids::time(self.began)?,
            last: ids::time(self.last)?,
            count: ids::unsigned(self.count)?,
        })
    }
}

/// Returns the day of a time, in days since 1970.
pub fn day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(24 * 60 * 60)
}

impl Database {
    /// Logs an access. Further accesses of the same kind on the same day only raise its count.
    pub async fn log_access(&self, access: &Access, now: Timestamp) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO access_log (day, kind, actor, address, subject, began, last, count)
             VALUES ($1, $2, $3, $4, $5, $6, $6, 1)
             ON CONFLICT (day, kind, actor, address, subject)
             DO UPDATE SET last = excluded.last, count = access_log.count + 1",
        )
        .bind(day(now))
        .bind(access.act.as_str())
        .bind(&access.actor)
        .bind(&access.address)
        .bind(&access.subject)
        .bind(now.as_second())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Returns the newest entries with numbers below `before`, newest first. With `actor`, only those of that
    /// account.
    pub async fn accesses(
        &self,
        actor: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PastAccess>, DatabaseError> {
        let before = before.unwrap_or(i64::MAX);
        let query = match actor {
            None => sqlx::query_as(
                "SELECT id, kind, actor, address, subject, began, last, count FROM access_log
                 WHERE id < $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(before)
            .bind(i64::from(limit)),
            Some(actor) => sqlx::query_as(
                "SELECT id, kind, actor, address, subject, began, last, count FROM access_log
                 WHERE actor = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(before)
            .bind(i64::from(limit))
            .bind(actor.to_owned()),
        };
        let rows: Vec<Row> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Removes entries that are older than [`ACCESS_LOG_LIFETIME`], and the oldest entries beyond `most` rows.
    pub async fn expire_accesses(&self, now: Timestamp, most: i64) -> Result<(), DatabaseError> {
        sqlx::query(
            "DELETE FROM access_log WHERE day < $1 OR id IN
             (SELECT id FROM access_log ORDER BY id DESC LIMIT 1000000 OFFSET $2)",
        )
        .bind(day(now - ACCESS_LOG_LIFETIME))
        .bind(most)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}
