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

#[derive(sqlx::FromRow)]
struct Row {
    users: i64,
    dots: i64,
    packs: i64,
    stored_bytes: i64,
    uploads: i64,
    sessions: i64,
}

impl Row {
    fn read(self) -> Result<Totals, DatabaseError> {
        Ok(Totals {
            users: ids::unsigned(self.users)?,
            dots: ids::unsigned(self.dots)?,
            packs: ids::unsigned(self.packs)?,
            stored_bytes: ids::unsigned(self.stored_bytes)?,
            uploads: ids::unsigned(self.uploads)?,
            sessions: ids::unsigned(self.sessions)?,
        })
    }
}

impl Database {
    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// Counts everything.
    pub async fn totals(&self) -> Result<Totals, DatabaseError> {
        let row: Row = sqlx::query_as(
            "SELECT (SELECT count(*) FROM users) AS users,
                    (SELECT count(*) FROM dots WHERE deleted IS NULL) AS dots,
                    (SELECT count(*) FROM packs) AS packs,
                    (SELECT CAST(coalesce(sum(length), 0) AS BIGINT) FROM packs) AS stored_bytes,
                    (SELECT count(*) FROM uploads WHERE finished IS NULL) AS uploads,
                    (SELECT count(*) FROM sessions) AS sessions",
        )
        .fetch_one(&self.readers)
        .await?;
        row.read()
    }
}
