//! Counts recent attempts, across all processes.

use dotmesh_hub_model::limits::guesses::{OF_NAME, OF_NAME_FROM_ADDRESS, WINDOW, from_address};
use dotmesh_model::UserName;
use jiff::{SignedDuration, Timestamp};
use sqlx::AnyConnection;

use crate::{Database, DatabaseError, ids};

/// How often something may be tried.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimit {
    /// The most attempts.
    pub attempts: i64,
    /// The time in which they are counted.
    pub within: SignedDuration,
}

/// The counters of a wrong password.
#[derive(Debug, Clone)]
pub struct Guesses {
    of_name_from_address: String,
    of_name: String,
    from_address: String,
    in_all: &'static str,
}

impl Guesses {
    /// The counters of a login from an address or a network.
    pub fn new(name: &UserName, address: &str) -> Self {
        let name = name.as_str().to_ascii_lowercase();
        Self {
            of_name_from_address: format!("password of {name} from {address}"),
            of_name: format!("password of {name}"),
            from_address: format!("passwords from {address}"),
            in_all: "passwords",
        }
    }

    fn subjects(&self) -> [&str; 4] {
        let Self {
            of_name_from_address,
            of_name,
            from_address,
            in_all,
        } = self;
        [of_name_from_address, of_name, from_address, in_all]
    }
}

impl Database {
    /// Counts an attempt. `false` when it is one too many. `subject` says who tries what.
    pub async fn attempt(
        &self,
        subject: &str,
        limit: AttemptLimit,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        forget(&mut tx, now).await?;
        let count = count(&mut tx, subject, now + limit.within).await?;
        tx.commit().await?;
        Ok(count <= limit.attempts)
    }

    /// Returns the time until which no more passwords are checked. Counts nothing.
    pub async fn blocked_until(
        &self,
        guesses: &Guesses,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, DatabaseError> {
        let [a, b, c, d] = guesses.subjects();
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT subject, count, ends FROM attempts
             WHERE subject IN ($1, $2, $3, $4) AND ends > $5",
        )
        .bind(a)
        .bind(b)
        .bind(c)
        .bind(d)
        .bind(now.as_second())
        .fetch_all(&self.readers)
        .await?;
        let count = |subject: &str| {
            let row = rows.iter().find(|(counted, ..)| counted == subject);
            row.map_or((0, 0), |(_, count, ends)| (*count, *ends))
        };
        let (in_all, _) = count(guesses.in_all);
        let limits = [
            (&guesses.of_name_from_address, OF_NAME_FROM_ADDRESS),
            (&guesses.of_name, OF_NAME),
            (&guesses.from_address, from_address(in_all)),
        ];
        let ends = limits.iter().filter_map(|(subject, limit)| {
            let (count, ends) = count(subject);
            (count >= *limit).then_some(ends)
        });
        ends.max().map(ids::time).transpose()
    }

    /// Counts a wrong password.
    pub async fn guessed(&self, guesses: &Guesses, now: Timestamp) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        forget(&mut tx, now).await?;
        for subject in guesses.subjects() {
            count(&mut tx, subject, now + WINDOW).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Deletes counters whose time has ended.
async fn forget(connection: &mut AnyConnection, now: Timestamp) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM attempts WHERE ends <= $1")
        .bind(now.as_second())
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts an attempt, and returns the new count.
async fn count(
    connection: &mut AnyConnection,
    subject: &str,
    ends: Timestamp,
) -> Result<i64, DatabaseError> {
    let count = sqlx::query_scalar(
        "INSERT INTO attempts (subject, count, ends) VALUES ($1, 1, $2)
         ON CONFLICT (subject) DO UPDATE SET count = attempts.count + 1 RETURNING count",
    )
    .bind(subject)
    .bind(ends.as_second())
    .fetch_one(connection)
    .await?;
    Ok(count)
}
