//! The totals of the hub.

use crate::{Database, DatabaseError, ids};

/// How much the hub has of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Accounts.
    pub users: u64,
    /// Dots that are not deleted.
    pub dots: u64,
    pub packs: u64,
    /// Bytes of packs.
    pub stored_bytes: u64,
    /// Uploads that are not finished.
    pub uploads: u64,
    pub sessions: u64,
}

impl Database {
    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// Counts everything.
    pub async fn totals(&self) -> Result<Totals, DatabaseError> {
        let row: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM users),
                    (SELECT count(*) FROM dots WHERE deleted IS NULL),
                    (SELECT count(*) FROM packs),
                    (SELECT CAST(coalesce(sum(length), 0) AS BIGINT) FROM packs),
                    (SELECT count(*) FROM uploads WHERE finished IS NULL),
                    (SELECT count(*) FROM sessions)",
        )
        .fetch_one(&self.readers)
        .await?;
        let (users, dots, packs, stored_bytes, uploads, sessions) = row;
        Ok(Totals {
            users: ids::unsigned(users)?,
            dots: ids::unsigned(dots)?,
            packs: ids::unsigned(packs)?,
            stored_bytes: ids::unsigned(stored_bytes)?,
            uploads: ids::unsigned(uploads)?,
            sessions: ids::unsigned(sessions)?,
        })
    }
}
