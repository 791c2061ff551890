//! Repacks: objects move from packs into better ones, in one transaction.
//!
//! The transaction removes the rows of the old packs and adds those of the new ones. So every other transaction finds
//! an object in one of both, and a pack never loses a part of its objects. The old files go the way of all garbage.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, PackId};
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::garbage::{self, Deletions, Standing};
use crate::ids::{self, DotId, ObjectId, PackRow, UploadId, UserId};
use crate::objects::id_sql::between_ids_of;
use crate::objects::lookup::read_list;
use crate::objects::{self, DAMAGED, Location, NewObject, REPACKED, json};
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

/// The most entries of the log of repacks.
const LOGGED: i64 = 1000;

/// A pack that may be repacked.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub pack: PackRow,
    pub name: PackId,
    /// The number of its objects.
    pub objects: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Whether a repack wrote it.
    pub repacked: bool,
    /// Whether it builds on other packs.
    pub based: bool,
    /// Whether other packs build on it.
    pub is_base: bool,
    /// Whether less than half of its objects are needed.
    pub mostly_garbage: bool,
}

/// An object of a pack that may be repacked.
#[derive(Debug, Clone, Copy)]
pub struct OldObject {
    pub id: ObjectId,
    pub hash: ObjectHash,
    pub kind: Kind,
    pub location: Location,
    /// The dot with the least id that has it. `None` if only uploads do.
    pub dot: Option<DotId>,
}

/// What packs hold that something needs.
#[derive(Debug, Clone, Default)]
pub struct OldObjects {
    /// The objects that a dot or an upload needs.
    pub needed: Vec<OldObject>,
    /// The number of other objects.
    pub garbage: u64,
    /// The dots that have objects of these packs, sorted.
    pub dots: Vec<DotId>,
}

/// A pack that a repack has stored.
#[derive(Debug, Clone)]
pub struct NewPack {
    pub name: PackId,
    /// Its objects, sorted by hash, with their former ids.
    pub objects: Vec<(ObjectId, NewObject)>,
    /// The packs that it builds on.
    pub bases: BTreeSet<PackId>,
}

/// Why packs are replaced.
#[derive(Debug, Clone, Copy)]
pub enum Why<'a> {
    /// By better packs.
    Repack(&'a RepackEntry),
    /// By rows of the same packs that lack what is lost. A later repack stores the rest anew.
    Repair { lost: &'a BTreeSet<ObjectId> },
}

/// The result of [`Database::replace_packs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// The new packs have taken the place of the old ones.
    Done,
    /// Something has changed since the objects were read. Nothing was done.
    Changed,
}

/// An entry of the log of repacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepackEntry {
    pub time: Timestamp,
    /// The number of packs that were replaced.
    pub packs: u64,
    pub objects: u64,
    /// The number of objects that nothing needed any more.
    pub left_out: u64,
    /// The length of the old packs, in bytes.
    pub before: u64,
    /// The length of the new packs, in bytes.
    pub after: u64,
}

/// The sums over all entries of the log, and its newest entries.
#[derive(Debug, Clone, Default)]
pub struct RepackLog {
    pub before: u64,
    pub after: u64,
    /// The newest first.
    pub newest: Vec<RepackEntry>,
}

impl Database {
    /// Returns the next user after `after` whose namespace has packs that were never repacked, were added at `before`
    /// or earlier, and are in no other namespace.
    pub async fn next_to_repack(
        &self,
        after: Option<UserId>,
        before: Timestamp,
    ) -> Result<Option<UserId>, DatabaseError> {
        let owner: Option<i64> = sqlx::query_scalar(
            "SELECT min(p.owner) FROM packs p WHERE p.owner > $1 AND p.added <= $2 AND p.objects > 0",
        )
        .bind(after.map_or(0, |owner| owner.0))
        .bind(before.as_second())
        .fetch_one(&self.readers)
        .await?;
        Ok(owner.map(UserId))
    }

