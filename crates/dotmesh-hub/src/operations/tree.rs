//! Looking into a commit: its folders and files, how two commits differ, what is in them at all.
//!
//! Everything here reads objects of one dot, and believes none of them: a hub stores what hangs together by
//! hash, so that what several nodes say of each other is checked where they are read together.

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

/// Why a tree cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The commit has nothing there.
    #[error("there is no {path} in this commit")]
    NoSuchPath { path: TreePath },
    /// A folder was asked for.
    #[error("{path} is not a folder")]
    NotAFolder { path: TreePath },
    /// A file was asked for.
    #[error("{path} is not a file")]
    NotAFile { path: TreePath },
    /// No path of a tree.
    #[error("the address contains an invalid file path")]
    BadPath,
    /// What was pushed contradicts itself.
    #[error("the commit cannot be read: its object {hash} contradicts other objects")]
    Inconsistent { hash: ObjectHash },
    /// The dot should have it.
    #[error("the object {hash} is missing")]
    Missing { hash: ObjectHash },
    /// It was in the format when it came.
    #[error("the stored object {hash} is malformed")]
    Malformed {
        hash: ObjectHash,
        #[source]
        source: InvalidNode,
    },
}

/// Reads objects of one dot. A hash is no capability: only members of this very dot are found. Cheap to clone.
#[derive(Clone)]
pub struct TreeReader {
    hub: Hub,
    share: Share,
    owner: UserId,
    dot: DotId,
}

impl TreeReader {
    /// Whoever calls this has seen that the dot may be read. What is read is unpacked in somebody's share.
    pub fn new(hub: &Hub, share: Share, owner: UserId, dot: DotId) -> Self {
        Self {
            hub: hub.clone(),
            share,
            owner,
            dot,
        }
    }

    /// The share that reading takes.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// A commit's root directory.
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

    /// Objects in the order asked, each verified against its hash.
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
