//! Resolves the deltas of a push. It finds their delta bases by the same rule as any reference of a push, and turns the
//! deltas into whole objects.

use std::collections::BTreeSet;

use dotmesh_hub_db::objects::{Location, UploadScope};
use dotmesh_model::ObjectHash;
use dotmesh_store::polite::Yielder;
use dotmesh_store::{Frame, FrameDecoder, FrameEncoder, Object, PackStoreError};
use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::frames::{Decoder, ReadObject, read_objects};
use super::packer::{Packer, check};
use crate::error::HubError;
use crate::rate_limit::Subject;
use crate::state::Hub;

/// The size of the bases and of the resolved objects in memory at once, in bytes.
const BATCH_LENGTH: usize = 4 << 20;

/// Returns where the delta bases are stored. The upload may refer to all of them.
///
/// Knowing a hash gives no access: the answer is the same for an unknown base and for another user's.
pub(super) async fn find_bases(
    hub: &Hub,
    scope: UploadScope,
    deltas: &[Frame],
) -> Result<HashMap<ObjectHash, Location>, HubError> {
    let bases: BTreeSet<ObjectHash> = deltas.iter().filter_map(Frame::base).collect();
    let bases: Vec<ObjectHash> = bases.into_iter().collect();
    let usable = hub.database.usable(scope, &bases).await?;
    let mut found = HashMap::with_capacity(bases.len());
    let mut missing = Vec::new();
    for (base, known) in bases.into_iter().zip(usable) {
        match known {
            Some(known) => {
                found.insert(base, known.location);
            }
            None => missing.push(base),
        }
    }
    match missing.first() {
        None => Ok(found),
        Some(first) => Err(HubError::NoBase {
            count: missing.len(),
            first: *first,
        }),
    }
}

/// Verifies the objects of deltas, and adds those that are not `known` yet to packs.
pub(super) async fn resolve_deltas(
    hub: &Hub,
    scope: UploadScope,
    deltas: Vec<Frame>,
    bases: HashMap<ObjectHash, Location>,
    mut known: HashSet<ObjectHash>,
    packer: &mut Packer<'_>,
) -> Result<(), HubError> {
    if deltas.is_empty() {
        return Ok(());
    }
    let subject = Subject::User(scope.user);
    let _turn = hub.turns.resolving.take(&subject, 1).await?;
    let mut rest = deltas.as_slice();
    while !rest.is_empty() {
        let mut length = 0;
        let fitting = rest.iter().take_while(|delta| {
            let base = delta.base().and_then(|base| bases.get(&base));
            length += delta.raw_length() + base.map_or(0, |base| base.raw_length as usize);
            length <= BATCH_LENGTH
        });
        let (batch, after) = rest.split_at(fitting.count().max(1));
        rest = after;
        let wanted: BTreeSet<ObjectHash> = batch.iter().filter_map(Frame::base).collect();
        let wanted = wanted
            .iter()
            .filter_map(|base| Some((*base, *bases.get(base)?)));
        let wanted: Vec<(ObjectHash, Location)> = wanted.collect();
        let read = read_objects(&hub.packs, &wanted).await?;
        let batch = batch.to_vec();
        let resolved = hub.background.run(move || {
            let bases = decode_bases(&read, &wanted)?;
            resolve_batch(&batch, &bases, known)
        });
        let frames;
        (frames, known) = resolved.await??;
        for frame in &frames {
            packer.add(frame).await?;
        }
    }
    Ok(())
}

fn decode_bases(
    read: &[ReadObject],
    wanted: &[(ObjectHash, Location)],
) -> Result<HashMap<ObjectHash, Object>, HubError> {
    let mut decoder = Decoder::default();
    let mut yielder = Yielder::default();
    let mut bases = HashMap::with_capacity(read.len());
    for (read, (hash, location)) in read.iter().zip(wanted) {
        // The object was whole when the hub accepted it, so damage is now the hub's fault.
        let base = decoder.object(read).map_err(|_| PackStoreError::Damaged {
            pack: location.pack,
        })?;
        bases.insert(*hash, base);
        yielder.yield_if_due();
    }
    Ok(bases)
}

/// Returns frames of the new objects, and all objects that are known after this batch.
fn resolve_batch(
    deltas: &[Frame],
    bases: &HashMap<ObjectHash, Object>,
    mut known: HashSet<ObjectHash>,
) -> Result<(Vec<Frame>, HashSet<ObjectHash>), HubError> {
    let mut decoder = FrameDecoder::default();
    let mut encoder = FrameEncoder::default();
    let mut yielder = Yielder::default();
    let mut frames = Vec::new();
    for delta in deltas {
        let base = delta.base().and_then(|base| bases.get(&base));
        let object = match base {
            Some(base) => decoder.object_against(delta, base)?,
            None => decoder.object(delta)?,
        };
        check(delta, object.bytes())?;
        if known.insert(object.hash()) {
            frames.push(encoder.encode(&object));
        }
        yielder.yield_if_due();
    }
    Ok((frames, known))
}