    /// Returns the packs of a namespace that may be repacked, in the order of their rows. Packs that another row
    /// names too are left out, because their files would stay.
    pub async fn candidates(
        &self,
        owner: UserId,
        before: Timestamp,
    ) -> Result<Vec<Candidate>, DatabaseError> {
        type Row = (PackRow, Vec<u8>, i64, i64, i64, i64, i64, i64);
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT p.id, p.name, p.objects, p.length, p.form,
                CASE WHEN EXISTS (SELECT 1 FROM pack_bases b WHERE b.name = p.name) THEN 1 ELSE 0 END,
                CASE WHEN EXISTS (SELECT 1 FROM pack_bases b WHERE b.base = p.name) THEN 1 ELSE 0 END,
                CASE WHEN EXISTS (SELECT 1 FROM dot_packs m WHERE m.pack = p.id)
                    OR EXISTS (SELECT 1 FROM upload_packs m WHERE m.pack = p.id)
                    OR EXISTS (SELECT 1 FROM upload_objects m WHERE m.object ",
            between_ids_of!("p.id"),
            ")
                    OR 2 * (SELECT count(DISTINCT m.object) FROM dot_objects m WHERE m.object ",
            between_ids_of!("p.id"),
            ") >= p.objects THEN 0 ELSE 1 END
             FROM packs p WHERE p.owner = $1 AND p.added <= $2 AND p.objects > 0
                AND NOT EXISTS (SELECT 1 FROM packs q WHERE q.name = p.name AND q.id <> p.id)
             ORDER BY p.id"
        ))
        .bind(owner)
        .bind(before.as_second())
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(
                |(pack, name, objects, length, form, based, is_base, garbage)| {
                    Ok(Candidate {
                        pack,
                        name: garbage::pack_id(&name)?,
                        objects: ids::unsigned(objects)?,
                        length: ids::unsigned(length)?,
                        repacked: form == REPACKED,
                        based: based != 0,
                        is_base: is_base != 0,
                        mostly_garbage: garbage != 0,
                    })
                },
            )
            .collect()
    }

    /// Returns the objects of packs, as of one instant.
    pub async fn objects_of_packs(
        &self,
        packs: &[(PackRow, PackId)],
    ) -> Result<OldObjects, DatabaseError> {
        let mut tx = self.begin_read().await?;
        let mut found = OldObjects::default();
        let mut dots = BTreeSet::new();
        for (pack, name) in packs {
            let users = users_of(&mut tx, &[pack.0]).await?;
            dots.extend(users.dots());
            for (hash, row) in read_list(&mut tx, *pack).await? {
                if !users.need(row.id) {
                    found.garbage += 1;
                    continue;
                }
                found.needed.push(OldObject {
                    id: row.id,
                    hash,
                    kind: row.kind,
                    location: Location {
                        pack: *name,
                        range: row.range,
                        raw_length: row.raw_length,
                        grouped: row.grouped,
                    },
                    dot: users.first_dot(row.id),
                });
            }
        }
        tx.commit().await?;
        found.dots = dots.into_iter().collect();
        Ok(found)
    }

