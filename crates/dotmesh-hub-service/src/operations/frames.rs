//! Reads frames from several packs.

use std::collections::BTreeMap;

use dotmesh_hub_db::objects::Location;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Frame, FrameRange, PackId, PackStore, PackStoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};

const PACKS_AT_ONCE: usize = 4;

/// Returns the frames of objects, in the order of `wanted`. Each frame carries the hash that was asked for. The caller
/// must verify its bytes against that hash.
pub(crate) async fn read_frames(
    packs: &PackStore,
    wanted: &[(ObjectHash, Location)],
) -> Result<Vec<Frame>, PackStoreError> {
    let mut by_pack: BTreeMap<PackId, Vec<(usize, FrameRange)>> = BTreeMap::new();
    for (n, (_, location)) in wanted.iter().enumerate() {
        by_pack
            .entry(location.pack)
            .or_default()
            .push((n, location.range));
    }
    let mut frames: Vec<(usize, Frame)> = stream::iter(by_pack)
        .map(async |(pack, places)| {
            let ranges: Vec<FrameRange> = places.iter().map(|(_, range)| *range).collect();
            let read = packs.read(pack, &ranges).await?;
            let mut frames = Vec::with_capacity(read.len());
            for ((n, _), stored) in places.into_iter().zip(&read) {
                let frame = Frame::parse(stored)
                    .ok()
                    .filter(|frame| frame.hash() == wanted[n].0)
                    .ok_or(PackStoreError::Damaged { pack })?;
                frames.push((n, frame));
            }
            Ok(frames)
        })
        .buffer_unordered(PACKS_AT_ONCE)
        .try_concat()
        .await?;
    frames.sort_by_key(|(n, _)| *n);
    Ok(frames.into_iter().map(|(_, frame)| frame).collect())
}
