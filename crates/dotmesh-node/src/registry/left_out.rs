//! The files left out of commits, as found here or as a hub reported.

use dotmesh_model::{CommitId, LeftOut};
use dotmesh_sync::Found;
use sqlx::SqliteConnection;

use super::{Registry, Result};
use crate::error::NodeError;

/// The files left out of a commit.
#[derive(Debug, Clone)]
pub(crate) struct KnownLeftOut {
    pub(crate) found: Found,
    /// A hub reported it. The local data was not searched.
    pub(crate) told: bool,
}

impl Registry {
    /// The files left out of a commit, if that is known.
    pub(crate) async fn left_out(&self, dot: &str, id: CommitId) -> Result<Option<KnownLeftOut>> {
        let row: Option<(i64, i64, bool, bool)> = sqlx::query_as(
            "SELECT count, depth, links, told FROM left_out WHERE dot = ? AND id = ?",
        )
        .bind(dot)
        .bind(id.to_string())
        .fetch_optional(&self.db)
        .await?;
        let Some((count, depth, has_links, told)) = row else {
            return Ok(None);
        };
        let items = sqlx::query_as(
            "SELECT path, reason FROM left_out_items WHERE dot = ? AND id = ? ORDER BY place",
        )
        .bind(dot)
        .bind(id.to_string())
        .fetch_all(&self.db)
        .await?;
        let depth = usize::try_from(depth)
            .map_err(|_| NodeError::RegistryDamaged("a depth is negative".to_owned()))?;
        let found = Found {
            count: count.unsigned_abs(),
            items,
            depth,
            has_links,
        };
        Ok(Some(KnownLeftOut { found, told }))
    }

    /// Stores what was found, unless the commit has been forgotten meanwhile.
    pub(crate) async fn set_left_out(&self, dot: &str, id: CommitId, found: &Found) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        put(&mut transaction, dot, id, found, false).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Whether a commit was sealed within the limits of every pool.
    pub(crate) async fn is_within_limits(&self, dot: &str, id: CommitId) -> Result<bool> {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM within_limits WHERE dot = ? AND id = ?")
                .bind(dot)
                .bind(id.to_string())
                .fetch_one(&self.db)
                .await?;
        Ok(rows > 0)
    }

    /// Stores that it was.
    pub(crate) async fn set_within_limits(&self, dot: &str, id: CommitId) -> Result<()> {
        sqlx::query(
            "INSERT OR IGNORE INTO within_limits (dot, id)
             SELECT dot, id FROM commits WHERE dot = ? AND id = ?",
        )
        .bind(dot)
        .bind(id.to_string())
        .execute(&self.db)
        .await?;
        Ok(())
    }
}

/// Stores what a hub reported about a commit.
pub(super) async fn put_told(
    connection: &mut SqliteConnection,
    dot: &str,
    id: CommitId,
    told: &LeftOut,
) -> Result<()> {
    let items = told.items.iter();
    let found = Found {
        count: told.count,
        items: items
            .map(|item| (item.path.clone().into_bytes(), item.reason.clone()))
            .collect(),
        ..Found::default()
    };
    put(connection, dot, id, &found, true).await
}

async fn put(
    connection: &mut SqliteConnection,
    dot: &str,
    id: CommitId,
    found: &Found,
    told: bool,
) -> Result<()> {
    let id = id.to_string();
    let added = sqlx::query(
        "INSERT INTO left_out (dot, id, count, depth, links, told)
         SELECT dot, id, ?3, ?4, ?5, ?6 FROM commits WHERE dot = ?1 AND id = ?2
         ON CONFLICT DO NOTHING",
    )
    .bind(dot)
    .bind(&id)
    .bind(i64::try_from(found.count).unwrap_or(i64::MAX))
    .bind(i64::try_from(found.depth).unwrap_or(i64::MAX))
    .bind(found.has_links)
    .bind(told)
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Ok(());
    }
    for (place, (path, reason)) in (0_i64..).zip(&found.items) {
        sqlx::query(
            "INSERT INTO left_out_items (dot, id, place, path, reason) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(dot)
        .bind(&id)
        .bind(place)
        .bind(path)
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