    /// Returns the roots of a dot's commits that have their data, newest first.
    pub async fn roots(&self, dot: DotId) -> Result<Vec<ObjectHash>, DatabaseError> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT root FROM commits WHERE dot = $1 AND without_data = 0 ORDER BY time DESC, id",
        )
        .bind(dot)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|root| ids::object_hash(root)).collect()
    }

    /// Returns the origin of each of these dots: the first dot of a line of forks in the same namespace.
    pub async fn origins(&self, dots: &[DotId]) -> Result<HashMap<DotId, DotId>, DatabaseError> {
        let mut origins = HashMap::new();
        for dot in dots {
            let mut origin = *dot;
            // A fork's id is greater than its origin's, so this ends.
            while let Some(from) = sqlx::query_scalar::<_, DotId>(
                "SELECT o.id FROM dots d JOIN dots o ON o.id = d.forked_from AND o.owner = d.owner
                 WHERE d.id = $1",
            )
            .bind(origin)
            .fetch_optional(&self.readers)
            .await?
            {
                origin = from;
            }
            origins.insert(*dot, origin);
        }
        Ok(origins)
    }

    /// Puts new packs, which were stored after `deletions`, in the place of old ones of a namespace. Whatever has an
    /// object of an old pack has it in its new pack afterwards. The new packs must have every object that is needed,
    /// except those that are `lost`.
    ///
    /// Fails with [`DatabaseError::Collected`] when a new pack's file was deleted, and with
    /// [`DatabaseError::Deleting`] while it is being deleted. Both change nothing.
    pub async fn replace_packs(
        &self,
        owner: UserId,
        old: &[PackRow],
        new: &[NewPack],
        deletions: Deletions,
        why: &Why<'_>,
    ) -> Result<Replacement, DatabaseError> {
        let mut tx = self.begin().await?;
        let list: Vec<i64> = old.iter().map(|pack| pack.0).collect();
        let Some(names) = names_of(&mut tx, owner, &list).await? else {
            return Ok(Replacement::Changed);
        };
        for pack in new {
            match garbage::revive(&mut tx, pack.name, deletions).await? {
                Standing::Stored => {}
                Standing::Deleted => return Err(DatabaseError::Collected),
                Standing::Deleting => return Err(DatabaseError::Deleting),
            }
            for base in &pack.bases {
                if names.contains(base) || !has_row(&mut tx, *base).await? {
                    return Ok(Replacement::Changed);
                }
            }
        }
        let users = users_of(&mut tx, &list).await?;
        let moved = new.iter().flat_map(|pack| &pack.objects);
        let moved: BTreeSet<ObjectId> = moved.map(|(old, _)| *old).collect();
        let none = BTreeSet::new();
        let (form, lost) = match why {
            Why::Repack(_) => (REPACKED, &none),
            Why::Repair { lost } => (DAMAGED, *lost),
        };
        if !has_all(&mut tx, &list, &users, &[&moved, lost]).await? {
            return Ok(Replacement::Changed);
        }
        remove(&mut tx, &list).await?;
        let mut lists = Vec::new();
        for pack in new {
            let objects: Vec<NewObject> = pack.objects.iter().map(|(_, new)| new.clone()).collect();
            let (row, added) =
                objects::insert_pack(&mut tx, owner, pack.name, &objects, deletions, form).await?;
            if added != objects.len() as u64 {
                return Ok(Replacement::Changed);
            }
            mark(&mut tx, row, pack, &users).await?;
            for base in &pack.bases {
                sqlx::query(
                    "INSERT INTO pack_bases (name, base) VALUES ($1, $2) ON CONFLICT (name, base) DO NOTHING",
                )
                .bind(pack.name.as_bytes().as_slice())
                .bind(base.as_bytes().as_slice())
                .execute(&mut *tx)
                .await?;
            }
            lists.push((row, objects::index_of(row, &objects)?));
        }
        for name in &names {
            garbage::doom(&mut tx, name.as_bytes(), deletions.moment()).await?;
        }
        if let Why::Repack(entry) = why {
            log(&mut tx, entry).await?;
        }
        tx.commit().await?;
        for pack in old {
            self.pack_index_cache.forget(*pack);
        }
        for (row, list) in lists {
            self.pack_index_cache.put(owner, row, list);
        }
        Ok(Replacement::Done)
    }

    /// Returns what repacks have done, with the newest `limit` entries.
    pub async fn repack_log(&self, limit: u32) -> Result<RepackLog, DatabaseError> {
        let (before, after): (i64, i64) = sqlx::query_as(
            "SELECT CAST(coalesce(sum(before), 0) AS BIGINT), CAST(coalesce(sum(after), 0) AS BIGINT)
             FROM repacks",
        )
        .fetch_one(&self.readers)
        .await?;
        let rows: Vec<(i64, i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT time, packs, objects, left_out, before, after FROM repacks ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let newest = rows.into_iter().map(|row| {
            let (time, packs, objects, left_out, before, after) = row;
            Ok(RepackEntry {
                time: ids::time(time)?,
                packs: ids::unsigned(packs)?,
                objects: ids::unsigned(objects)?,
                left_out: ids::unsigned(left_out)?,
                before: ids::unsigned(before)?,
                after: ids::unsigned(after)?,
            })
        });
        Ok(RepackLog {
            before: ids::unsigned(before)?,
            after: ids::unsigned(after)?,
            newest: newest.collect::<Result<_, DatabaseError>>()?,
        })
    }
}

