//! Garbage collection of packs: the rows of an unneeded pack go first, its file later.
//!
//! Only one transaction writes at a time. So if it finds that nothing needs a pack, this still holds when it ends.
//!
//! A pack's name is the hash of its bytes, so a push may store the same pack again while its file is being deleted.
//! The table `doomed_packs` has the names of packs whose deletion is pending. Before a transaction adds a row with
//! such a name, it calls `revive`. Every deletion has a number, so a push that stored a pack can tell whether a
//! deletion came after.

use std::time::Duration;

use dotmesh_store::PackId;
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::ids::{self, PackRow};
use crate::leases::BACKUP;
use crate::objects::id_sql::between_ids_of;
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

/// A collector that began to delete a file and has not reported back for this long counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// SQL: the condition that no dot and no upload needs the pack `p` or an object in it. The ids of a pack's objects
/// follow from its own id.
macro_rules! is_garbage {
    () => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM dot_packs m WHERE m.pack = p.id)
             AND NOT EXISTS (SELECT 1 FROM upload_packs m WHERE m.pack = p.id)
             AND NOT EXISTS (SELECT 1 FROM dot_objects m WHERE m.object ",
            between_ids_of!("p.id"),
            ") AND NOT EXISTS (SELECT 1 FROM upload_objects m WHERE m.object ",
            between_ids_of!("p.id"),
            ")"
        )
    };
}

/// A pack that nothing needs at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Garbage {
    pub pack: PackRow,
    /// Its length in bytes.
    pub length: u64,
}

/// The number of the last deletion at some moment. A file that is stored after this moment can be lost only to a
/// deletion with a greater number.
#[derive(Debug, Clone, Copy)]
pub struct Deletions {
    last: i64,
    moment: Timestamp,
}

impl Deletions {
    /// Returns the moment, by the caller's clock.
    pub(crate) fn moment(self) -> Timestamp {
        self.moment
    }
}

impl Database {
    /// Returns the packs that build on this one.
    pub async fn packs_on(&self, base: PackId) -> Result<Vec<PackId>, DatabaseError> {
        let names: Vec<Vec<u8>> = sqlx::query_scalar("SELECT name FROM pack_bases WHERE base = $1")
            .bind(base.as_bytes().as_slice())
            .fetch_all(&self.readers)
            .await?;
        names.iter().map(|name| pack_id(name)).collect()
    }

    /// Returns the number of the last deletion now. Call it before storing packs, and pass it to
    /// [`Database::add_objects`].
    pub async fn deletions(&self, now: Timestamp) -> Result<Deletions, DatabaseError> {
        let last = sqlx::query_scalar("SELECT coalesce(max(deletion), 0) FROM doomed_packs")
            .fetch_one(&self.readers)
            .await?;
        Ok(Deletions { last, moment: now })
    }

    /// Returns up to `limit` unneeded packs with ids above `after`, in order of their ids.
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

    /// Removes a pack's rows if nothing needs the pack, and marks its file for deletion unless another row has its
    /// name. `false` when something needs the pack again.
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
            concat!("DELETE FROM objects WHERE id ", between_ids_of!("$1")),
            "DELETE FROM packs WHERE id = $1",
        ] {
            sqlx::query(statement).bind(pack).execute(&mut *tx).await?;
        }
        doom(&mut tx, &name, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Marks stored packs for deletion if no row names them. Pushes that were not finished left them behind.
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

    /// Returns up to `limit` packs whose files the caller must delete now. Their deletion has been pending since
    /// `before` or earlier. While a backup is being taken, there are none. Other collectors do not get these packs,
    /// unless this one dies.
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
               AND NOT EXISTS (SELECT 1 FROM pack_bases b WHERE b.base = doomed_packs.name)
               AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.name = $5 AND l.until > $3)
             RETURNING name",
        )
        .bind(before.as_second())
        .bind((now - DEAD_AFTER).as_second())
        .bind(now.as_second())
        .bind(i64::from(limit))
        .bind(BACKUP)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        names.into_iter().map(|name| pack_id(&name)).collect()
    }

    /// Records that files are deleted.
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
            // Readers of this file needed its bases until now.
            sqlx::query(
                "DELETE FROM pack_bases WHERE name = $1
                 AND NOT EXISTS (SELECT 1 FROM packs p WHERE p.name = $1)",
            )
            .bind(pack.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Removes the records of deletions at `before` or earlier.
    pub async fn forget_deleted(&self, before: Timestamp) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        // The last record stays, so that no deletion number is used twice.
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

pub(crate) async fn doom(
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

/// Whether the store still has a pack that was stored under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The pack is there. It stays if this transaction adds a row with its name.
    Stored,
    /// The pack was deleted, maybe after it was stored. It must be stored again.
    Deleted,
    /// The pack is being deleted. A pack that is stored now may be deleted too.
    Deleting,
}

/// Whether a pack that was stored after `deletions` is still there. If it is, its pending deletion is cancelled, and
/// it stays when this transaction adds a row with its name.
pub(crate) async fn revive(
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
        Some((_, deletion)) if deletion > deletions.last => Ok(Standing::Deleted),
        Some(_) => {
            // The number of its last deletion is kept: another push may have stored the pack before that deletion.
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

/// Whether all these packs have rows.
pub(crate) async fn are_there(
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

pub(crate) fn pack_id(name: &[u8]) -> Result<PackId, DatabaseError> {
    let name = name.try_into();
    let name = name.map_err(|_| DatabaseError::Damaged { what: "pack name" })?;
    Ok(PackId::from_bytes(name))
}
