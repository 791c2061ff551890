//! Where objects lie, which dots have them, and what an upload may refer to.

use std::collections::HashMap;

use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameRange, Kind, PackId};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::ids::{self, DotId, ObjectId, UploadId, UserId};
use super::{Database, DatabaseError};

/// Hashes in one statement. Databases limit the parameters of a statement.
const HASHES_PER_STATEMENT: usize = 1024;

/// Rows in one insert, of six parameters each.
const ROWS_PER_STATEMENT: usize = 512;

/// Hash, pack, position, length and length in clear.
type LocationRow = (Vec<u8>, Vec<u8>, i64, i64, i64);

/// A verified object that has been put into a pack.
#[derive(Debug, Clone)]
pub struct NewObject {
    /// Its hash.
    pub hash: ObjectHash,
    /// What its bytes are.
    pub kind: Kind,
    /// Where its frame is in the pack.
    pub range: FrameRange,
    /// Its length in clear.
    pub raw_length: usize,
}

/// Where an object is.
#[derive(Debug, Clone, Copy)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// The frame.
    pub range: FrameRange,
    /// The object's length in clear.
    pub raw_length: u64,
}

/// On whose behalf objects are looked for: what an upload may refer to follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The pushing user.
    pub user: UserId,
    /// The namespace pushed to.
    pub owner: UserId,
    /// The dot pushed to, if it exists already.
    pub dot: Option<DotId>,
    /// The upload.
    pub upload: UploadId,
}

/// An object of the namespace as an upload may see it.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its row.
    pub id: ObjectId,
    /// What its bytes are.
    pub kind: Kind,
    /// The dot pushed to has it, and with it all it refers to.
    pub member: bool,
    /// The upload has sent it, or was told of it.
    noted: bool,
}

impl Database {
    /// Which of these objects the namespace has, whoever may see them. Never told to a client.
    pub async fn stored(
        &self,
        owner: UserId,
        hashes: &[ObjectHash],
    ) -> Result<Vec<ObjectHash>, DatabaseError> {
        let mut found = Vec::new();
        for hashes in hashes.chunks(HASHES_PER_STATEMENT) {
            let mut query = QueryBuilder::new("SELECT hash FROM objects WHERE owner = ");
            query.push_bind(owner);
            push_hashes(&mut query, "hash", hashes);
            let rows: Vec<Vec<u8>> = query
                .build_query_scalar()
                .persistent(false)
                .fetch_all(&self.readers)
                .await?;
            for hash in rows {
                found.push(ids::object_hash(&hash)?);
            }
        }
        Ok(found)
    }

