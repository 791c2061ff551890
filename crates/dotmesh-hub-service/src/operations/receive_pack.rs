//! Receives a pack of a push: it verifies the objects, stores them, and then records them in the database.

use std::time::Duration;

use bytes::Bytes;
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::ids::ObjectId;
use dotmesh_hub_db::objects::{NewObject, UploadScope};
use dotmesh_model::{DotName, ObjectHash};
use dotmesh_store::polite::Yielder;
use dotmesh_store::{Frame, FrameDecoder, PackReader};

use super::packer::{Packer, check, new_object};
use super::resolve_deltas::{find_bases, resolve_deltas};
use crate::error::HubError;
use crate::state::Hub;

/// How often the pack is processed again if objects that it relies on are collected as garbage.
const ATTEMPTS: u32 = 40;

/// The pause before the next attempt, so that the collector can finish with a file.
const PAUSE: Duration = Duration::from_millis(250);

/// Receives a pack. When this returns, the objects survive a power failure, and the upload may refer to them.
pub async fn receive_pack(
    hub: &Hub,
    dot: &DotName,
    scope: UploadScope,
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

async fn attempt(hub: &Hub, scope: UploadScope, pack: Bytes) -> Result<(), HubError> {
    let verified = hub.background.run({
        let pack = pack.clone();
        move || verify(pack)
    });
    let Verified { objects, deltas } = verified.await??;
    // Check the delta bases before anything is stored. A push that must send the pack again then leaves nothing behind.
    let usage = hub.database.usage(scope.owner, hub.settings.quota).await?;
    let is_own = scope.owner == scope.user;
    let bases = find_bases(hub, scope, &deltas).await?;

    let deletions = hub.database.deletions(hub.clock.now()).await?;
    let mut again = Vec::new();
    let objects = only_new(hub, scope, objects, &mut again).await?;
    let mut packer = Packer::new(&hub.packs, &usage, is_own);
    packer.add_from(pack, objects).await?;

    let hashes: Vec<ObjectHash> = deltas.iter().map(Frame::hash).collect();
    let stored = hub.database.stored(scope.owner, &hashes).await?;
    again.extend(stored.iter().flatten());
    let known = hashes.iter().zip(&stored);
    let known = known.filter_map(|(hash, stored)| stored.and(Some(*hash)));
    resolve_deltas(hub, scope, deltas, bases, known.collect(), &mut packer).await?;

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
    let mut yielder = Yielder::default();
    for frame in PackReader::new(pack)? {
        let frame = frame?;
        if frame.base().is_some() {
            deltas.push(frame);
        } else {
            check(&frame, decoder.verify(&frame)?)?;
            objects.push(new_object(&frame, frame.offset()));
        }
        yielder.yield_if_due();
    }
    objects.sort_unstable_by_key(|object: &NewObject| object.hash);
    objects.dedup_by_key(|object| object.hash);
    Ok(Verified { objects, deltas })
}

/// Leaves out the objects that the namespace has already, so that they take no space again.
async fn only_new(
    hub: &Hub,
    scope: UploadScope,
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
