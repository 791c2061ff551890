//! How often something was tried lately, whichever process was asked.

use jiff::{SignedDuration, Timestamp};

use super::{Database, DatabaseError, ids};

/// How often something may be tried.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// So many times
    pub attempts: i64,
    /// in so long.
    pub within: SignedDuration,
}

impl Database {
    /// Counts an attempt. `false` when it is one too many: `subject` says who tries what.
    pub async fn attempt(
        &self,
        subject: &str,
        limit: Limit,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM attempts WHERE ends <= $1")
            .bind(now.as_second())
            .execute(&mut *tx)
            .await?;
        let count: i64 = sqlx::query_scalar(
            "INSERT INTO attempts (subject, count, ends) VALUES ($1, 1, $2)
             ON CONFLICT (subject) DO UPDATE SET count = attempts.count + 1 RETURNING count",
        )
        .bind(subject)
        .bind((now + limit.within).as_second())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(count <= limit.attempts)
    }

    /// Until when something was tried too often to be tried again; counts nothing.
    pub async fn blocked_until(
        &self,
        subject: &str,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, DatabaseError> {
        let ends: Option<i64> = sqlx::query_scalar(
            "SELECT ends FROM attempts WHERE subject = $1 AND count >= $2 AND ends > $3",
        )
        .bind(subject)
        .bind(limit.attempts)
        .bind(now.as_second())
        .fetch_optional(&self.readers)
        .await?;
        ends.map(ids::time).transpose()
    }
}
