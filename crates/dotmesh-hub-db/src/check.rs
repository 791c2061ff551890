//! What `dothub check` reads of the records, and how it marks what is lost.

use std::collections::BTreeSet;

use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::PackId;

use crate::facts;
use crate::garbage;
use crate::ids::{self, DotId, ObjectId, PackRow, UserId};
use crate::objects::id_sql::between_ids_of;
use crate::objects::lookup::{look_up, read_list};
use crate::objects::{DAMAGED, Location, NewObject, json};
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

/// A row of a pack.
#[derive(Debug, Clone, Copy)]
pub struct CheckedPack {
    pub row: PackRow,
    pub owner: UserId,
    pub name: PackId,
    /// The number of its objects, as noted with the pack.
    pub objects: u64,
    /// Whether an earlier repair has noted that some of its bytes are damaged.
    pub is_known_damaged: bool,
}

/// An object of a pack.
#[derive(Debug, Clone)]
pub struct CheckedObject {
    pub id: ObjectId,
    pub object: NewObject,
    pub location: Location,
}

/// A dot, also one that is deleted.
#[derive(Debug, Clone)]
pub struct CheckedDot {
    pub id: DotId,
    pub owner: UserId,
    /// Its full name. A deleted dot's name ends with `~` and a number.
    pub name: String,
}

/// A commit that has its data.
#[derive(Debug, Clone, Copy)]
pub struct CheckedCommit {
    pub id: CommitId,
    pub parent: CommitId,
    pub root: ObjectHash,
}

impl Database {
    /// Returns up to `limit` packs with ids above `after`, in order of their ids.
    pub async fn packs_after(
        &self,
        after: Option<PackRow>,
        limit: u32,
    ) -> Result<Vec<CheckedPack>, DatabaseError> {
        let rows: Vec<(PackRow, UserId, Vec<u8>, i64, i64)> = sqlx::query_as(
            "SELECT id, owner, name, objects, form FROM packs WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.map_or(0, |pack| pack.0))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(row, owner, name, objects, form)| {
                Ok(CheckedPack {
                    row,
                    owner,
                    name: garbage::pack_id(&name)?,
                    objects: ids::unsigned(objects)?,
                    is_known_damaged: form == DAMAGED,
                })
            })
            .collect()
    }

    /// Returns the objects of a pack. `None` if the pack is gone by now.
    pub async fn objects_of_pack(
        &self,
        pack: &CheckedPack,
    ) -> Result<Option<Vec<CheckedObject>>, DatabaseError> {
        let mut tx = self.begin_read().await?;
        let is_there = garbage::are_there(&mut tx, &[pack.row]).await?;
        let list = read_list(&mut tx, pack.row).await?;
        tx.commit().await?;
        let objects = list.into_iter().map(|(hash, row)| CheckedObject {
            id: row.id,
            object: NewObject {
                hash,
                kind: row.kind,
                range: row.range,
                raw_length: row.raw_length,
                grouped: row.grouped,
            },
            location: Location {
                pack: pack.name,
                range: row.range,
                raw_length: row.raw_length,
                grouped: row.grouped,
            },
        });
        Ok(is_there.then(|| objects.collect()))
    }

    /// Whether a pack still has its row.
    pub async fn has_pack(&self, pack: PackRow) -> Result<bool, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        garbage::are_there(&mut connection, &[pack]).await
    }

    /// Returns up to `limit` dots with ids above `after`, in order of their ids.
    pub async fn dots_after(
        &self,
        after: Option<DotId>,
        limit: u32,
    ) -> Result<Vec<CheckedDot>, DatabaseError> {
        let rows: Vec<(DotId, UserId, String, String)> = sqlx::query_as(
            "SELECT d.id, d.owner, o.name, d.name FROM dots d JOIN users o ON o.id = d.owner
             WHERE d.id > $1 ORDER BY d.id LIMIT $2",
        )
        .bind(after.map_or(0, |dot| dot.0))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let dots = rows
            .into_iter()
            .map(|(id, owner, namespace, name)| CheckedDot {
                id,
                owner,
                name: format!("{namespace}/{name}"),
            });
        Ok(dots.collect())
    }

    /// Returns the commits of a dot that have their data, oldest first.
    pub async fn commits_with_data(&self, dot: DotId) -> Result<Vec<CheckedCommit>, DatabaseError> {
        let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT id, parent, root FROM commits WHERE dot = $1 AND without_data = 0 ORDER BY time, id",
        )
        .bind(dot)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(id, parent, root)| {
                Ok(CheckedCommit {
                    id: ids::commit_id(&id)?,
                    parent: ids::commit_id(&parent)?,
                    root: ids::object_hash(&root)?,
                })
            })
            .collect()
    }

    /// Marks commits of a dot as being without their data, and takes objects from the dot, whose references are
    /// lost. A later push of the commits brings what is missing.
    pub async fn mark_lost(
        &self,
        dot: &CheckedDot,
        commits: &[CommitId],
        objects: &[ObjectHash],
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        let wanted: Vec<usize> = (0..objects.len()).collect();
        let found = look_up(&mut tx, dot.owner, objects, &wanted).await?;
        let lost: BTreeSet<ObjectId> = found.into_iter().map(|(_, row)| row.id).collect();
        let packs: BTreeSet<PackRow> = lost.iter().map(|object| object.pack()).collect();
        for pack in packs {
            // The dot has all of the pack. Now it has all its objects, each for itself.
            let whole = sqlx::query("DELETE FROM dot_packs WHERE dot = $1 AND pack = $2")
                .bind(dot.id)
                .bind(pack)
                .execute(&mut *tx)
                .await?;
            if whole.rows_affected() > 0 {
                sqlx::query(concat!(
                    "INSERT INTO dot_objects (dot, object) SELECT $1, id FROM objects WHERE id ",
                    between_ids_of!("$2"),
                    " ON CONFLICT (dot, object) DO NOTHING"
                ))
                .bind(dot.id)
                .bind(pack)
                .execute(&mut *tx)
                .await?;
            }
        }
        let lost: Vec<i64> = lost.into_iter().map(|object| object.0).collect();
        for lost in lost.chunks(ROWS_PER_STATEMENT) {
            sqlx::query(
                "DELETE FROM dot_objects WHERE dot = $1 AND object IN (SELECT value FROM json_each($2))",
            )
            .bind(dot.id)
            .bind(json(lost))
            .execute(&mut *tx)
            .await?;
        }
        for commit in commits {
            sqlx::query("UPDATE commits SET without_data = 1 WHERE dot = $1 AND id = $2")
                .bind(dot.id)
                .bind(commit.as_bytes().as_slice())
                .execute(&mut *tx)
                .await?;
        }
        facts::forget(&mut tx, dot.id, commits).await?;
        tx.commit().await?;
        Ok(())
    }
}
