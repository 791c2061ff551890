//! Packs that nobody needs any more: their rows go first, their files later.
//!
//! Writers of the database take turns, so what a transaction here sees of who needs a pack holds when it ends. A name is
//! the hash of a pack's bytes, so the same pack may be stored again while its file is being deleted. Such a file has
//! its name in `doomed_packs`; before a row of that name is added, `revive` looks there. Deletions are counted, so that
//! whoever has stored a pack knows whether one came after.

use std::time::Duration;

use dotmesh_store::PackId;
use jiff::Timestamp;
use sqlx::AnyConnection;

use super::ids::{self, PackRow};
use super::{Database, DatabaseError, ROWS_PER_STATEMENT};
use crate::backup;

/// A collector that has begun to delete a file and has not come back for so long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// That no dot and no push needs the pack `p`, nor any object in it, whose ids follow from the pack's.
macro_rules! is_garbage {
    () => {
        "NOT EXISTS (SELECT 1 FROM dot_packs m WHERE m.pack = p.id)
         AND NOT EXISTS (SELECT 1 FROM upload_packs m WHERE m.pack = p.id)
         AND NOT EXISTS (SELECT 1 FROM dot_objects m
                         WHERE m.object BETWEEN p.id * 1048576 AND p.id * 1048576 + 1048575)
         AND NOT EXISTS (SELECT 1 FROM upload_objects m
                         WHERE m.object BETWEEN p.id * 1048576 AND p.id * 1048576 + 1048575)"
    };
}

/// A pack that nobody needs at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Garbage {
    /// Its row.
    pub pack: PackRow,
    /// How many bytes it has.
    pub length: u64,
}

/// How many files had been deleted at a moment. What is stored after it can be lost to later deletions only.
#[derive(Debug, Clone, Copy)]
pub struct Deletions(i64);

impl Database {
    /// To be asked before packs are stored, for [`Database::add_objects`].
    pub async fn deletions(&self) -> Result<Deletions, DatabaseError> {
        let last = sqlx::query_scalar("SELECT coalesce(max(deletion), 0) FROM doomed_packs")
            .fetch_one(&self.readers)
            .await?;
        Ok(Deletions(last))
    }

