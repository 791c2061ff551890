//! Adds the rows of packs and of their objects.

use std::collections::HashSet;

use dotmesh_model::ObjectHash;
use dotmesh_store::PackId;
use sqlx::AnyConnection;

use super::frame_column::{FRAME_LENGTH, encode_frame};
use super::lookup::{ObjectRow, look_up};
use super::{AS_IT_CAME, NewObject, REPACKED, note_objects, note_pack};
use crate::garbage::Deletions;
use crate::ids::{ObjectId, PackRow, UploadId, UserId};
use crate::{DatabaseError, ROWS_PER_STATEMENT};

/// Adds a pack, and returns its index.
pub(super) async fn add_pack(
    connection: &mut AnyConnection,
    owner: UserId,
    upload: UploadId,
    name: PackId,
    objects: &[NewObject],
    deletions: Deletions,
) -> Result<(PackRow, Vec<(ObjectHash, ObjectRow)>), DatabaseError> {
    let (pack, added) =
        insert_pack(connection, owner, name, objects, deletions, AS_IT_CAME).await?;
    note_pack(connection, upload, pack).await?;
    let mut list = index_of(pack, objects)?;
    if added < objects.len() as u64 {
        // Another upload stored some of them first.
        let hashes: Vec<ObjectHash> = objects.iter().map(|object| object.hash).collect();
        let wanted: Vec<usize> = (0..hashes.len()).collect();
        let all = look_up(connection, owner, &hashes, &wanted).await?;
        let others = all.iter().filter(|(_, place)| place.id.pack() != pack);
        let (others, ids): (HashSet<usize>, Vec<ObjectId>) =
            others.map(|(at, place)| (*at, place.id)).unzip();
        note_objects(connection, upload, &ids).await?;
        let mut at = 0..;
        list.retain(|_| at.next().is_some_and(|at| !others.contains(&at)));
    }
    Ok((pack, list))
}

/// Inserts the rows of a pack and of those of its objects that the namespace does not have. Returns the number of
/// these objects.
pub(crate) async fn insert_pack(
    connection: &mut AnyConnection,
    owner: UserId,
    name: PackId,
    objects: &[NewObject],
    deletions: Deletions,
    form: i64,
) -> Result<(PackRow, u64), DatabaseError> {
    // Frames are contiguous, so the pack's length is the greatest end.
    let ends = objects
        .iter()
        .map(|object| i64::from(object.range.offset) + i64::from(object.range.length));
    let length = ends.max().unwrap_or(0);
    // What is in a repacked pack came long ago.
    let came = match form {
        REPACKED => 0,
        _ => deletions.moment().as_second(),
    };
    let pack: PackRow = sqlx::query_scalar(
        "INSERT INTO packs (owner, name, objects, length, added, form) VALUES ($1, $2, 0, $3, $4, $5)
         RETURNING id",
    )
    .bind(owner)
    .bind(name.as_bytes().as_slice())
    .bind(length)
    .bind(came)
    .bind(form)
    .fetch_one(&mut *connection)
    .await?;
    let mut added = 0;
    for (batch, objects) in objects.chunks(ROWS_PER_STATEMENT).enumerate() {
        let mut rows = Vec::with_capacity(objects.len() * (ObjectHash::LENGTH + FRAME_LENGTH));
        for object in objects {
            rows.extend_from_slice(object.hash.as_bytes());
            encode_frame(object, &mut rows);
        }
        let inserted = sqlx::query(
            "INSERT INTO objects (id, owner, hash, frame)
             SELECT $1 + n, $2, substr($3, n * 45 + 1, 32), substr($3, n * 45 + 33, 13)
             FROM numbers WHERE n < $4
             ON CONFLICT (owner, hash) DO NOTHING",
        )
        .bind(ObjectId::of(pack, batch * ROWS_PER_STATEMENT)?)
        .bind(owner)
        .bind(rows)
        .bind(objects.len() as i64)
        .execute(&mut *connection)
        .await?;
        added += inserted.rows_affected();
    }
    sqlx::query("UPDATE packs SET objects = $1 WHERE id = $2")
        .bind(added as i64)
        .bind(pack)
        .execute(connection)
        .await?;
    Ok((pack, added))
}

/// Returns the index of a pack, if all its objects have their rows there.
pub(crate) fn index_of(
    pack: PackRow,
    objects: &[NewObject],
) -> Result<Vec<(ObjectHash, ObjectRow)>, DatabaseError> {
    let list = objects.iter().enumerate().map(|(number, object)| {
        let place = ObjectRow {
            id: ObjectId::of(pack, number)?,
            kind: object.kind,
            range: object.range,
            raw_length: object.raw_length,
            grouped: object.grouped,
        };
        Ok((object.hash, place))
    });
    list.collect()
}
