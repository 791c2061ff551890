//! The walk over all that pushed commits refer to: whether everything is there and may be referred to.

use std::collections::{BTreeSet, HashSet};

use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameDecoder, Kind, PackStore, PackStoreError, references};

use super::frames::read_frames;
use crate::database::objects::{Known, Scope};
use crate::database::walk::{PendingNode, Walk};
use crate::error::HubError;

/// Nodes fetched from the database at once.
const NODES: u32 = 1024;

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
    packs: &PackStore,
    walk: &mut Walk,
    scope: Scope,
    roots: impl IntoIterator<Item = ObjectHash>,
) -> Result<(), HubError> {
    let mut missing = BTreeSet::new();
    let roots: Vec<_> = roots.into_iter().map(|hash| (Kind::Root, hash)).collect();
    reach(walk, scope, &roots, &mut missing).await?;
    while missing.len() < MAX_MISSING {
        let mut nodes = walk.pending(NODES).await?;
        if nodes.is_empty() {
            break;
        }
        let mut length = 0;
        let fitting = nodes.iter().take_while(|node| {
            length += node.location.raw_length;
            length <= BATCH_LENGTH
        });
        let fitting = fitting.count().max(1);
        nodes.truncate(fitting);
        let referred = read_references(packs, &nodes).await?;
        for referred in referred.chunks(HASHES) {
            reach(walk, scope, referred, &mut missing).await?;
        }
        walk.done(&nodes).await?;
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
    walk: &mut Walk,
    scope: Scope,
    referred: &[(Kind, ObjectHash)],
    missing: &mut BTreeSet<ObjectHash>,
) -> Result<(), HubError> {
    let hashes: Vec<ObjectHash> = referred.iter().map(|(_, hash)| *hash).collect();
    let usable = walk.usable(scope, &hashes).await?;
    let mut reached: Vec<Known> = Vec::new();
    for (kind, hash) in referred {
        match usable.get(hash) {
            None => {
                missing.insert(*hash);
            }
            Some(known) if known.kind != *kind => {
                return Err(HubError::WrongKind { hash: *hash });
            }
            Some(known) if known.member => {}
            Some(known) => reached.push(*known),
        }
    }
    walk.reach(&reached).await?;
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
        let mut seen = HashSet::new();
        let mut referred = Vec::new();
        let mut decoder = FrameDecoder::default();
        for (frame, (hash, location)) in frames.iter().zip(wanted) {
            // It was whole when it was taken: now the fault is the hub's.
            let object = decoder.object(frame).map_err(|_| PackStoreError::Damaged {
                pack: location.pack,
            })?;
            let found = references(object.kind(), object.bytes())
                .map_err(|source| HubError::Node { hash, source })?;
            referred.extend(
                found
                    .into_iter()
                    .filter(|reference| seen.insert(*reference)),
            );
        }
        Ok(referred)
    })
    .await?
}
