//! Which objects an object needs: how a walk over a commit's closure goes on.

use dotmesh_model::ObjectHash;

use crate::chunker::MAX_CHUNK;
use crate::error::InvalidNode;
use crate::file_node::{FileNode, Segment};
use crate::object::Kind;
use crate::tree::{FileContent, InodeKind, Node, Root, TreeNode};

/// The objects that a verified object's bytes name, in their order. Validates the object on its own in full;
/// that the levels, counts and sizes of several nodes agree shows when they are read together.
pub fn references(kind: Kind, bytes: &[u8]) -> Result<Vec<(Kind, ObjectHash)>, InvalidNode> {
    match kind {
        Kind::Chunk if (1..=MAX_CHUNK).contains(&bytes.len()) => Ok(Vec::new()),
        Kind::Chunk => Err(InvalidNode::BadLength),
        Kind::Root => Ok(vec![(Kind::TreeNode, Root::decode(bytes)?.tree)]),
        Kind::FileNode => Ok(match FileNode::decode(bytes)? {
            FileNode::Leaf(segments) => segments
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Data { hash, .. } => Some((Kind::Chunk, *hash)),
                    Segment::Hole { .. } => None,
                })
                .collect(),
            FileNode::Inner { children, .. } => children
                .iter()
                .map(|child| (Kind::FileNode, child.hash))
                .collect(),
        }),
        Kind::TreeNode => Ok(match TreeNode::decode(bytes)? {
            TreeNode::Leaf(entries) => entries
                .iter()
                .filter_map(|entry| reference(&entry.node))
                .collect(),
            TreeNode::Inner { children, .. } => children
                .iter()
                .map(|child| (Kind::TreeNode, child.hash))
                .collect(),
        }),
    }
}

fn reference(node: &Node) -> Option<(Kind, ObjectHash)> {
    let Node::Inode(inode) = node else {
        return None;
    };
    match &inode.kind {
        InodeKind::File {
            content: FileContent::Chunk(hash),
            ..
        } => Some((Kind::Chunk, *hash)),
        InodeKind::File {
            content: FileContent::Node(hash),
            ..
        } => Some((Kind::FileNode, *hash)),
        InodeKind::Directory { tree } => Some((Kind::TreeNode, *tree)),
        InodeKind::File { .. } | InodeKind::Symlink { .. } | InodeKind::Fifo => None,
    }
}
