//! Reads the objects of one dot, to browse its commits.

use bytes::Bytes;
use dotmesh_browse::{ReadError, TreeError, TreeReader, TreeSource};
use dotmesh_hub_db::ids::{DotId, UserId};
use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, PackStoreError};

use super::frames::{Decoder, read_objects};
use crate::error::HubError;
use crate::gate::Share;
use crate::state::Hub;

/// The objects of one dot. Knowing a hash gives no access: only objects of this dot are found. Cheap to clone.
#[derive(Clone)]
pub struct ObjectsOfDot {
    hub: Hub,
    share: Share,
    owner: UserId,
    dot: DotId,
}

/// A reader of a dot's commits.
pub type DotReader = TreeReader<ObjectsOfDot>;

/// Creates a reader. The caller must have checked that the dot may be read. Decompression counts against `share`.
pub fn reader(hub: &Hub, share: Share, owner: UserId, dot: DotId) -> DotReader {
    TreeReader::new(ObjectsOfDot {
        hub: hub.clone(),
        share,
        owner,
        dot,
    })
}

impl ObjectsOfDot {
    /// Returns the share of CPU work that reading uses.
    pub fn share(&self) -> &Share {
        &self.share
    }

    async fn read<T: Send + 'static>(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
        decode: impl Fn(ObjectHash, Bytes) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<Vec<T>, HubError> {
        let database = &self.hub.database;
        let located = database.locate(self.owner, self.dot, hashes).await?;
        let wanted: Vec<_> = hashes
            .iter()
            .zip(located)
            .map(|(hash, location)| {
                Ok((*hash, location.ok_or(TreeError::Missing { hash: *hash })?))
            })
            .collect::<Result<_, TreeError>>()?;
        let read = read_objects(&self.hub.packs, &wanted).await?;
        let decoding = self.share.run(move |_| {
            let mut decoder = Decoder::default();
            let mut decoded = Vec::with_capacity(read.len());
            for (read, (hash, location)) in read.iter().zip(wanted) {
                let pack = location.pack;
                let object = decoder
                    .object(read)
                    .map_err(|_| PackStoreError::Damaged { pack })?;
                if object.kind() != kind {
                    return Err(TreeError::Inconsistent { hash }.into());
                }
                decoded.push(decode(hash, object.into_bytes())?);
            }
            Ok(decoded)
        });
        decoding.await?
    }
}

impl TreeSource for ObjectsOfDot {
    type Error = HubError;

    async fn objects<T: Send + 'static>(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
        decode: impl Fn(ObjectHash, Bytes) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<Vec<T>, ReadError<HubError>> {
        let read = self.read(kind, hashes, decode).await;
        read.map_err(|error| match error {
            HubError::Tree(error) => ReadError::Tree(error),
            error => ReadError::Source(error),
        })
    }
}
