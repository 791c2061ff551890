//! Receives a pack of a push: it verifies the objects, stores them, and then records them in the database.

use std::time::Duration;

use bytes::Bytes;
use dotmesh_model::{DotName, ObjectHash};
use dotmesh_store::polite::Turn;
use dotmesh_store::{
    Frame, FrameDecoder, FrameRange, PackId, PackReader, PackStore, PackWriter, references,
};

use super::resolve;
use crate::database::DatabaseError;
use crate::database::ids::ObjectId;
use crate::database::objects::{NewObject, Scope};
use crate::error::HubError;
use crate::quota::Usage;
use crate::state::Hub;

/// The approximate size of a pack that the hub assembles, in bytes.
const PACK_LENGTH: usize = 8 << 20;

/// The buffer for such a pack, with room for its last frame. Unused memory is never touched, so it costs nothing.
const PACK_ROOM: usize = PACK_LENGTH + (64 << 10);

/// How often the pack is processed again if objects that it relies on are collected as garbage.
const ATTEMPTS: u32 = 40;

/// The pause before the next attempt, so that the collector can finish with a file.
const PAUSE: Duration = Duration::from_millis(250);

/// Receives a pack. When this returns, the objects survive a power failure, and the upload may refer to them.
pub async fn receive_pack(
    hub: &Hub,
    dot: &DotName,
    scope: Scope,
    pack: Bytes,
) -> Result<(), HubError> {
    for _ in 0..ATTEMPTS {
        match attempt(hub, scope, pack.clone()).await {
            Err(HubError::Database(DatabaseError::Collected)) => {}
            Err(HubError::Database(DatabaseError::Deleting)) => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
    Err(HubError::Busy { dot: dot.clone() })
}

async fn attempt(hub: &Hub, scope: Scope, pack: Bytes) -> Result<(), HubError> {
    let verified = hub.background.run({
        let pack = pack.clone();
        move || verify(pack)
    });
    let Verified { objects, deltas } = verified.await??;
    // Check the delta bases before anything is stored. A push that must send the pack again then leaves nothing behind.
    let usage = hub.database.usage(scope.owner, hub.settings.quota).await?;
    let is_own = scope.owner == scope.user;
    let bases = resolve::find_bases(hub, scope, &deltas).await?;

    let deletions = hub.database.deletions().await?;
    let mut again = Vec::new();
    let objects = only_new(hub, scope, objects, &mut again).await?;
    let mut packer = Packer::new(&hub.packs, &usage, is_own);
    packer.add_from(pack, objects).await?;

    let hashes: Vec<ObjectHash> = deltas.iter().map(Frame::hash).collect();
    let stored = hub.database.stored(scope.owner, &hashes).await?;
    again.extend(stored.iter().flatten());
    let known = hashes.iter().zip(&stored);
    let known = known.filter_map(|(hash, stored)| stored.and(Some(*hash)));
    resolve::resolve(hub, scope, deltas, bases, known.collect(), &mut packer).await?;

    // Store the bytes before the rows, so that every row has its bytes.
    let packs = packer.finish().await?;
    let quota = hub.settings.quota;
    let database = &hub.database;
    let added = database.add_objects(scope.owner, scope.upload, &packs, deletions, &again, quota);
    added
        .await?
        .map_err(|usage| HubError::over_quota(usage, is_own))
}

/// The frames of a pack.
struct Verified {
    /// The frames that are not deltas: each object once, sorted by hash.
    objects: Vec<NewObject>,
    deltas: Vec<Frame>,
}

/// Reads a pack. All its objects must be whole, or none is accepted.
fn verify(pack: Bytes) -> Result<Verified, HubError> {
    let mut objects = Vec::new();
    let mut deltas = Vec::new();
    let mut decoder = FrameDecoder::default();
    let mut turn = Turn::default();
    for frame in PackReader::new(pack)? {
        let frame = frame?;
        if frame.base().is_some() {
            deltas.push(frame);
        } else {
            check(&frame, decoder.verify(&frame)?)?;
            objects.push(new_object(&frame, frame.offset()));
        }
        turn.offer();
    }
    objects.sort_unstable_by_key(|object: &NewObject| object.hash);
    objects.dedup_by_key(|object| object.hash);
    Ok(Verified { objects, deltas })
}

/// Refuses a malformed object at once. A push with an unreadable tree page could never be finished.
pub(super) fn check(frame: &Frame, bytes: &[u8]) -> Result<(), HubError> {
    references(frame.kind(), bytes)
        .map(drop)
        .map_err(|source| HubError::Node {
            hash: frame.hash(),
            source,
        })
}

fn new_object(frame: &Frame, offset: usize) -> NewObject {
    NewObject {
        hash: frame.hash(),
        kind: frame.kind(),
        // A pack is far shorter than 4 GiB.
        range: FrameRange {
            offset: offset as u32,
            length: frame.stored().len() as u32,
        },
        raw_length: frame.raw_length() as u32,
    }
}

/// Leaves out the objects that the namespace has already, so that they take no space again.
async fn only_new(
    hub: &Hub,
    scope: Scope,
    mut objects: Vec<NewObject>,
    again: &mut Vec<ObjectId>,
) -> Result<Vec<NewObject>, HubError> {
    let hashes: Vec<ObjectHash> = objects.iter().map(|object| object.hash).collect();
    let stored = hub.database.stored(scope.owner, &hashes).await?;
    again.extend(stored.iter().flatten());
    let mut stored = stored.iter();
    objects.retain(|_| stored.next().is_some_and(Option::is_none));
    Ok(objects)
}

/// Puts objects into packs, and packs into the store.
pub(super) struct Packer<'a> {
    store: &'a PackStore,
    writer: PackWriter,
    objects: Vec<NewObject>,
    packs: Vec<(PackId, Vec<NewObject>)>,
    /// The namespace's usage before this pack. `room` is the space that is left after the packs assembled so far. Other
    /// pushes run at the same time, so the transaction that adds the rows decides about the quota.
    usage: &'a Usage,
    is_own: bool,
    room: u64,
}

impl<'a> Packer<'a> {
    fn new(store: &'a PackStore, usage: &'a Usage, is_own: bool) -> Self {
        Self {
            usage,
            is_own,
            room: usage.room(),
            store,
            writer: PackWriter::default(),
            objects: Vec::new(),
            packs: Vec::new(),
        }
    }

    /// Adds objects of a pack. If they are the whole pack, it is stored as it is.
    async fn add_from(&mut self, pack: Bytes, objects: Vec<NewObject>) -> Result<(), HubError> {
        let frames = objects.iter().map(|object| object.range.length as usize);
        let empty = self.writer.len();
        if !objects.is_empty() && empty + frames.sum::<usize>() == pack.len() {
            return self.put(pack, objects).await;
        }
        for object in objects {
            let at = object.range.offset as usize;
            let frame = pack.slice(at..at + object.range.length as usize);
            self.add(&Frame::parse(&frame)?).await?;
        }
        Ok(())
    }

    /// Adds a frame that is not a delta.
    pub(super) async fn add(&mut self, frame: &Frame) -> Result<(), HubError> {
        if self.writer.is_empty() {
            self.writer = PackWriter::with_room(PACK_ROOM);
        }
        let offset = self.writer.push(frame);
        self.objects.push(new_object(frame, offset));
        if self.writer.len() >= PACK_LENGTH {
            self.end().await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), HubError> {
        let pack = std::mem::take(&mut self.writer).finish();
        let mut objects = std::mem::take(&mut self.objects);
        objects.sort_unstable_by_key(|object| object.hash);
        self.put(pack, objects).await
    }

    async fn put(&mut self, pack: Bytes, objects: Vec<NewObject>) -> Result<(), HubError> {
        let room = self.room.checked_sub(pack.len() as u64);
        self.room = room.ok_or_else(|| HubError::over_quota(self.usage.clone(), self.is_own))?;
        self.packs.push((self.store.put(pack).await?, objects));
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<(PackId, Vec<NewObject>)>, HubError> {
        if !self.writer.is_empty() {
            self.end().await?;
        }
        Ok(self.packs)
    }
}
