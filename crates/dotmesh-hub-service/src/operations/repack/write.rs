//! Writes the groups of a repack into packs, and packs into the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_hub_db::ids::ObjectId;
use dotmesh_hub_db::objects::{Location, NewObject};
use dotmesh_hub_db::repack::{NewPack, OldObject};
use dotmesh_model::ObjectHash;
use dotmesh_store::group::{GroupPackWriter, encode_group};
use dotmesh_store::{
    FrameRange, Group, GroupBase, GroupBytes, PackError, PackId, PackStoreError, StoredFrame,
};

use super::Repacker;
use super::groups::PlannedGroup;
use crate::error::HubError;
use crate::operations::frames::{Decoder, ReadObject, read_objects};

/// The zstd level. The decision page has the measurements.
const LEVEL: i32 = 9;

/// The zstd level of groups with a base. Most of such a group is found in its base, and higher levels spend their time on
/// an index of the base.
const LEVEL_ON_BASE: i32 = 3;

/// The length of a pack, in bytes. A pack ends with the group that reaches it.
const PACK_LENGTH: usize = 16 << 20;

/// A pack of this length ends where the next group is of another line of forks.
const SMALL_PACK: usize = 1 << 20;

/// The uncompressed length of the objects that are read at once, in bytes.
const READ_LENGTH: u64 = 8 << 20;

/// A base, as the repack keeps it: most groups have the base of the one before.
type KeptBase = Option<(GroupBase, Arc<GroupBytes>)>;

/// Stores objects in new packs, and reads each of them back. Returns the packs with their lengths.
pub(super) async fn write(
    repacker: &Repacker,
    objects: &[OldObject],
    groups: Vec<PlannedGroup>,
) -> Result<Vec<(NewPack, u64)>, HubError> {
    let mut writer = Writer {
        repacker,
        objects,
        pack: GroupPackWriter::default(),
        listed: Vec::new(),
        bases: BTreeSet::new(),
        done: Vec::new(),
    };
    let mut base: KeptBase = None;
    let mut decoder = Decoder::default();
    let mut family = None;
    let mut rest = groups.as_slice();
    while !rest.is_empty() {
        let mut length = 0;
        let fits = |group: &&PlannedGroup| {
            let raw = group
                .objects
                .iter()
                .map(|n| u64::from(objects[*n].location.raw_length));
            length += raw.sum::<u64>();
            length <= READ_LENGTH
        };
        let fitting = rest.iter().take_while(fits).count().max(1);
        let (batch, after) = rest.split_at(fitting);
        rest = after;
        let wanted = batch.iter().flat_map(|group| &group.objects);
        let wanted: Vec<(ObjectHash, Location)> = wanted
            .map(|n| (objects[*n].hash, objects[*n].location))
            .collect();
        let mut read = read_objects(&repacker.packs, &wanted).await?.into_iter();
        for group in batch {
            if base.as_ref().map(|(base, _)| *base) != group.base {
                base = match group.base {
                    Some(base) => Some((base, Arc::new(read_base(repacker, base).await?))),
                    None => None,
                };
            }
            let read: Vec<ReadObject> = read.by_ref().take(group.objects.len()).collect();
            let places: Vec<PackId> = group
                .objects
                .iter()
                .map(|n| objects[*n].location.pack)
                .collect();
            let kept = base.clone();
            let work = move || {
                let encoded = encode(&mut decoder, &read, &places, kept.as_ref());
                (decoder, encoded)
            };
            let encoded;
            (decoder, encoded) = repacker.threads.run(work).await?;
            if group.family != family && writer.pack.len() >= SMALL_PACK {
                writer.end().await?;
            }
            family = group.family;
            writer.add(group, encoded?).await?;
        }
    }
    writer.end().await?;
    Ok(writer.done)
}

async fn read_base(repacker: &Repacker, base: GroupBase) -> Result<GroupBytes, HubError> {
    let damaged = || PackStoreError::Damaged { pack: base.pack };
    let read = repacker.packs.read(base.pack, &[base.range]).await?;
    let stored = read.first().ok_or_else(damaged)?;
    let Ok(StoredFrame::Group(group)) = StoredFrame::parse(stored) else {
        return Err(damaged().into());
    };
    let decompressing = repacker.threads.run(move || group.decompress(None));
    Ok(decompressing.await?.map_err(|_| damaged())?)
}

/// Verifies the objects of a group, compresses them, and verifies the result.
fn encode(
    decoder: &mut Decoder,
    read: &[ReadObject],
    packs: &[PackId],
    base: Option<&(GroupBase, Arc<GroupBytes>)>,
) -> Result<Bytes, HubError> {
    let mut objects = Vec::with_capacity(read.len());
    for (read, pack) in read.iter().zip(packs) {
        let object = decoder.object(read);
        let object = object.map_err(|_| PackStoreError::Damaged { pack: *pack })?;
        objects.push(object);
    }
    let base = base.map(|(base, bytes)| (*base, &**bytes));
    let level = match base {
        Some(_) => LEVEL_ON_BASE,
        None => LEVEL,
    };
    let Some(stored) = encode_group(&objects, base, level) else {
        // An object has at most half the bytes of a group, so this does not happen.
        return Err(HubError::Pack(PackError::BadFrame { offset: 0 }));
    };
    let group = Group::parse(&stored)?;
    let bytes = group.decompress(base.map(|(_, bytes)| bytes))?;
    for (number, object) in objects.iter().enumerate() {
        let again = bytes.object(&group, number)?;
        if again != *object {
            let hash = object.hash();
            return Err(HubError::Pack(PackError::WrongHash { hash }));
        }
    }
    Ok(stored)
}

struct Writer<'a> {
    repacker: &'a Repacker,
    objects: &'a [OldObject],
    pack: GroupPackWriter,
    listed: Vec<(ObjectId, NewObject)>,
    bases: BTreeSet<PackId>,
    done: Vec<(NewPack, u64)>,
}

impl Writer<'_> {
    async fn add(&mut self, group: &PlannedGroup, stored: Bytes) -> Result<(), HubError> {
        let range: FrameRange = self.pack.push(&stored);
        for number in &group.objects {
            let old = &self.objects[*number];
            let new = NewObject {
                hash: old.hash,
                kind: old.kind,
                range,
                raw_length: old.location.raw_length,
                grouped: true,
            };
            self.listed.push((old.id, new));
        }
        self.bases.extend(group.base.map(|base| base.pack));
        if self.pack.len() >= PACK_LENGTH {
            self.end().await?;
        }
        Ok(())
    }

    /// Stores the pack, and reads it back, so that nothing is replaced by what the store has not kept.
    async fn end(&mut self) -> Result<(), HubError> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let pack = std::mem::take(&mut self.pack).finish();
        let length = pack.len() as u64;
        let name = self.repacker.packs.put(pack).await?;
        self.repacker.packs.get(name).await?;
        let mut objects = std::mem::take(&mut self.listed);
        objects.sort_unstable_by_key(|(_, object)| object.hash);
        let pack = NewPack {
            name,
            objects,
            bases: std::mem::take(&mut self.bases),
        };
        self.done.push((pack, length));
        Ok(())
    }
}
