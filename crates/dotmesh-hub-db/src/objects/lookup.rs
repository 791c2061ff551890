//! Finds objects by hash, in the pack index cache and in the database.

use std::collections::HashMap;

use dotmesh_api::hub_client::join;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameRange, Kind, PackId};
use sqlx::AnyConnection;

use crate::ids::{self, ObjectId, PackRow, UserId};
use crate::objects::frame_column::{FRAME_LENGTH, decode_frame};
use crate::objects::id_sql::between_ids_of;
use crate::objects::pack_index_cache::{Lookup, Told};
use crate::objects::{Location, json};
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

/// A row of `objects`, without the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectRow {
    pub(crate) id: ObjectId,
    pub(crate) kind: Kind,
    pub(crate) range: FrameRange,
    pub(crate) raw_length: u32,
    pub(crate) grouped: bool,
}

/// The location of a requested object. `at` is the position of its hash in the request.
pub(crate) struct FoundObject {
    pub(crate) at: usize,
    pub(crate) place: ObjectRow,
    pack: PackId,
}

/// Requested objects, by what the cache knows of them. The numbers are positions in the request.
struct Split {
    listed: Vec<(usize, ObjectRow)>,
    /// Objects that the prefix filter has, with the rows where they seem to be.
    seen: Vec<(usize, ObjectId)>,
    /// Objects of which the cache knows nothing.
    rest: Vec<usize>,
    /// Objects that are in none of `packs`.
    unseen: Vec<usize>,
    packs: Vec<PackRow>,
}

/// A pack's index is read only if at least this many requested objects seem to be in it.
const WORTH_A_LIST: usize = 128;

/// A pack's index is read only if at least one in this many of its objects seems to be requested. Reading a row in
/// sequence costs about this many times less than finding one by hash.
const SHARE: usize = 2;

/// About this many objects are looked up first, to find out in which packs the others are.
const PROBES: usize = 32;

/// For this many packs, the check that an owner has no others costs about as much as one lookup of an object.
const PACKS: usize = 8;

/// To complete a namespace's prefix filter, at most this many objects are read for each requested object.
const READ_AHEAD: usize = 2;

impl Database {
    /// Finds objects by their hashes. If a hash is requested twice, its object is found twice.
    pub(crate) async fn find(
        &self,
        connection: &mut AnyConnection,
        owner: UserId,
        hashes: &[ObjectHash],
    ) -> Result<Vec<FoundObject>, DatabaseError> {
        let all = (0..hashes.len()).collect();
        let Split {
            listed,
            seen,
            mut rest,
            unseen,
            packs,
        } = self.recall(owner, hashes, all);
        let mut found = self.present(connection, listed, &mut rest).await?;
        let seen = self
            .find_seen(connection, owner, hashes, seen, &mut rest)
            .await?;
        found.extend(self.present(connection, seen, &mut rest).await?);
        let wanted = unseen.len();
        let is_worth_it = wanted > PROBES && packs.len() <= wanted * PACKS;
        if !is_worth_it || !self.see_all(connection, owner, &packs, wanted).await? {
            rest.extend(unseen);
        }
        if rest.len() > PROBES * 2 {
            let each = rest.len() / PROBES;
            let probes: Vec<usize> = rest.iter().step_by(each).copied().collect();
            let others = (0..rest.len()).filter(|n| !n.is_multiple_of(each));
            let others = others.map(|n| rest[n]).collect();
            let probed = look_up(connection, owner, hashes, &probes).await?;
            let packs = probed.iter().map(|(_, place)| place.id.pack());
            self.read_lists(connection, owner, packs, each).await?;
            found.extend(self.present(connection, probed, &mut Vec::new()).await?);
            let split = self.recall(owner, hashes, others);
            rest = split.rest;
            rest.extend(split.seen.iter().map(|(at, _)| at));
            rest.extend(split.unseen);
            found.extend(self.present(connection, split.listed, &mut rest).await?);
        }
        let looked_up = look_up(connection, owner, hashes, &rest).await?;
        // An object that was collected in between counts as not found.
        found.extend(self.present(connection, looked_up, &mut Vec::new()).await?);
        Ok(found)
    }

