//! Which process does a periodic job: of those that share the database, one.

use jiff::Timestamp;

use super::{Database, DatabaseError};

impl Database {
    /// Takes a lease until `until`, or renews it. `false` when another holder has it.
    ///
    /// `now` and `until` are of the caller's clock: holders whose clocks differ by more than a lease's length may
    /// hold it together, so what it guards has to bear that.
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
