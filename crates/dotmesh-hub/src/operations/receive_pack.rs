//! Taking objects of a push: verified, then in safety, then on record.

use std::collections::HashSet;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Frame, FrameDecoder, FrameRange, PackReader, PackWriter, references};

use crate::database::ids::{UploadId, UserId};
use crate::database::objects::NewObject;
use crate::error::HubError;
use crate::state::Hub;

/// Takes a pack. When this returns, its objects outlive a power failure, and the upload may refer to them.
pub async fn receive_pack(
    hub: &Hub,
    owner: UserId,
    upload: UploadId,
    pack: Bytes,
) -> Result<(), HubError> {
    let frames = tokio::task::spawn_blocking({
        let pack = pack.clone();
        move || verify(pack)
    })
    .await??;
    let sent: Vec<ObjectHash> = frames.iter().map(Frame::hash).collect();
    let stored: HashSet<ObjectHash> = hub
        .database
        .stored(owner, &sent)
        .await?
        .into_iter()
        .collect();
    let (objects, pack) = only_new(&frames, &stored);
    if objects.is_empty() {
        return hub
            .database
            .add_objects(owner, upload, None, &sent)
            .await
            .map_err(Into::into);
    }
    // First the bytes, then the rows: a row always has its bytes.
    let pack = hub.packs.put(pack).await?;
    hub.database
        .add_objects(owner, upload, Some((pack, &objects)), &sent)
        .await?;
    Ok(())
}

/// The frames of a pack, each object once. Not one is taken unless all are whole.
fn verify(pack: Bytes) -> Result<Vec<Frame>, HubError> {
    let mut seen = HashSet::new();
    let mut frames = Vec::new();
    let mut decoder = FrameDecoder::default();
    for frame in PackReader::new(pack)? {
        let frame = frame?;
        let object = decoder.object(&frame)?;
        // A node that cannot be read could never be finished with: better said at once.
        references(object.kind(), object.bytes()).map_err(|source| HubError::Node {
            hash: object.hash(),
            source,
        })?;
        if seen.insert(object.hash()) {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// A pack of what the namespace has not. What was sent twice, or by others before, takes no space again.
fn only_new(frames: &[Frame], stored: &HashSet<ObjectHash>) -> (Vec<NewObject>, Bytes) {
    let mut writer = PackWriter::default();
    let mut objects = Vec::new();
    for frame in frames
        .iter()
        .filter(|frame| !stored.contains(&frame.hash()))
    {
        let offset = writer.push(frame);
        objects.push(NewObject {
            hash: frame.hash(),
            kind: frame.kind(),
            // A pack is shorter than 4 GiB by far.
            range: FrameRange {
                offset: offset as u32,
                length: frame.stored().len() as u32,
            },
            raw_length: frame.raw_length(),
        });
    }
    (objects, writer.finish())
}
