//! Deleted dots. Nobody sees them, but for some time their owner can restore them.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::DotName;
use jiff::Timestamp;

use crate::events::Deed;
use crate::ids::{self, DotId, UserId};
use crate::names;
use crate::{Database, DatabaseError};

/// A deleted dot.
#[derive(Debug, Clone)]
pub struct TrashedDot {
    /// The id that stands for its name while it is deleted.
    pub id: DotId,
    /// The name that it had.
    pub name: DotName,
    /// When it was deleted.
    pub deleted: Timestamp,
}

/// The result of restoring a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restoration {
    Restored,
    /// There is no such deleted dot.
    Missing,
    /// Another dot has the name now.
    NameTaken,
}

impl Database {
    /// Deletes a dot: frees its name, and ends the pushes to it. Its rows stay until [`Database::purge_dots`].
    pub async fn delete_dot(&self, deed: Deed<'_>) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "DELETE FROM uploads WHERE (owner, dot) IN (SELECT owner, name FROM dots WHERE id = $1)",
        )
        .bind(deed.dot)
        .execute(&mut *tx)
        .await?;
        // No valid name has a `~`, so nobody can find the dot by name.
        let done = sqlx::query(
            "UPDATE dots SET deleted = $1, name = name || '~' || id WHERE id = $2 AND deleted IS NULL",
        )
        .bind(deed.now.as_second())
        .bind(deed.dot)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() > 0 {
            deed.log(&mut tx, EventKind::DeleteDot).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Returns a user's deleted dots, the last deleted first.
    pub async fn deleted_dots(&self, owner: UserId) -> Result<Vec<TrashedDot>, DatabaseError> {
        let rows: Vec<(DotId, String, String, i64)> = sqlx::query_as(
            "SELECT d.id, o.name, d.name, d.deleted FROM dots d JOIN users o ON o.id = d.owner
             WHERE d.owner = $1 AND d.deleted IS NOT NULL ORDER BY d.deleted DESC, d.id DESC",
        )
        .bind(owner)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(id, namespace, name, deleted)| {
                Ok(TrashedDot {
                    id,
                    name: ids::dot_name(&namespace, former(&name))?,
                    deleted: ids::time(deleted)?,
                })
            })
            .collect()
    }

    /// Restores a deleted dot under the name that it had.
    pub async fn restore_dot(
        &self,
        deed: Deed<'_>,
        owner: UserId,
    ) -> Result<Restoration, DatabaseError> {
        let mut tx = self.begin().await?;
        let name = deed.name.name();
        if names::find(&mut tx, owner, name).await?.is_some() {
            return Ok(Restoration::NameTaken);
        }
        let done = sqlx::query(
            "UPDATE dots SET deleted = NULL, name = $1
             WHERE id = $2 AND owner = $3 AND deleted IS NOT NULL",
        )
        .bind(name)
        .bind(deed.dot)
        .bind(owner)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Restoration::Missing);
        }
        names::take(&mut tx, owner, name).await?;
        deed.log(&mut tx, EventKind::RestoreDot).await?;
        tx.commit().await?;
        Ok(Restoration::Restored)
    }

    /// Removes the dots that were deleted before `deadline` for good, and returns their number.
    ///
    /// Their objects stay until garbage collection, because other dots may have the same objects.
    pub async fn purge_dots(&self, deadline: Timestamp) -> Result<u64, DatabaseError> {
        let mut purged = 0;
        // One dot per transaction, so that others can write in between.
        loop {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "DELETE FROM dots WHERE id = (SELECT min(id) FROM dots WHERE deleted < $1)",
            )
            .bind(deadline.as_second())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            if done.rows_affected() == 0 {
                return Ok(purged);
            }
            purged += done.rows_affected();
        }
    }
}

/// Returns the name that a dot had before it was deleted.
fn former(name: &str) -> &str {
    name.split_once('~').map_or(name, |(name, _)| name)
}
