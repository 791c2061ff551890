//! Puts the objects of a push into packs.

use bytes::Bytes;
use dotmesh_hub_db::objects::NewObject;
use dotmesh_hub_model::quota::Usage;
use dotmesh_store::{Frame, FrameRange, PackId, PackStore, PackWriter, references};

use crate::error::HubError;

/// The approximate size of a pack that the hub assembles, in bytes.
const PACK_LENGTH: usize = 8 << 20;

/// The buffer for such a pack, with room for its last frame. Unused memory is never touched, so it costs nothing.
const PACK_ROOM: usize = PACK_LENGTH + (64 << 10);

/// Refuses a malformed object at once. A push with an unreadable tree page could never be finished.
pub(super) fn check(frame: &Frame, bytes: &[u8]) -> Result<(), HubError> {
    references(frame.kind(), bytes)
        .map(drop)
        .map_err(|source| HubError::InvalidObject {
            hash: frame.hash(),
            source,
        })
}

/// Returns the record of a frame at an offset of a pack.
pub(super) fn new_object(frame: &Frame, offset: usize) -> NewObject {
    NewObject {
        hash: frame.hash(),
        kind: frame.kind(),
        // A pack is far shorter than 4 GiB.
        range: FrameRange {
            offset: offset as u32,
            length: frame.stored().len() as u32,
        },
        raw_length: frame.raw_length() as u32,
        grouped: false,
    }
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
    /// Creates a packer for a namespace with this usage.
    pub(super) fn new(store: &'a PackStore, usage: &'a Usage, is_own: bool) -> Self {
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
    pub(super) async fn add_from(
        &mut self,
        pack: Bytes,
        objects: Vec<NewObject>,
    ) -> Result<(), HubError> {
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

    /// Stores the last pack, and returns all packs with their objects.
    pub(super) async fn finish(mut self) -> Result<Vec<(PackId, Vec<NewObject>)>, HubError> {
        if !self.writer.is_empty() {
            self.end().await?;
        }
        Ok(self.packs)
    }
}