/// The dots and uploads that need objects of some packs.
#[derive(Debug, Default)]
struct Users {
    /// By pack: who has all of it.
    whole: HashMap<PackRow, Vec<Holder>>,
    /// By object: who has it.
    single: HashMap<ObjectId, Vec<Holder>>,
}

/// A dot or an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Dot(DotId),
    Upload(UploadId),
}

impl Users {
    fn need(&self, object: ObjectId) -> bool {
        self.whole.contains_key(&object.pack()) || self.single.contains_key(&object)
    }

    fn of(&self, object: ObjectId) -> impl Iterator<Item = Holder> {
        let whole = self.whole.get(&object.pack()).into_iter().flatten();
        let single = self.single.get(&object).into_iter().flatten();
        whole.chain(single).copied()
    }

    fn first_dot(&self, object: ObjectId) -> Option<DotId> {
        let dots = self.of(object).filter_map(|holder| match holder {
            Holder::Dot(dot) => Some(dot),
            Holder::Upload(_) => None,
        });
        dots.min()
    }

    fn dots(&self) -> impl Iterator<Item = DotId> {
        let all = self.whole.values().chain(self.single.values()).flatten();
        all.filter_map(|holder| match holder {
            Holder::Dot(dot) => Some(*dot),
            Holder::Upload(_) => None,
        })
    }
}

async fn users_of(connection: &mut AnyConnection, packs: &[i64]) -> Result<Users, DatabaseError> {
    let mut users = Users::default();
    for (query, holder) in [
        (
            "SELECT m.pack, m.dot FROM json_each($1) j CROSS JOIN dot_packs m WHERE m.pack = j.value",
            (|id| Holder::Dot(DotId(id))) as fn(i64) -> Holder,
        ),
        (
            "SELECT m.pack, m.upload FROM json_each($1) j CROSS JOIN upload_packs m WHERE m.pack = j.value",
            |id| Holder::Upload(UploadId(id)),
        ),
    ] {
        let rows: Vec<(PackRow, i64)> = sqlx::query_as(query)
            .bind(json(packs))
            .fetch_all(&mut *connection)
            .await?;
        for (pack, id) in rows {
            users.whole.entry(pack).or_default().push(holder(id));
        }
    }
    for (query, holder) in [
        (
            concat!(
                "SELECT m.object, m.dot FROM json_each($1) j CROSS JOIN dot_objects m WHERE m.object ",
                between_ids_of!("j.value")
            ),
            (|id| Holder::Dot(DotId(id))) as fn(i64) -> Holder,
        ),
        (
            concat!(
                "SELECT m.object, m.upload FROM json_each($1) j CROSS JOIN upload_objects m WHERE m.object ",
                between_ids_of!("j.value")
            ),
            |id| Holder::Upload(UploadId(id)),
        ),
    ] {
        let rows: Vec<(ObjectId, i64)> = sqlx::query_as(query)
            .bind(json(packs))
            .fetch_all(&mut *connection)
            .await?;
        for (object, id) in rows {
            users.single.entry(object).or_default().push(holder(id));
        }
    }
    Ok(users)
}

/// Returns the names of these packs. `None` unless all are there.
async fn names_of(
    connection: &mut AnyConnection,
    owner: UserId,
    packs: &[i64],
) -> Result<Option<BTreeSet<PackId>>, DatabaseError> {
    let names: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT p.name FROM json_each($1) j CROSS JOIN packs p WHERE p.id = j.value AND p.owner = $2",
    )
    .bind(json(packs))
    .bind(owner)
    .fetch_all(connection)
    .await?;
    if names.len() != packs.len() {
        return Ok(None);
    }
    let names = names.iter().map(|name| garbage::pack_id(name));
    names.collect::<Result<_, _>>().map(Some)
}

