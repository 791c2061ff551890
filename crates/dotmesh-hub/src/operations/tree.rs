//! Reads the content of a commit: its folders and files, its differences from another commit, and statistics.
//!
//! Everything here reads objects of one dot and trusts none of them. The hub checks on a push that references are
//! complete, but not that several tree pages or file pages agree with each other. So the readers check this.

pub mod archive;
pub mod content;
pub mod diff;
pub mod entries;
pub mod facts;
pub mod file_type;
pub mod growth;
pub mod path;
pub mod renames;
pub mod resolve;
pub mod size_history;
mod tar_header;
pub mod text_diff;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileNode, FrameDecoder, InvalidNode, Kind, PackStoreError, Root, TreeNode};

use super::frames::read_frames;
use crate::database::ids::{DotId, UserId};
use crate::error::HubError;
use crate::gate::Share;
use crate::state::Hub;

pub use path::TreePath;

/// Why the content of a commit cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The commit has no entry at the path.
    #[error("there is no {path} in this commit")]
    NoSuchPath { path: TreePath },
    /// The path is not a folder, but a folder was requested.
    #[error("{path} is not a folder")]
    NotAFolder { path: TreePath },
    /// The path is not a file, but a file was requested.
    #[error("{path} is not a file")]
    NotAFile { path: TreePath },
    /// The text is not a valid path.
    #[error("the address has no path that a file can have")]
    BadPath,
    /// The pushed objects contradict each other.
    #[error("the commit cannot be read: its object {hash} is not what others say of it")]
    Inconsistent { hash: ObjectHash },
    /// The dot should have the object.
    #[error("the object {hash} is missing")]
    Missing { hash: ObjectHash },
    /// The object was valid when the hub accepted it.
    #[error("the stored object {hash} is malformed")]
    Malformed {
        hash: ObjectHash,
        #[source]
        source: InvalidNode,
    },
}

/// Reads objects of one dot. Knowing a hash gives no access: only objects of this dot are found. Cheap to clone.
#[derive(Clone)]
pub struct TreeReader {
    hub: Hub,
    share: Share,
    owner: UserId,
    dot: DotId,
}

impl TreeReader {
    /// Creates a reader. The caller must have checked that the dot may be read. Decompression counts against `share`.
    pub fn new(hub: &Hub, share: Share, owner: UserId, dot: DotId) -> Self {
        Self {
            hub: hub.clone(),
            share,
            owner,
            dot,
        }
    }

    /// Returns the share of CPU work that reading uses.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Returns a commit's root directory.
    pub async fn root(&self, root: ObjectHash) -> Result<Root, HubError> {
        self.node(Kind::Root, root, Root::decode).await
    }

    async fn tree_node(&self, hash: ObjectHash) -> Result<TreeNode, HubError> {
        self.node(Kind::TreeNode, hash, TreeNode::decode).await
    }

    async fn tree_nodes(&self, hashes: &[ObjectHash]) -> Result<Vec<TreeNode>, HubError> {
        self.nodes(Kind::TreeNode, hashes, TreeNode::decode).await
    }

    async fn file_node(&self, hash: ObjectHash) -> Result<FileNode, HubError> {
        self.node(Kind::FileNode, hash, FileNode::decode).await
    }

    async fn file_nodes(&self, hashes: &[ObjectHash]) -> Result<Vec<FileNode>, HubError> {
        self.nodes(Kind::FileNode, hashes, FileNode::decode).await
    }

    async fn chunks(&self, hashes: &[ObjectHash]) -> Result<Vec<Bytes>, HubError> {
        self.objects(Kind::Chunk, hashes, |_, bytes| Ok(bytes))
            .await
    }

    async fn node<T: Send + 'static>(
        &self,
        kind: Kind,
        hash: ObjectHash,
        decode: fn(&[u8]) -> Result<T, InvalidNode>,
    ) -> Result<T, HubError> {
        let mut nodes = self.nodes(kind, &[hash], decode).await?;
        Ok(nodes.pop().ok_or(TreeError::Missing { hash })?)
    }

    async fn nodes<T: Send + 'static>(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
        decode: fn(&[u8]) -> Result<T, InvalidNode>,
    ) -> Result<Vec<T>, HubError> {
        self.objects(kind, hashes, move |hash, bytes| {
            decode(&bytes).map_err(|source| TreeError::Malformed { hash, source })
        })
        .await
    }

    /// Returns objects in the order of `hashes`. Each is verified against its hash.
    async fn objects<T: Send + 'static>(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
        decode: impl Fn(ObjectHash, Bytes) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<Vec<T>, HubError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let database = &self.hub.database;
        let located = database.locate(self.owner, self.dot, hashes).await?;
        let wanted: Vec<_> = hashes
            .iter()
            .zip(located)
            .map(|(hash, location)| {
                Ok((*hash, location.ok_or(TreeError::Missing { hash: *hash })?))
            })
            .collect::<Result<_, TreeError>>()?;
        let frames = read_frames(&self.hub.packs, &wanted).await?;
        let decoding = self.share.run(move |_| {
            let mut decoder = FrameDecoder::default();
            let mut decoded = Vec::with_capacity(frames.len());
            for (frame, (hash, location)) in frames.iter().zip(wanted) {
                let pack = location.pack;
                let object = decoder
                    .object(frame)
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
