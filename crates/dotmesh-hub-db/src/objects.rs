//! Adds objects, records which dots have them, and decides which objects an upload may refer to.
//!
//! There are very many objects, so nothing here needs a statement or a parameter for each. A list is one parameter,
//! and a fact about all objects of a pack is one row.

mod adding;
mod frame_column;
pub(crate) mod id_sql;
pub(crate) mod lookup;
mod pack_index_cache;
pub mod walk;

use std::collections::HashMap;

use dotmesh_hub_model::quota::Usage;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameRange, Kind, PackId};
use sqlx::AnyConnection;

use self::adding::add_pack;
use self::lookup::packs_of;
use self::walk::Numbers;
use crate::garbage::{self, Deletions, Standing};
use crate::ids::{DotId, ObjectId, PackRow, UploadId, UserId};
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT, quotas};

pub(crate) use adding::{index_of, insert_pack};
pub(crate) use pack_index_cache::PackIndexCache;

/// The values of the column `form` of a pack.
pub(crate) const AS_IT_CAME: i64 = 0;
pub(crate) const REPACKED: i64 = 1;
pub(crate) const DAMAGED: i64 = 2;

/// A verified object that has been put into a pack.
#[derive(Debug, Clone)]
pub struct NewObject {
    /// Its hash.
    pub hash: ObjectHash,
    /// Its kind.
    pub kind: Kind,
    /// Where its frame is in the pack.
    pub range: FrameRange,
    /// Its uncompressed length, in bytes.
    pub raw_length: u32,
    /// Whether its frame is a group, which has other objects too.
    pub grouped: bool,
}

/// The location of an object.
#[derive(Debug, Clone, Copy)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Where its frame is in the pack.
    pub range: FrameRange,
    /// The object's uncompressed length, in bytes.
    pub raw_length: u32,
    /// Whether the frame is a group, which has other objects too.
    pub grouped: bool,
}

/// The user, dot and upload of a lookup. They decide which objects the upload may refer to.
#[derive(Debug, Clone, Copy)]
pub struct UploadScope {
    /// The pushing user.
    pub user: UserId,
    /// The user whose other dots and unfinished uploads it may refer to.
    pub reads_as: Option<UserId>,
    /// The namespace pushed to.
    pub owner: UserId,
    /// The dot pushed to, if it exists already.
    pub dot: Option<DotId>,
    /// The upload.
    pub upload: UploadId,
}

/// An object of the namespace that an upload may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub id: ObjectId,
    /// Its kind.
    pub kind: Kind,
    pub location: Location,
    /// Whether the dot pushed to has it, and with it everything that it refers to.
    pub member: bool,
    /// The note that the upload must add before it may rely on the object.
    borrowed: Option<Borrowed>,
}

/// An object that a dot has.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub id: ObjectId,
    pub kind: Kind,
    pub location: Location,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Borrowed {
    /// The upload may refer to its whole pack.
    Pack(PackRow),
    Object(ObjectId),
}

/// The relation of a scope to a pack or an object.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    /// The dot has it.
    member: bool,
    /// The upload has it.
    noted: bool,
    /// It is in another unfinished upload of the user, or in another dot that the user can read.
    reachable: bool,
}

