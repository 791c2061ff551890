//! The walk over all that pushed commits refer to: whether everything is there and may be referred to.

use std::collections::BTreeSet;

use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameDecoder, Kind, PackStore, PackStoreError, references};

use super::frames::read_frames;
use crate::database::objects::Scope;
use crate::database::walk::{PendingNode, Walk};
use crate::error::HubError;
use crate::state::Hub;

/// Nodes read at once.
const NODES: usize = 256;

/// Nodes that wait to be read. Those of a real tree are few; only one made to use up memory has so many.
const MAX_PENDING: usize = 1 << 19;

/// Bytes of nodes in memory at once; a single one may be larger than its share.
const BATCH_LENGTH: u64 = 8 << 20;

/// Hashes looked up at once.
const HASHES: usize = 8192;

/// After so many missing objects the walk has seen enough.
const MAX_MISSING: usize = 1000;

/// Missing objects that the answer names.
const SHOWN: usize = 3;

/// Walks from the roots over all that is not yet the dot's, and leaves in `walk` what has to become so.
///
/// What is the dot's already is not entered: with an object, a dot has all that it refers to.
pub async fn walk_closure(
    hub: &Hub,
    walk: &mut Walk,
    scope: Scope,
    roots: impl IntoIterator<Item = ObjectHash>,
) -> Result<(), HubError> {
    let mut missing = BTreeSet::new();
    let roots: Vec<_> = roots.into_iter().map(|hash| (Kind::Root, hash)).collect();
    reach(hub, walk, scope, &roots, &mut missing).await?;
    while missing.len() < MAX_MISSING && walk.pending() > 0 {
        let nodes = walk.take(NODES, BATCH_LENGTH);
        let referred = read_references(&hub.packs, &nodes).await?;
        reach(hub, walk, scope, &referred, &mut missing).await?;
        if walk.pending() > MAX_PENDING {
            let what = "nodes of a tree that wait to be read";
            let limit = MAX_PENDING;
            return Err(HubError::TooLarge { what, limit });
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(HubError::Incomplete {
        count: missing.len(),
        capped: missing.len() >= MAX_MISSING,
        first: missing.into_iter().take(SHOWN).collect(),
    })
}

async fn reach(
    hub: &Hub,
    walk: &mut Walk,
    scope: Scope,
    referred: &[(Kind, ObjectHash)],
    missing: &mut BTreeSet<ObjectHash>,
) -> Result<(), HubError> {
    for referred in referred.chunks(HASHES) {
        let hashes: Vec<ObjectHash> = referred.iter().map(|(_, hash)| *hash).collect();
        let usable = hub.database.usable(scope, &hashes).await?;
        for ((kind, hash), known) in referred.iter().zip(usable) {
            match known {
                None => {
                    missing.insert(*hash);
                }
                Some(known) if known.kind != *kind => {
                    return Err(HubError::WrongKind { hash: *hash });
                }
                Some(known) if known.member => {}
                Some(known) => walk.reach(*hash, &known),
            }
        }
    }
    Ok(())
}

/// What the nodes refer to, each object once. Their bytes are verified again: what a push relies on must
/// not be what a failing disk made of it.
async fn read_references(
    packs: &PackStore,
    nodes: &[PendingNode],
) -> Result<Vec<(Kind, ObjectHash)>, HubError> {
    let wanted: Vec<_> = nodes
        .iter()
        .map(|node| (node.hash, node.location))
        .collect();
    let frames = read_frames(packs, &wanted).await?;
    tokio::task::spawn_blocking(move || {
        let mut referred = Vec::new();
        let mut decoder = FrameDecoder::default();
        for (frame, (hash, location)) in frames.iter().zip(wanted) {
            // It was whole when it was taken: now the fault is the hub's.
            let object = decoder.object(frame).map_err(|_| PackStoreError::Damaged {
                pack: location.pack,
            })?;
            let found = references(object.kind(), object.bytes())
                .map_err(|source| HubError::Node { hash, source })?;
            referred.extend(found);
        }
        referred.sort_unstable();
        referred.dedup();
        Ok(referred)
    })
    .await?
}