    /// Looks for objects in the rows where they seem to be. Objects that are not there go to `rest`.
    async fn find_seen(
        &self,
        connection: &mut AnyConnection,
        owner: UserId,
        hashes: &[ObjectHash],
        mut seen: Vec<(usize, ObjectId)>,
        rest: &mut Vec<usize>,
    ) -> Result<Vec<(usize, ObjectRow)>, DatabaseError> {
        let mut found = Vec::new();
        let packs = seen.iter().map(|(_, id)| id.pack());
        if self.read_lists(connection, owner, packs, 1).await? {
            let wanted = seen.iter().map(|(at, _)| *at).collect();
            let split = self.recall(owner, hashes, wanted);
            seen = split.seen;
            found = split.listed;
            rest.extend(split.rest);
            rest.extend(split.unseen);
        }
        // Adjacent rows are read in sequence.
        seen.sort_unstable_by_key(|(_, id)| *id);
        for seen in seen.chunks(ROWS_PER_STATEMENT) {
            let ids: Vec<i64> = seen.iter().map(|(_, id)| id.0).collect();
            let rows = read_rows(connection, &ids).await?;
            let rows: HashMap<ObjectId, (ObjectHash, ObjectRow)> = rows
                .into_iter()
                .map(|(hash, place)| (place.id, (hash, place)))
                .collect();
            for (at, id) in seen {
                match rows.get(id) {
                    Some((hash, place)) if *hash == hashes[*at] => found.push((*at, *place)),
                    _ => rest.push(*at),
                }
            }
        }
        Ok(found)
    }

    /// Reads the indexes of packs that many requested objects seem to be in, and returns whether it read any.
    ///
    /// `packs` has one entry for each object that was looked at, which stands for `each` requested objects.
    async fn read_lists(
        &self,
        connection: &mut AnyConnection,
        owner: UserId,
        packs: impl Iterator<Item = PackRow>,
        each: usize,
    ) -> Result<bool, DatabaseError> {
        let mut hits: HashMap<PackRow, usize> = HashMap::new();
        for pack in packs {
            *hits.entry(pack).or_default() += 1;
        }
        hits.retain(|pack, hits| *hits * each >= WORTH_A_LIST && !self.pack_index_cache.has(*pack));
        let packs: Vec<i64> = hits.keys().map(|pack| pack.0).collect();
        let mut were_read = false;
        for (pack, objects) in lengths(connection, &packs).await? {
            if hits[&pack] * each * SHARE >= objects {
                let list = read_list(connection, pack).await?;
                self.pack_index_cache.put(owner, pack, list);
                were_read = true;
            }
        }
        Ok(were_read)
    }

    /// Whether all objects of an owner are in these packs. If not, some of the other packs are added to the prefix
    /// filter, for the next request.
    async fn see_all(
        &self,
        connection: &mut AnyConnection,
        owner: UserId,
        packs: &[PackRow],
        wanted: usize,
    ) -> Result<bool, DatabaseError> {
        let others = others(connection, owner, packs).await?;
        let mut read = 0;
        for (pack, objects) in &others {
            if read + objects > wanted * READ_AHEAD {
                continue;
            }
            read += objects;
            let objects = read_hashes(connection, *pack).await?;
            self.pack_index_cache.see(owner, *pack, &objects);
        }
        Ok(others.is_empty())
    }

    /// Splits requested objects by what the cache knows of them.
    fn recall(&self, owner: UserId, hashes: &[ObjectHash], wanted: Vec<usize>) -> Split {
        let asked: Vec<ObjectHash> = wanted.iter().map(|at| hashes[*at]).collect();
        let Told { objects, packs } = self.pack_index_cache.find(owner, &asked);
        let mut split = Split {
            listed: Vec::new(),
            seen: Vec::new(),
            rest: Vec::new(),
            unseen: Vec::new(),
            packs,
        };
        for (at, object) in wanted.into_iter().zip(objects) {
            match object {
                Lookup::Listed(place) => split.listed.push((at, place)),
                Lookup::Seen(id) => split.seen.push((at, id)),
                Lookup::Unknown => split.rest.push(at),
                Lookup::Unseen => split.unseen.push(at),
            }
        }
        split
    }

