//! The identity of the database. A database that a backup is restored to has another one.

use crate::unique_id::unique_id;
use crate::{Database, DatabaseError};

impl Database {
    /// Returns the database's id. The first call generates it.
    pub async fn identity(&self) -> Result<String, DatabaseError> {
        let mut tx = self.begin().await?;
        let known: Option<String> = sqlx::query_scalar("SELECT id FROM hub")
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(id) = known {
            return Ok(id);
        }
        let id = unique_id();
        sqlx::query("INSERT INTO hub (id) VALUES ($1)")
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(id)
    }
}
