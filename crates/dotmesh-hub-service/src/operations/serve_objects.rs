//! Sends objects of a dot.

use std::io;

use bytes::{Bytes, BytesMut};
use dotmesh_api::hub::MAX_PACK_LENGTH;
use dotmesh_hub_db::objects::Location;
use dotmesh_model::ObjectHash;
use dotmesh_store::PackStoreError;
use dotmesh_store::pack::MAGIC;
use futures::{Stream, StreamExt as _, stream};

use super::frames::read_frames;
use super::sending;
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// The approximate size of the parts in which a pack is read and sent, in bytes. The next part is read while one is
/// sent.
const PART_LENGTH: usize = 1 << 20;

/// A pack that is being sent.
pub struct ServedPack<S> {
    /// The pack's length in bytes.
    pub length: usize,
    /// The parts of the pack. An error ends the stream early.
    pub parts: S,
}

/// Returns a pack of the objects in the order of `hashes`: all of them, or as many from the start as fit into one pack.
///
/// Knowing a hash gives no access: only objects of this dot are found.
pub async fn serve_objects(
    hub: &Hub,
    dot: &OpenDot,
    hashes: &[ObjectHash],
) -> Result<ServedPack<impl Stream<Item = io::Result<Bytes>> + use<>>, HubError> {
    let turn = hub.turns.packs_out.take(&dot.subject, 1).await?;
    let located = hub
        .database
        .locate(dot.owner, dot.existing()?, hashes)
        .await?;
    let mut wanted = Vec::with_capacity(hashes.len());
    let mut unknown = Vec::new();
    for (hash, location) in hashes.iter().zip(located) {
        match location {
            Some(location) => wanted.push((*hash, location)),
            None => unknown.push(*hash),
        }
    }
    if let Some(first) = unknown.first() {
        return Err(HubError::NoSuchObjects {
            dot: dot.name.clone(),
            count: unknown.len(),
            first: *first,
        });
    }
    let mut length = MAGIC.len();
    let fitting = wanted
        .iter()
        .map(|(_, location)| location.range.length as usize)
        .take_while(|frame| {
            length + frame <= MAX_PACK_LENGTH && {
                length += frame;
                true
            }
        })
        .count();
    wanted.truncate(fitting);

    let packs = hub.packs.clone();
    let mut parts = stream::iter(split(wanted))
        .map(move |part| {
            let packs = packs.clone();
            async move { read_part(&packs, &part).await }
        })
        .buffered(2);
    // The first part is read before the response begins, so that an early failure gets a full error response.
    let first = parts.next().await.transpose()?;
    let first = first.into_iter().map(Ok);
    let magic = stream::iter([Ok(Bytes::from_static(&MAGIC))]);
    let parts = magic.chain(stream::iter(first)).chain(parts);
    let parts = sending::send(turn, "a pack", parts);
    Ok(ServedPack { length, parts })
}

/// Splits a list of objects into parts.
fn split(wanted: Vec<(ObjectHash, Location)>) -> Vec<Vec<(ObjectHash, Location)>> {
    let mut parts: Vec<Vec<_>> = Vec::new();
    let mut length = PART_LENGTH;
    for (hash, location) in wanted {
        if length >= PART_LENGTH {
            parts.push(Vec::new());
            length = 0;
        }
        length += location.range.length as usize;
        if let Some(part) = parts.last_mut() {
            part.push((hash, location));
        }
    }
    parts
}

async fn read_part(
    packs: &dotmesh_store::PackStore,
    wanted: &[(ObjectHash, Location)],
) -> Result<Bytes, PackStoreError> {
    let frames = read_frames(packs, wanted).await?;
    let length = frames.iter().map(|frame| frame.stored().len()).sum();
    let mut part = BytesMut::with_capacity(length);
    for frame in &frames {
        part.extend_from_slice(frame.stored());
    }
    Ok(part.freeze())
}