    /// Some packs that nobody needs, by their rows, from the one after `after` on.
    pub async fn garbage(
        &self,
        after: Option<PackRow>,
        limit: u32,
    ) -> Result<Vec<Garbage>, DatabaseError> {
        let rows: Vec<(PackRow, i64)> = sqlx::query_as(concat!(
            "SELECT p.id, p.length FROM packs p WHERE p.id > $1 AND ",
            is_garbage!(),
            " ORDER BY p.id LIMIT $2"
        ))
        .bind(after.map_or(0, |pack| pack.0))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(pack, length)| {
                let length = ids::unsigned(length)?;
                Ok(Garbage { pack, length })
            })
            .collect()
    }

    /// Removes a pack's rows if it is still true that nobody needs it, and dooms its file if no other row has it.
    pub async fn remove_garbage(
        &self,
        pack: PackRow,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let name: Option<Vec<u8>> = sqlx::query_scalar(concat!(
            "SELECT p.name FROM packs p WHERE p.id = $1 AND ",
            is_garbage!()
        ))
        .bind(pack)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(name) = name else {
            return Ok(false);
        };
        for statement in [
            "DELETE FROM objects WHERE id BETWEEN $1 * 1048576 AND $1 * 1048576 + 1048575",
            "DELETE FROM packs WHERE id = $1",
        ] {
            sqlx::query(statement).bind(pack).execute(&mut *tx).await?;
        }
        doom(&mut tx, &name, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Dooms those of some stored packs that no row has: what was stored by a push that went no further.
    pub async fn doom_orphans(
        &self,
        stored: &[PackId],
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        for stored in stored.chunks(ROWS_PER_STATEMENT) {
            let list: Vec<u8> = stored.iter().flat_map(PackId::as_bytes).copied().collect();
            let orphans: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT s.name FROM (SELECT substr($1, n * 32 + 1, 32) AS name FROM numbers WHERE n < $2) s
                 WHERE NOT EXISTS (SELECT 1 FROM packs p WHERE p.name = s.name)
                   AND NOT EXISTS (SELECT 1 FROM doomed_packs d WHERE d.name = s.name AND d.state <> 'deleted')",
            )
            .bind(list)
            .bind(stored.len() as i64)
            .fetch_all(&self.readers)
            .await?;
            for orphan in orphans {
                let mut tx = self.begin().await?;
                doom(&mut tx, &orphan, now).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Names some packs whose files are to be deleted now: those whose deletion is pending since before `before`, unless a backup is being
    /// taken. Nobody else is told of them, unless this process never comes back.
    pub async fn begin_deleting(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PackId>, DatabaseError> {
        let mut tx = self.begin().await?;
        let names: Vec<Vec<u8>> = sqlx::query_scalar(
            "UPDATE doomed_packs SET state = 'deleting', since = $3
             WHERE name IN (SELECT name FROM doomed_packs
                            WHERE (state = 'waiting' AND since <= $1) OR (state = 'deleting' AND since <= $2)
                            ORDER BY since LIMIT $4)
               AND NOT EXISTS (SELECT 1 FROM packs p WHERE p.name = doomed_packs.name)
               AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.name = $5 AND l.until > $3)
             RETURNING name",
        )
        .bind(before.as_second())
        .bind((now - DEAD_AFTER).as_second())
        .bind(now.as_second())
        .bind(i64::from(limit))
        .bind(backup::LEASE)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        names.into_iter().map(|name| pack_id(&name)).collect()
    }

    /// Says that files are deleted.
    pub async fn end_deleting(
        &self,
        packs: &[PackId],
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        for pack in packs {
            sqlx::query(
                "UPDATE doomed_packs SET state = 'deleted', since = $1,
                    deletion = (SELECT max(deletion) + 1 FROM doomed_packs)
                 WHERE name = $2",
            )
            .bind(now.as_second())
            .bind(pack.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets of files that they were deleted, when that was before `before`.
    pub async fn forget_deleted(&self, before: Timestamp) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        // The last one stays: no number is given twice.
        sqlx::query(
            "DELETE FROM doomed_packs WHERE state = 'deleted' AND since <= $1
             AND deletion < (SELECT max(deletion) FROM doomed_packs)",
        )
        .bind(before.as_second())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn doom(
    connection: &mut AnyConnection,
    name: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO doomed_packs (name, state, since)
         SELECT n.name, 'waiting', $2 FROM (SELECT $1 AS name) n
         WHERE NOT EXISTS (SELECT 1 FROM packs p WHERE p.name = n.name)
         ON CONFLICT (name) DO UPDATE SET state = 'waiting', since = excluded.since
         WHERE doomed_packs.state = 'deleted'",
    )
    .bind(name)
    .bind(now.as_second())
    .execute(connection)
    .await?;
    Ok(())
}

/// What a pack's name in the store is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// What was stored under it is there, and stays when a row of the name is added in this transaction.
    Stored,
    /// It was deleted since, maybe after it was stored. It has to be stored again.
    Deleted,
    /// It is being deleted: what is stored now may be deleted, too.
    Deleting,
}

/// Whether a pack that was stored after so many `deletions` is still there. If so, it stays when a row of its name is added in
/// this transaction.
pub(super) async fn revive(
    connection: &mut AnyConnection,
    pack: PackId,
    deletions: Deletions,
) -> Result<Standing, DatabaseError> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT state, deletion FROM doomed_packs WHERE name = $1")
            .bind(pack.as_bytes().as_slice())
            .fetch_optional(&mut *connection)
            .await?;
    match row {
        None => Ok(Standing::Stored),
        Some((state, _)) if state == "deleting" => Ok(Standing::Deleting),
        Some((_, deletion)) if deletion > deletions.0 => Ok(Standing::Deleted),
        Some(_) => {
            // Its last deletion is remembered: others may have stored it before.
            for statement in [
                "DELETE FROM doomed_packs WHERE name = $1 AND deletion = 0",
                "UPDATE doomed_packs SET state = 'deleted' WHERE name = $1",
            ] {
                sqlx::query(statement)
                    .bind(pack.as_bytes().as_slice())
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(Standing::Stored)
        }
    }
}

/// Whether all of some packs have their rows.
pub(super) async fn are_there(
    connection: &mut AnyConnection,
    packs: &[PackRow],
) -> Result<bool, DatabaseError> {
    for pack in packs {
        let row: Option<i64> = sqlx::query_scalar("SELECT id FROM packs WHERE id = $1")
            .bind(*pack)
            .fetch_optional(&mut *connection)
            .await?;
        if row.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn pack_id(name: &[u8]) -> Result<PackId, DatabaseError> {
    let name = name.try_into();
    let name = name.map_err(|_| DatabaseError::Damaged { what: "pack name" })?;
    Ok(PackId::from_bytes(name))
}