async fn has_row(connection: &mut AnyConnection, pack: PackId) -> Result<bool, DatabaseError> {
    let row: Option<i64> = sqlx::query_scalar("SELECT id FROM packs WHERE name = $1 LIMIT 1")
        .bind(pack.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Whether every needed object of the packs is in one of these sets.
async fn has_all(
    connection: &mut AnyConnection,
    packs: &[i64],
    users: &Users,
    known: &[&BTreeSet<ObjectId>],
) -> Result<bool, DatabaseError> {
    let is_known = |object: &ObjectId| known.iter().any(|known| known.contains(object));
    let whole = packs
        .iter()
        .filter(|pack| users.whole.contains_key(&PackRow(**pack)));
    for pack in whole {
        let all: Vec<ObjectId> = sqlx::query_scalar(concat!(
            "SELECT id FROM objects WHERE id ",
            between_ids_of!("$1")
        ))
        .bind(pack)
        .fetch_all(&mut *connection)
        .await?;
        if !all.iter().all(is_known) {
            return Ok(false);
        }
    }
    Ok(users.single.keys().all(is_known))
}

/// Removes packs with their objects, and who has them.
async fn remove(connection: &mut AnyConnection, packs: &[i64]) -> Result<(), DatabaseError> {
    for pack in packs {
        for statement in [
            concat!(
                "DELETE FROM dot_objects WHERE object ",
                between_ids_of!("$1")
            ),
            concat!(
                "DELETE FROM upload_objects WHERE object ",
                between_ids_of!("$1")
            ),
            "DELETE FROM dot_packs WHERE pack = $1",
            "DELETE FROM upload_packs WHERE pack = $1",
            concat!("DELETE FROM objects WHERE id ", between_ids_of!("$1")),
            "DELETE FROM packs WHERE id = $1",
        ] {
            sqlx::query(statement)
                .bind(pack)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Gives the objects of a new pack to everyone who had them.
async fn mark(
    connection: &mut AnyConnection,
    row: PackRow,
    pack: &NewPack,
    users: &Users,
) -> Result<(), DatabaseError> {
    let mut held: BTreeMap<Holder, Vec<i64>> = BTreeMap::new();
    for (number, (old, _)) in pack.objects.iter().enumerate() {
        let new = ObjectId::of(row, number)?.0;
        for holder in users.of(*old) {
            let list = held.entry(holder).or_default();
            // Who has a pack may have single objects of it too.
            if list.last() != Some(&new) {
                list.push(new);
            }
        }
    }
    for (holder, objects) in held {
        let (id, whole, single) = match holder {
            Holder::Dot(dot) => (
                dot.0,
                "INSERT INTO dot_packs (dot, pack) VALUES ($1, $2)",
                "INSERT INTO dot_objects (dot, object) SELECT $1, value FROM json_each($2)",
            ),
            Holder::Upload(upload) => (
                upload.0,
                "INSERT INTO upload_packs (upload, pack) VALUES ($1, $2)",
                "INSERT INTO upload_objects (upload, object) SELECT $1, value FROM json_each($2)",
            ),
        };
        if objects.len() == pack.objects.len() {
            sqlx::query(whole)
                .bind(id)
                .bind(row)
                .execute(&mut *connection)
                .await?;
            continue;
        }
        for objects in objects.chunks(ROWS_PER_STATEMENT) {
            sqlx::query(single)
                .bind(id)
                .bind(json(objects))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

async fn log(connection: &mut AnyConnection, entry: &RepackEntry) -> Result<(), DatabaseError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO repacks (time, packs, objects, left_out, before, after)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(entry.time.as_second())
    .bind(number(entry.packs))
    .bind(number(entry.objects))
    .bind(number(entry.left_out))
    .bind(number(entry.before))
    .bind(number(entry.after))
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM repacks WHERE id <= (SELECT max(id) FROM repacks) - $1")
        .bind(LOGGED)
        .execute(connection)
        .await?;
    Ok(())
}