    /// Records verified objects as sent in an upload; `objects` are the new ones in `pack`, `sent` all.
    ///
    /// Where another upload was faster, its row stays and this one's copy is left to garbage collection.
    pub async fn add_objects(
        &self,
        owner: UserId,
        upload: UploadId,
        pack: Option<(PackId, &[NewObject])>,
        sent: &[ObjectHash],
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        if let Some((pack, objects)) = pack {
            let pack: i64 = sqlx::query_scalar(
                "INSERT INTO packs (owner, name) VALUES (?, ?)
                 ON CONFLICT (owner, name) DO UPDATE SET name = excluded.name RETURNING id",
            )
            .bind(owner)
            .bind(pack.as_bytes().as_slice())
            .fetch_one(&mut *tx)
            .await?;
            for objects in objects.chunks(ROWS_PER_STATEMENT) {
                let mut query = QueryBuilder::<Sqlite>::new(
                    "INSERT INTO objects (owner, hash, kind, pack, position, length, raw_length) ",
                );
                query.push_values(objects, |mut row, object| {
                    row.push_bind(owner)
                        .push_bind(object.hash.as_bytes().as_slice())
                        .push_bind(i64::from(object.kind.number()))
                        .push_bind(pack)
                        .push_bind(i64::from(object.range.offset))
                        .push_bind(i64::from(object.range.length))
                        .push_bind(object.raw_length as i64);
                });
                query.push(" ON CONFLICT (owner, hash) DO NOTHING");
                query.build().persistent(false).execute(&mut *tx).await?;
            }
        }
        for hashes in sent.chunks(HASHES_PER_STATEMENT) {
            let mut query =
                QueryBuilder::new("INSERT INTO upload_objects (upload, object) SELECT ");
            query
                .push_bind(upload)
                .push(", id FROM objects WHERE owner = ")
                .push_bind(owner);
            push_hashes(&mut query, "hash", hashes);
            query.push(" ON CONFLICT (upload, object) DO NOTHING");
            query.build().persistent(false).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Those of the objects that an upload may refer to. What it is told of here stays good for this
    /// upload, even if the dot that it was found in is deleted meanwhile.
    pub async fn usable(
        &self,
        scope: Scope,
        hashes: &[ObjectHash],
    ) -> Result<HashMap<ObjectHash, Known>, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        let known = usable(&mut connection, scope, hashes).await?;
        drop(connection);
        // A member of the dot itself needs no note: the usual push, of small changes, writes nothing.
        let borrowed: Vec<ObjectId> = known
            .values()
            .filter(|known| !known.member && !known.noted)
            .map(|known| known.id)
            .collect();
        if !borrowed.is_empty() {
            self.note(scope.upload, &borrowed).await?;
        }
        Ok(known)
    }

    async fn note(&self, upload: UploadId, objects: &[ObjectId]) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        for objects in objects.chunks(ROWS_PER_STATEMENT) {
            let mut query =
                QueryBuilder::<Sqlite>::new("INSERT INTO upload_objects (upload, object) ");
            query.push_values(objects, |mut row, object| {
                row.push_bind(upload).push_bind(*object);
            });
            query.push(" ON CONFLICT (upload, object) DO NOTHING");
            query.build().persistent(false).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Where the objects of a dot are. What the dot has not is left out.
    pub async fn locate(
        &self,
        owner: UserId,
        dot: DotId,
        hashes: &[ObjectHash],
    ) -> Result<HashMap<ObjectHash, Location>, DatabaseError> {
        let mut found = HashMap::with_capacity(hashes.len());
        for hashes in hashes.chunks(HASHES_PER_STATEMENT) {
            let mut query = QueryBuilder::new(
                "SELECT o.hash, p.name, o.position, o.length, o.raw_length
                 FROM objects o JOIN packs p ON p.id = o.pack
                 WHERE EXISTS (SELECT 1 FROM dot_objects m WHERE m.object = o.id AND m.dot = ",
            );
            query
                .push_bind(dot)
                .push(") AND o.owner = ")
                .push_bind(owner);
            push_hashes(&mut query, "o.hash", hashes);
            let rows: Vec<LocationRow> = query
                .build_query_as()
                .persistent(false)
                .fetch_all(&self.readers)
                .await?;
            for (hash, pack, position, length, raw_length) in rows {
                let location = location(&pack, position, length, raw_length)?;
                found.insert(ids::object_hash(&hash)?, location);
            }
        }
        Ok(found)
    }
}

/// The objects that a push may refer to: members of the dot, what its user has sent to the namespace or
/// was told of and has not finished yet, and members of the namespace's other dots that the user can read
/// (as [`crate::access::judge`] says: one's own, and those with a grant of any kind).
pub(super) async fn usable(
    connection: &mut SqliteConnection,
    scope: Scope,
    hashes: &[ObjectHash],
) -> Result<HashMap<ObjectHash, Known>, DatabaseError> {
    let mut found = HashMap::with_capacity(hashes.len());
    for hashes in hashes.chunks(HASHES_PER_STATEMENT) {
        let mut query =
            QueryBuilder::new("SELECT id, hash, kind, member, noted FROM (SELECT o.*, ");
        query.push("EXISTS (SELECT 1 FROM dot_objects m WHERE m.object = o.id AND m.dot = ");
        query.push_bind(scope.dot).push(") AS member, ");
        query.push("EXISTS (SELECT 1 FROM upload_objects s WHERE s.object = o.id AND s.upload = ");
        query
            .push_bind(scope.upload)
            .push(") AS noted FROM objects o WHERE o.owner = ");
        query.push_bind(scope.owner);
        push_hashes(&mut query, "o.hash", hashes);
        // The cheap and usual answers come first, the others are looked for where those are no.
        query.push(
            ") AS o WHERE member OR noted
             OR EXISTS (SELECT 1 FROM uploads u JOIN upload_objects s ON s.upload = u.id
                        WHERE s.object = o.id AND u.finished IS NULL AND u.user = ",
        );
        query
            .push_bind(scope.user)
            .push(" AND u.owner = ")
            .push_bind(scope.owner);
        query.push(
            ") OR EXISTS (SELECT 1 FROM dot_objects m
                          JOIN dots d ON d.id = m.dot
                          LEFT JOIN collaborators c ON c.dot = d.id AND c.user = ",
        );
        query.push_bind(scope.user);
        query.push(" WHERE m.object = o.id AND (c.user IS NOT NULL OR d.owner = ");
        query.push_bind(scope.user).push("))");
        let rows: Vec<(ObjectId, Vec<u8>, i64, bool, bool)> = query
            .build_query_as()
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        for (id, hash, kind, member, noted) in rows {
            let kind = self::kind(kind)?;
            found.insert(
                ids::object_hash(&hash)?,
                Known {
                    id,
                    kind,
                    member,
                    noted,
                },
            );
        }
    }
    Ok(found)
}

pub(super) fn kind(number: i64) -> Result<Kind, DatabaseError> {
    u8::try_from(number)
        .ok()
        .and_then(Kind::from_number)
        .ok_or(DatabaseError::Damaged {
            what: "kind of object",
        })
}

pub(super) fn location(
    pack: &[u8],
    position: i64,
    length: i64,
    raw_length: i64,
) -> Result<Location, DatabaseError> {
    let pack = pack
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "pack name" })?;
    Ok(Location {
        pack: PackId::from_bytes(pack),
        range: FrameRange {
            offset: ids::unsigned(position)?,
            length: ids::unsigned(length)?,
        },
        raw_length: ids::unsigned(raw_length)?,
    })
}

fn push_hashes(query: &mut QueryBuilder<Sqlite>, column: &str, hashes: &[ObjectHash]) {
    query.push(" AND ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    for hash in hashes {
        list.push_bind(hash.as_bytes().as_slice());
    }
    query.push(")");
}
