//! Who came in, from where, and what they took or removed: for administrators, and for some time.

use jiff::{SignedDuration, Timestamp};

use super::ids;
use super::{Database, DatabaseError};

/// How long it is kept.
pub const ACCESS_LOG_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How many rows are kept at most: the newest.
pub const MOST_ROWS: i64 = 500_000;

/// What somebody did.
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
    /// Took content of a private dot.
    Download,
    /// Removed something.
    Deletion,
}

impl Act {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Login,
        Self::WrongPassword,
        Self::Key,
        Self::Password,
        Self::Download,
        Self::Deletion,
    ];

    /// As it is stored.
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

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// What.
    pub act: Act,
    /// The account; empty for none that the hub has.
    pub actor: String,
    /// Where the request came from.
    pub address: String,
    /// By what, or what: a key's name, a dot's.
    pub subject: String,
}

/// What was written down on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAccess {
    /// Its number: what came later has a greater one.
    pub id: i64,
    /// What.
    pub access: Access,
    /// When it was first written down that day.
    pub began: Timestamp,
    /// When it was last.
    pub last: Timestamp,
    /// How often.
    pub count: u64,
}

/// The day that a time is in, since 1970.
pub fn day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(24 * 60 * 60)
}

impl Database {
    /// Writes it down, once for a day and then counted.
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

    /// The newest before one of that number, newest first; of one account, if it is named.
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
        type Row = (i64, String, String, String, String, i64, i64, i64);
        let rows: Vec<Row> = query.fetch_all(&self.readers).await?;
        rows.into_iter()
            .map(|(id, kind, actor, address, subject, began, last, count)| {
                let act = Act::ALL.into_iter().find(|act| act.as_str() == kind);
                Ok(PastAccess {
                    id,
                    access: Access {
                        act: act.ok_or(DatabaseError::Damaged { what: "act" })?,
                        actor,
                        address,
                        subject,
                    },
                    began: ids::time(began)?,
                    last: ids::time(last)?,
                    count: ids::unsigned(count)?,
                })
            })
            .collect()
    }

    /// Removes what is older than it is kept, and what is more than `most` rows.
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