/// SQL: the `Marks` of each pack or object in the list `$1`. `$2` is the dot and `$3` is the upload.
///
/// A pack or object is reachable in two cases:
///
/// - An unfinished upload of the user `$4` to the namespace `$5` has sent it or was told of it.
/// - A dot has it that the user `$4` can read: the user's own, or one with a grant of any kind. See
///   [`dotmesh_hub_model::access::judge`].
macro_rules! marks {
    ($dots:literal, $uploads:literal, $column:literal) => {
        concat!(
            "SELECT j.value,
                CASE WHEN EXISTS (SELECT 1 FROM ",
            $dots,
            " m WHERE m.dot = $2 AND m.",
            $column,
            " = j.value) THEN 1 ELSE 0 END,
                CASE WHEN EXISTS (SELECT 1 FROM ",
            $uploads,
            " s WHERE s.upload = $3 AND s.",
            $column,
            " = j.value) THEN 1 ELSE 0 END,
                CASE WHEN EXISTS (SELECT 1 FROM uploads u JOIN ",
            $uploads,
            " s ON s.upload = u.id
                        WHERE s.",
            $column,
            " = j.value
                        AND u.finished IS NULL AND u.user = $4 AND u.owner = $5)
                OR EXISTS (SELECT 1 FROM ",
            $dots,
            " m
                           JOIN dots d ON d.id = m.dot
                           LEFT JOIN collaborators c ON c.dot = d.id AND c.user = $4
                           WHERE m.",
            $column,
            " = j.value AND d.deleted IS NULL AND (c.user IS NOT NULL OR d.owner = $4))
                THEN 1 ELSE 0 END
             FROM json_each($1) j"
        )
    };
}

const PACK_MARKS: &str = marks!("dot_packs", "upload_packs", "pack");
const OBJECT_MARKS: &str = marks!("dot_objects", "upload_objects", "object");

impl Database {
    /// Returns the row of each of these objects that the namespace has, whoever may see it. No client may learn the
    /// result.
    pub async fn stored(
        &self,
        owner: UserId,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Option<ObjectId>>, DatabaseError> {
        let mut stored = vec![None; hashes.len()];
        // A repack may move objects meanwhile. All statements have to see the same instant.
        let mut tx = self.begin_read().await?;
        for found in self.find(&mut tx, owner, hashes).await? {
            stored[found.at] = Some(found.place.id);
        }
        tx.commit().await?;
        Ok(stored)
    }

    /// Records the objects of an upload: new objects in packs that were stored after `deletions`, and objects in
    /// `again` that were stored before.
    ///
    /// If another upload stored an object first, its row stays. This upload's copy is left to garbage collection. If
    /// the namespace would exceed its quota, nothing changes and the usage is returned. `quota` is the hub's default.
    ///
    /// Fails with [`DatabaseError::Collected`] when a pack must be stored again, or when a stored object no longer
    /// exists. Fails with [`DatabaseError::Deleting`] while a pack is still being deleted.
    pub async fn add_objects(
        &self,
        owner: UserId,
        upload: UploadId,
        packs: &[(PackId, Vec<NewObject>)],
        deletions: Deletions,
        again: &[ObjectId],
        quota: Option<u64>,
    ) -> Result<Result<(), Usage>, DatabaseError> {
        let mut tx = self.begin().await?;
        for (name, _) in packs {
            match garbage::revive(&mut tx, *name, deletions).await? {
                Standing::Stored => {}
                Standing::Deleted => return Err(DatabaseError::Collected),
                Standing::Deleting => return Err(DatabaseError::Deleting),
            }
        }
        let mut lists = Vec::with_capacity(packs.len());
        for (name, objects) in packs {
            lists.push(add_pack(&mut tx, owner, upload, *name, objects, deletions).await?);
        }
        if !packs.is_empty()
            && let Some(usage) = quotas::exceeded(&mut tx, owner, quota).await?
        {
            return Ok(Err(usage));
        }
        note_objects(&mut tx, upload, again).await?;
        tx.commit().await?;
        for (pack, list) in lists {
            self.pack_index_cache.put(owner, pack, list);
        }
        Ok(Ok(()))
    }

    /// Returns those of the objects that an upload may refer to, and notes them for it. They stay usable for this
    /// upload, even if the dot that has them is deleted meanwhile.
    pub async fn usable_and_noted(
        &self,
        scope: UploadScope,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Option<Known>>, DatabaseError> {
        loop {
            match self.try_usable_and_noted(scope, hashes).await {
                Err(DatabaseError::Collected) => {}
                result => return result,
            }
        }
    }

    async fn try_usable_and_noted(
        &self,
        scope: UploadScope,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Option<Known>>, DatabaseError> {
        let known = self.usable(scope, hashes).await?;
        // A member of the dot itself needs no note, so the usual small push writes nothing.
        let mut borrowed: Vec<Borrowed> = known
            .iter()
            .flatten()
            .filter_map(|known| known.borrowed)
            .collect();
        borrowed.sort_unstable();
        borrowed.dedup();
        if borrowed.is_empty() {
            return Ok(known);
        }
        let mut tx = self.begin().await?;
        let mut objects = Vec::new();
        for borrowed in borrowed {
            match borrowed {
                Borrowed::Pack(pack) => note_pack(&mut tx, scope.upload, pack).await?,
                Borrowed::Object(object) => objects.push(object),
            }
        }
        note_objects(&mut tx, scope.upload, &objects).await?;
        tx.commit().await?;
        Ok(known)
    }

    /// Returns those of the objects that an upload may refer to at this moment.
    pub async fn usable(
        &self,
        scope: UploadScope,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Option<Known>>, DatabaseError> {
        let mut tx = self.begin_read().await?;
        let found = self.find(&mut tx, scope.owner, hashes).await?;
        let packs = packs_of(found.iter().map(|found| found.place));
        let by_pack = marks(&mut tx, PACK_MARKS, scope, &packs).await?;
        let of_pack = |id: ObjectId| by_pack.get(&id.pack().0).copied().unwrap_or_default();
        // If the marks of the pack do not decide, the marks of the object do.
        let unsettled: Vec<i64> = found
            .iter()
            .map(|found| found.place.id)
            .filter(|id| !(of_pack(*id).member || of_pack(*id).noted))
            .map(|id| id.0)
            .collect();
        let by_object = marks(&mut tx, OBJECT_MARKS, scope, &unsettled).await?;
        tx.commit().await?;
        let mut usable = vec![None; hashes.len()];
        for found in found {
            let id = found.place.id;
            let (pack, object) = (
                of_pack(id),
                by_object.get(&id.0).copied().unwrap_or_default(),
            );
            let (member, noted) = (pack.member || object.member, pack.noted || object.noted);
            let borrowed = if member || noted {
                None
            } else if pack.reachable {
                Some(Borrowed::Pack(id.pack()))
            } else if object.reachable {
                Some(Borrowed::Object(id))
            } else {
                continue;
            };
            usable[found.at] = Some(Known {
                id,
                kind: found.place.kind,
                location: found.location(),
                member,
                borrowed,
            });
        }
        Ok(usable)
    }

    /// Returns the location of each of the objects that the dot has.
    pub async fn locate(
        &self,
        owner: UserId,
        dot: DotId,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Option<Location>>, DatabaseError> {
        let members = self.members(owner, dot, hashes).await?;
        let located = members.into_iter().map(|member| Some(member?.location));
        Ok(located.collect())
    }

    /// Returns those of the objects that the dot has.
    pub async fn members(
        &self,
        owner: UserId,
        dot: DotId,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Option<Member>>, DatabaseError> {
        let mut tx = self.begin_read().await?;
        let found = self.find(&mut tx, owner, hashes).await?;
        let packs = packs_of(found.iter().map(|found| found.place));
        let whole: Vec<i64> = sqlx::query_scalar(
            "SELECT j.value FROM json_each($1) j CROSS JOIN dot_packs m WHERE m.dot = $2 AND m.pack = j.value",
        )
        .bind(json(&packs))
        .bind(dot)
        .fetch_all(&mut *tx)
        .await?;
        let is_whole = |id: ObjectId| whole.contains(&id.pack().0);
        let unsettled: Vec<i64> = found
            .iter()
            .map(|found| found.place.id)
            .filter(|id| !is_whole(*id))
            .map(|id| id.0)
            .collect();
        let mut single: Vec<i64> = Vec::new();
        if !unsettled.is_empty() {
            single = sqlx::query_scalar(
                "SELECT j.value FROM json_each($1) j
                 CROSS JOIN dot_objects m WHERE m.dot = $2 AND m.object = j.value",
            )
            .bind(json(&unsettled))
            .bind(dot)
            .fetch_all(&mut *tx)
            .await?;
            single.sort_unstable();
        }
        tx.commit().await?;
        let mut located = vec![None; hashes.len()];
        for found in found {
            let id = found.place.id;
            if is_whole(id) || single.binary_search(&id.0).is_ok() {
                located[found.at] = Some(Member {
                    id,
                    kind: found.place.kind,
                    location: found.location(),
                });
            }
        }
        Ok(located)
    }
}

async fn marks(
    connection: &mut AnyConnection,
    query: &'static str,
    scope: UploadScope,
    things: &[i64],
) -> Result<HashMap<i64, Marks>, DatabaseError> {
    if things.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(query)
        .bind(json(things))
        .bind(scope.dot)
        .bind(scope.upload)
        .bind(scope.reads_as)
        .bind(scope.owner)
        .fetch_all(connection)
        .await?;
    let marks = rows.into_iter().map(|(thing, member, noted, reachable)| {
        let marks = Marks {
            member: member != 0,
            noted: noted != 0,
            reachable: reachable != 0,
        };
        (thing, marks)
    });
    Ok(marks.collect())
}

async fn note_pack(
    connection: &mut AnyConnection,
    upload: UploadId,
    pack: PackRow,
) -> Result<(), DatabaseError> {
    if !garbage::are_there(connection, &[pack]).await? {
        return Err(DatabaseError::Collected);
    }
    sqlx::query(
        "INSERT INTO upload_packs (upload, pack) VALUES ($1, $2) ON CONFLICT (upload, pack) DO NOTHING",
    )
    .bind(upload)
    .bind(pack)
    .execute(connection)
    .await?;
    Ok(())
}

async fn note_objects(
    connection: &mut AnyConnection,
    upload: UploadId,
    objects: &[ObjectId],
) -> Result<(), DatabaseError> {
    // Garbage collection removes a pack and its objects together, so it is enough to check the packs.
    let mut packs: Vec<PackRow> = objects.iter().map(|object| object.pack()).collect();
    packs.sort_unstable();
    packs.dedup();
    if !garbage::are_there(connection, &packs).await? {
        return Err(DatabaseError::Collected);
    }
    for objects in objects.chunks(ROWS_PER_STATEMENT) {
        let list: Vec<i64> = objects.iter().map(|object| object.0).collect();
        sqlx::query(
            "INSERT INTO upload_objects (upload, object) SELECT $1, value FROM json_each($2) WHERE true
             ON CONFLICT (upload, object) DO NOTHING",
        )
        .bind(upload)
        .bind(json(&list))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Makes objects members of a dot. Fails with [`DatabaseError::Collected`] when their pack no longer exists.
pub(crate) async fn add_members(
    connection: &mut AnyConnection,
    dot: DotId,
    pack: PackRow,
    members: &Numbers,
) -> Result<(), DatabaseError> {
    let objects: Option<i64> = sqlx::query_scalar("SELECT objects FROM packs WHERE id = $1")
        .bind(pack)
        .fetch_optional(&mut *connection)
        .await?;
    let objects = objects.ok_or(DatabaseError::Collected)?;
    if members.len() as i64 == objects {
        sqlx::query(
            "INSERT INTO dot_packs (dot, pack) VALUES ($1, $2) ON CONFLICT (dot, pack) DO NOTHING",
        )
        .bind(dot)
        .bind(pack)
        .execute(connection)
        .await?;
        return Ok(());
    }
    let members = members
        .iter()
        .map(|number| Ok(ObjectId::of(pack, number)?.0));
    let members: Vec<i64> = members.collect::<Result<_, DatabaseError>>()?;
    for members in members.chunks(ROWS_PER_STATEMENT) {
        sqlx::query(
            "INSERT INTO dot_objects (dot, object) SELECT $1, value FROM json_each($2) WHERE true
             ON CONFLICT (dot, object) DO NOTHING",
        )
        .bind(dot)
        .bind(json(members))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Returns a list of numbers as one parameter.
pub(crate) fn json(numbers: &[i64]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("[");
    for (n, number) in numbers.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{number}");
    }
    text.push(']');
    text
}