    /// Returns the objects whose packs still exist. Other objects go to `rest`.
    async fn present(
        &self,
        connection: &mut AnyConnection,
        places: Vec<(usize, ObjectRow)>,
        rest: &mut Vec<usize>,
    ) -> Result<Vec<FoundObject>, DatabaseError> {
        let packs = packs_of(places.iter().map(|(_, place)| *place));
        let names = pack_names(connection, &packs).await?;
        for pack in packs.iter().filter(|pack| !names.contains_key(pack)) {
            self.pack_index_cache.forget(PackRow(*pack));
        }
        let mut found = Vec::with_capacity(places.len());
        for (at, place) in places {
            match names.get(&place.id.pack().0) {
                Some(pack) => found.push(FoundObject {
                    at,
                    place,
                    pack: *pack,
                }),
                None => rest.push(at),
            }
        }
        Ok(found)
    }
}

impl FoundObject {
    pub(crate) fn location(&self) -> Location {
        Location {
            pack: self.pack,
            range: self.place.range,
            raw_length: self.place.raw_length,
            grouped: self.place.grouped,
        }
    }
}

/// Looks up the hashes at the positions `wanted`. All rows come as one text, because the transfer of single rows
/// costs more than finding them.
pub(crate) async fn look_up(
    connection: &mut AnyConnection,
    owner: UserId,
    hashes: &[ObjectHash],
    wanted: &[usize],
) -> Result<Vec<(usize, ObjectRow)>, DatabaseError> {
    let mut found = Vec::new();
    for wanted in wanted.chunks(ROWS_PER_STATEMENT) {
        let hashes: Vec<ObjectHash> = wanted.iter().map(|at| hashes[*at]).collect();
        let rows: Option<String> = sqlx::query_scalar(
            "SELECT string_agg(n.n || ' ' || o.id || ' ' || hex(o.frame), ' ')
             FROM numbers n CROSS JOIN objects o
             WHERE n.n < $3 AND o.owner = $1 AND o.hash = substr($2, n.n * 32 + 1, 32)",
        )
        .bind(owner)
        .bind(join(&hashes))
        .bind(hashes.len() as i64)
        .fetch_one(&mut *connection)
        .await?;
        for row in words(rows.as_deref()) {
            let [n, id, frame] = row?;
            let at = n.parse().ok().and_then(|n: usize| wanted.get(n));
            let at = at.ok_or(DatabaseError::Damaged { what: "number" })?;
            found.push((*at, ObjectRow::read(id, frame)?));
        }
    }
    Ok(found)
}

/// Returns some of the owner's packs that are not in `packs`, with their numbers of objects.
async fn others(
    connection: &mut AnyConnection,
    owner: UserId,
    packs: &[PackRow],
) -> Result<Vec<(PackRow, usize)>, DatabaseError> {
    let packs: Vec<i64> = packs.iter().map(|pack| pack.0).collect();
    let rows: Vec<(PackRow, i64)> = sqlx::query_as(
        "SELECT id, objects FROM packs WHERE owner = $1 AND objects > 0
         AND id NOT IN (SELECT value FROM json_each($2)) LIMIT 64",
    )
    .bind(owner)
    .bind(json(&packs))
    .fetch_all(connection)
    .await?;
    counted(rows)
}

/// Returns the number of objects of each of these packs that still exists.
async fn lengths(
    connection: &mut AnyConnection,
    packs: &[i64],
) -> Result<Vec<(PackRow, usize)>, DatabaseError> {
    if packs.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(PackRow, i64)> = sqlx::query_as(
        "SELECT p.id, p.objects FROM json_each($1) j CROSS JOIN packs p WHERE p.id = j.value",
    )
    .bind(json(packs))
    .fetch_all(connection)
    .await?;
    counted(rows)
}

fn counted(rows: Vec<(PackRow, i64)>) -> Result<Vec<(PackRow, usize)>, DatabaseError> {
    rows.into_iter()
        .map(|(pack, objects)| Ok((pack, ids::unsigned(objects)?)))
        .collect()
}

