//! Leases: only one of the processes that share the database does a periodic job.

use jiff::Timestamp;

use crate::{Database, DatabaseError, ids};

/// The lease of the job that takes a backup. While it is held, no pack is deleted.
pub const BACKUP: &str = "backup";

/// A job's lease.
#[derive(Debug, Clone)]
pub struct JobLease {
    /// The job.
    pub name: String,
    /// When the lease ends, and the job is due again.
    pub until: Timestamp,
}

impl Database {
    /// Returns the leases of all jobs that ever began, sorted by name.
    pub async fn leases(&self) -> Result<Vec<JobLease>, DatabaseError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, until FROM leases ORDER BY name")
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter()
            .map(|(name, until)| {
                Ok(JobLease {
                    name,
                    until: ids::time(until)?,
                })
            })
            .collect()
    }

    /// Takes a lease until `until`, or renews it. `false` when another holder has it.
    ///
    /// `now` and `until` come from the caller's clock. If the clocks of two holders differ by more than the lease's
    /// length, both may hold it. So the job must tolerate this.
    pub async fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let done = sqlx::query(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE leases.until <= $4 OR leases.holder = excluded.holder",
        )
        .bind(name)
        .bind(holder)
        .bind(until.as_second())
        .bind(now.as_second())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
