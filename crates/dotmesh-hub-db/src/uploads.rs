//! Uploads: pushes that have begun.

use dotmesh_model::DotName;
use jiff::Timestamp;

use crate::ids::{UploadId, UserId};
use crate::{Database, DatabaseError};

/// An upload, found by the token that its user sent.
#[derive(Debug, Clone)]
pub struct OpenUpload {
    pub id: UploadId,
    /// SHA-256 of the request that finished it; `None` while it is open.
    pub finished: Option<Vec<u8>>,
}

impl Database {
    /// Begins an upload. If there is one of this token, it changes nothing.
    pub async fn begin_upload(
        &self,
        token: &str,
        user: UserId,
        owner: UserId,
        dot: &DotName,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        sqlx::query(
            r#"INSERT INTO uploads (token, "user", owner, dot, created) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (token) DO NOTHING"#,
        )
        .bind(token)
        .bind(user)
        .bind(owner)
        .bind(dot.name())
        .bind(now.as_second())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Finds an upload, if it is this user's and goes to this dot.
    pub async fn upload(
        &self,
        token: &str,
        user: UserId,
        owner: UserId,
        dot: &DotName,
    ) -> Result<Option<OpenUpload>, DatabaseError> {
        let row: Option<(UploadId, Option<Vec<u8>>)> = sqlx::query_as(
            r#"SELECT id, finished FROM uploads
               WHERE token = $1 AND "user" = $2 AND owner = $3 AND dot = $4"#,
        )
        .bind(token)
        .bind(user)
        .bind(owner)
        .bind(dot.name())
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(id, finished)| OpenUpload { id, finished }))
    }

    /// Deletes the records of what a finished upload has sent. Its dot has the objects now.
    pub async fn clear_upload(&self, upload: UploadId) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        for statement in [
            "DELETE FROM upload_packs WHERE upload = $1",
            "DELETE FROM upload_objects WHERE upload = $1",
        ] {
            sqlx::query(statement)
                .bind(upload)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Removes the uploads that were begun before `deadline`, and returns their number.
    pub async fn expire_uploads(&self, deadline: Timestamp) -> Result<u64, DatabaseError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM uploads WHERE created < $1")
            .bind(deadline.as_second())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}