/// Returns the hashes of all objects of a pack, with their rows.
async fn read_hashes(
    connection: &mut AnyConnection,
    pack: PackRow,
) -> Result<Vec<(ObjectHash, ObjectId)>, DatabaseError> {
    let rows: Option<String> = sqlx::query_scalar(concat!(
        "SELECT string_agg(id || ' ' || hex(hash), ' ') FROM objects WHERE id ",
        between_ids_of!("$1")
    ))
    .bind(pack)
    .fetch_one(connection)
    .await?;
    words(rows.as_deref())
        .map(|row| {
            let [id, hash] = row?;
            Ok((read_hash(hash)?, read_id(id)?))
        })
        .collect()
}

/// Returns all objects of a pack.
pub(crate) async fn read_list(
    connection: &mut AnyConnection,
    pack: PackRow,
) -> Result<Vec<(ObjectHash, ObjectRow)>, DatabaseError> {
    let rows: Option<String> = sqlx::query_scalar(concat!(
        "SELECT string_agg(id || ' ' || hex(hash) || ' ' || hex(frame), ' ') FROM objects WHERE id ",
        between_ids_of!("$1")
    ))
    .bind(pack)
    .fetch_one(connection)
    .await?;
    objects(rows.as_deref())
}

/// Returns the objects of those rows that still exist.
async fn read_rows(
    connection: &mut AnyConnection,
    ids: &[i64],
) -> Result<Vec<(ObjectHash, ObjectRow)>, DatabaseError> {
    let rows: Option<String> = sqlx::query_scalar(
        "SELECT string_agg(o.id || ' ' || hex(o.hash) || ' ' || hex(o.frame), ' ')
         FROM json_each($1) j CROSS JOIN objects o WHERE o.id = j.value",
    )
    .bind(json(ids))
    .fetch_one(connection)
    .await?;
    objects(rows.as_deref())
}

fn objects(text: Option<&str>) -> Result<Vec<(ObjectHash, ObjectRow)>, DatabaseError> {
    words(text)
        .map(|row| {
            let [id, hash, frame] = row?;
            Ok((read_hash(hash)?, ObjectRow::read(id, frame)?))
        })
        .collect()
}

/// Returns the words of a text in groups of `N`.
fn words<const N: usize>(
    text: Option<&str>,
) -> impl Iterator<Item = Result<[&str; N], DatabaseError>> {
    let mut words = text.unwrap_or_default().split_ascii_whitespace();
    std::iter::from_fn(move || {
        let mut row = [words.next()?; N];
        for word in &mut row[1..] {
            match words.next() {
                Some(next) => *word = next,
                None => return Some(Err(DatabaseError::Damaged { what: "row" })),
            }
        }
        Some(Ok(row))
    })
}

fn bytes<const N: usize>(word: &str, what: &'static str) -> Result<[u8; N], DatabaseError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(word, &mut bytes).map_err(|_| DatabaseError::Damaged { what })?;
    Ok(bytes)
}

fn read_hash(word: &str) -> Result<ObjectHash, DatabaseError> {
    Ok(ObjectHash::from_bytes(bytes(word, "hash")?))
}

fn read_id(word: &str) -> Result<ObjectId, DatabaseError> {
    let id = word.parse().map(ObjectId);
    id.map_err(|_| DatabaseError::Damaged { what: "object id" })
}

impl ObjectRow {
    fn read(id: &str, frame: &str) -> Result<Self, DatabaseError> {
        let id = read_id(id)?;
        let frame: [u8; FRAME_LENGTH] = bytes(frame, "frame")?;
        let frame = decode_frame(&frame)?;
        Ok(Self {
            id,
            kind: frame.kind,
            range: frame.range,
            raw_length: frame.raw_length,
            grouped: frame.grouped,
        })
    }
}

pub(crate) fn packs_of(places: impl Iterator<Item = ObjectRow>) -> Vec<i64> {
    let mut packs: Vec<i64> = places.map(|place| place.id.pack().0).collect();
    packs.sort_unstable();
    packs.dedup();
    packs
}

async fn pack_names(
    connection: &mut AnyConnection,
    packs: &[i64],
) -> Result<HashMap<i64, PackId>, DatabaseError> {
    if packs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT p.id, p.name FROM json_each($1) j CROSS JOIN packs p WHERE p.id = j.value",
    )
    .bind(json(packs))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, name)| {
            let name = name.try_into();
            let name = name.map_err(|_| DatabaseError::Damaged { what: "pack name" })?;
            Ok((id, PackId::from_bytes(name)))
        })
        .collect()
}
