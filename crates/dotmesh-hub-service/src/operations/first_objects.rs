//! The first objects that a client needs for a commit, so that it need not ask for them level by level.

use bytes::Bytes;
use dotmesh_api::bundle::MAX_BUNDLE_LENGTH;
use dotmesh_hub_db::objects::Location;
use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::polite::Yielder;
use dotmesh_store::{
    Frame, FrameEncoder, Kind, ObjectReference, PackStoreError, PackWriter, references,
};
use foldhash::{HashSet, HashSetExt as _};

use super::frames::{Decoder, ReadObject, read_objects};
use super::serve_objects::most_served;
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// The most uncompressed bytes of pages that are read for one pack.
const MAX_READ: usize = 8 << 20;

/// The number of objects in one lookup.
const HASHES: usize = 4096;

/// Returns a pack with the first objects of a commit's tree: the pages, level by level, and then the chunks. It ends
/// before the first object for which there is no room.
///
/// It leaves out what the pages of the commit `until` name at the same level, since a client that has that commit has it.
/// Any other client asks for what it lacks. So a failure empties the pack, and is no failure of the request.
pub async fn first_objects(
    hub: &Hub,
    dot: &OpenDot,
    head: CommitId,
    until: CommitId,
) -> Result<Bytes, HubError> {
    let _turn = hub.turns.packs_out.take(&dot.subject, 1).await?;
    let mut walk = Walk {
        hub,
        dot,
        pack: PackWriter::default(),
        to_read: MAX_READ,
        is_full: false,
    };
    if let Err(error) = walk.walk(head, until).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "a bundle has no objects");
        return Ok(PackWriter::default().finish());
    }
    Ok(walk.pack.finish())
}

struct Walk<'a> {
    hub: &'a Hub,
    dot: &'a OpenDot,
    pack: PackWriter,
    /// The uncompressed bytes of pages that may still be read.
    to_read: usize,
    /// There was no room for an object.
    is_full: bool,
}

impl Walk<'_> {
    async fn walk(&mut self, head: CommitId, until: CommitId) -> Result<(), HubError> {
        let mut new = Vec::from_iter(self.root(head).await?);
        let mut old = Vec::from_iter(self.root(until).await?);
        let mut chunks = Vec::new();
        let mut met = HashSet::new();
        while !new.is_empty() && !self.is_full {
            let below = self.send(&new).await?;
            // Without the old pages, more is sent than is needed.
            let old_below = self.read_old(&old).await.unwrap_or_default();
            let in_old: HashSet<ObjectHash> = old_below.iter().map(|(_, hash)| *hash).collect();
            let in_new: HashSet<ObjectHash> = below.iter().map(|(_, hash)| *hash).collect();
            new.clear();
            for (kind, hash) in below {
                if in_old.contains(&hash) || !met.insert(hash) {
                    continue;
                }
                match kind {
                    Kind::Chunk => chunks.push(hash),
                    Kind::Root | Kind::TreePage | Kind::FilePage => new.push(hash),
                }
            }
            let pages = old_below.into_iter();
            let pages = pages.filter(|(kind, hash)| *kind != Kind::Chunk && !in_new.contains(hash));
            old = pages.map(|(_, hash)| hash).collect();
        }
        if !self.is_full {
            self.send(&chunks).await?;
        }
        Ok(())
    }

    /// The root of a commit of the dot, if the commit has its data. Any other root is only a claim.
    async fn root(&self, commit: CommitId) -> Result<Option<ObjectHash>, HubError> {
        let dot = self.dot.existing()?;
        let line = self.hub.database.ancestry(dot, commit, CommitId::ROOT, 1);
        let commit = line.await?.commits.into_iter().next();
        let with_data = commit.filter(|commit| !commit.without_data);
        Ok(with_data.map(|commit| commit.root))
    }

    /// Adds objects to the pack as long as there is room, and returns what these objects refer to.
    async fn send(&mut self, hashes: &[ObjectHash]) -> Result<Vec<ObjectReference>, HubError> {
        let mut below = Vec::new();
        for hashes in hashes.chunks(HASHES) {
            let mut length = self.pack.len();
            let found = self.find(hashes).await?;
            let fitting = found.iter().take_while(|(_, location)| {
                length += most_served(location);
                length <= MAX_BUNDLE_LENGTH
            });
            let fitting = fitting.count();
            self.is_full |= fitting < hashes.len();
            for (frame, references) in self.read(&found[..fitting]).await? {
                self.pack.push(&frame);
                below.extend(references);
            }
            if self.is_full {
                break;
            }
        }
        Ok(below)
    }

    /// Returns what some old pages refer to.
    async fn read_old(&mut self, hashes: &[ObjectHash]) -> Result<Vec<ObjectReference>, HubError> {
        let hashes = &hashes[..hashes.len().min(HASHES)];
        let found = self.find(hashes).await?;
        let read = self.read(&found).await?;
        Ok(read.into_iter().flat_map(|(_, below)| below).collect())
    }

    /// Returns where objects of the dot are stored: as many from the front as may be read.
    async fn find(
        &mut self,
        hashes: &[ObjectHash],
    ) -> Result<Vec<(ObjectHash, Location)>, HubError> {
        let (owner, dot) = (self.dot.owner, self.dot.existing()?);
        let members = self.hub.database.members(owner, dot, hashes).await?;
        let mut found = Vec::with_capacity(hashes.len());
        for (hash, member) in hashes.iter().zip(members) {
            let Some(member) = member else {
                break;
            };
            if member.kind != Kind::Chunk {
                let rest = self
                    .to_read
                    .checked_sub(member.location.raw_length as usize);
                let Some(rest) = rest else {
                    break;
                };
                self.to_read = rest;
            }
            found.push((*hash, member.location));
        }
        Ok(found)
    }

    /// Reads objects, and what they refer to. A chunk refers to nothing.
    async fn read(
        &self,
        wanted: &[(ObjectHash, Location)],
    ) -> Result<Vec<(Frame, Vec<ObjectReference>)>, HubError> {
        let read = read_objects(&self.hub.packs, wanted).await?;
        let wanted = wanted.to_vec();
        let decoding = self.hub.background.run(move || {
            let mut decoder = Decoder::default();
            let mut encoder = FrameEncoder::default();
            let mut yielder = Yielder::default();
            let mut frames = Vec::with_capacity(read.len());
            for (read, (hash, location)) in read.iter().zip(wanted) {
                yielder.yield_if_due();
                if let ReadObject::Single(frame) = read
                    && frame.kind() == Kind::Chunk
                {
                    frames.push((frame.clone(), Vec::new()));
                    continue;
                }
                let pack = location.pack;
                let object = decoder
                    .object(read)
                    .map_err(|_| PackStoreError::Damaged { pack })?;
                let below = references(object.kind(), object.bytes())
                    .map_err(|source| HubError::InvalidObject { hash, source })?;
                let frame = match read {
                    ReadObject::Single(frame) => frame.clone(),
                    // Clients know no groups.
                    ReadObject::Member(..) => encoder.encode(&object),
                };
                frames.push((frame, below));
            }
            Ok(frames)
        });
        decoding.await?
    }
}
