//! Sends objects of a dot.

use std::io;

use bytes::{Bytes, BytesMut};
use dotmesh_api::hub::MAX_PACK_LENGTH;
use dotmesh_hub_db::objects::Location;
use dotmesh_model::ObjectHash;
use dotmesh_store::pack::{HEADER_LENGTH, MAGIC};
use dotmesh_store::polite::Yielder;
use dotmesh_store::{FrameEncoder, PackStoreError};
use futures::{Stream, StreamExt as _, stream};

use super::frames::{Decoder, ReadObject, read_objects};
use super::sending;
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// The approximate size of the parts in which a pack is read and sent, in bytes. The next part is read while one is
/// sent.
const PART_LENGTH: usize = 1 << 20;

/// A pack that is being sent.
pub struct ServedPack<S> {
    /// The pack's length in bytes. `None` where objects have to be compressed anew, since they are in groups.
    pub length: Option<usize>,
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
        .map(|(_, location)| most_served(location))
        .take_while(|frame| {
            length + frame <= MAX_PACK_LENGTH && {
                length += frame;
                true
            }
        })
        .count();
    wanted.truncate(fitting);
    let is_exact = !wanted.iter().any(|(_, location)| location.grouped);

    let hub = hub.clone();
    let mut parts = stream::iter(split(wanted))
        .map(move |part| {
            let hub = hub.clone();
            async move { read_part(&hub, part).await }
        })
        .buffered(2);
    // The first part is read before the response begins, so that an early failure gets a full error response.
    let first = parts.next().await.transpose()?;
    let first = first.into_iter().map(Ok);
    let magic = stream::iter([Ok(Bytes::from_static(&MAGIC))]);
    let parts = magic.chain(stream::iter(first)).chain(parts);
    let parts = sending::send(turn, "a pack", parts);
    let length = is_exact.then_some(length);
    Ok(ServedPack { length, parts })
}

/// Returns the most bytes that an object takes in a served pack. For one that is not in a group, it is the exact number.
pub(super) fn most_served(location: &Location) -> usize {
    match location.grouped {
        true => HEADER_LENGTH + location.raw_length as usize,
        false => location.range.length as usize,
    }
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
        length += most_served(&location);
        if let Some(part) = parts.last_mut() {
            part.push((hash, location));
        }
    }
    parts
}

/// Reads a part. Frames of single objects are passed on as they are. Clients know no groups, so an object of a group
/// is compressed anew.
async fn read_part(hub: &Hub, wanted: Vec<(ObjectHash, Location)>) -> Result<Bytes, HubError> {
    let read = read_objects(&hub.packs, &wanted).await?;
    let is_single = |read: &ReadObject| matches!(read, ReadObject::Single(_));
    if read.iter().all(is_single) {
        return Ok(join(&read, &wanted)?);
    }
    let joined = hub.background.run(move || join(&read, &wanted));
    Ok(joined.await??)
}

fn join(read: &[ReadObject], wanted: &[(ObjectHash, Location)]) -> Result<Bytes, PackStoreError> {
    let length = wanted.iter().map(|(_, location)| most_served(location));
    let mut part = BytesMut::with_capacity(length.sum());
    let mut decoder = Decoder::default();
    let mut encoder = FrameEncoder::default();
    let mut yielder = Yielder::default();
    for (read, (_, location)) in read.iter().zip(wanted) {
        match read {
            ReadObject::Single(frame) => part.extend_from_slice(frame.stored()),
            ReadObject::Member(..) => {
                let pack = location.pack;
                let object = decoder.object(read);
                let object = object.map_err(|_| PackStoreError::Damaged { pack })?;
                part.extend_from_slice(encoder.encode(&object).stored());
                yielder.yield_if_due();
            }
        }
    }
    Ok(part.freeze())
}
