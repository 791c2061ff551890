//! Sending objects of a dot.

use bytes::Bytes;
use dotmesh_api::hub::MAX_PACK_LENGTH;
use dotmesh_model::ObjectHash;
use dotmesh_store::PackWriter;

use super::frames::read_frames;
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// A pack of the objects in the order asked: all of them, or as many from the front as a pack takes.
///
/// A hash is no capability: only members of this very dot are found.
pub async fn serve_objects(
    hub: &Hub,
    dot: &OpenDot,
    hashes: &[ObjectHash],
) -> Result<Bytes, HubError> {
    let locations = hub
        .database
        .locate(dot.owner, dot.existing()?, hashes)
        .await?;
    let mut unknown = hashes.iter().filter(|hash| !locations.contains_key(hash));
    if let Some(first) = unknown.next() {
        let count = 1 + unknown.count();
        return Err(HubError::NoSuchObjects {
            dot: dot.name.clone(),
            count,
            first: *first,
        });
    }
    let mut writer = PackWriter::default();
    let mut length = writer.len();
    let wanted: Vec<_> = hashes
        .iter()
        .filter_map(|hash| Some((*hash, *locations.get(hash)?)))
        .take_while(|(_, location)| {
            length += location.range.length as usize;
            length <= MAX_PACK_LENGTH
        })
        .collect();
    let _turn = hub.packs_out.acquire().await;
    for frame in read_frames(&hub.packs, &wanted).await? {
        writer.push(&frame);
    }
    Ok(writer.finish())
}
