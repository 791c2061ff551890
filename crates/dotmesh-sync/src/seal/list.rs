//! The list of a file's segments in the base, read node by node as far as it is needed.
//!
//! A cursor goes through it from the front, beside the new list that is being made: it hands over what did not
//! change, whole nodes where it can, and tells where the old segments began.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileChild, FileContent, FileNode, Kind, Object, Segment};

use super::SealError;
use super::base::BaseTree;
use super::content::Segments;

/// So many nodes are fetched together.
const NODES: usize = 256;

/// So many old segments and leaves are remembered behind the cursor.
const BEHIND: usize = 32;

pub(super) struct BaseList<'a> {
    tree: Option<&'a BaseTree>,
    /// The nodes on the way to the cursor.
    open: Vec<OpenNode>,
    /// Where the item at the cursor begins.
    at: u64,
    fetched: HashMap<ObjectHash, Bytes>,
    passed: VecDeque<(u64, Segment)>,
    leaves: VecDeque<(u64, Object)>,
}

/// A node, and which of its items the cursor is at.
struct OpenNode {
    node: FileNode,
    next: usize,
}

#[derive(Clone, Copy)]
enum Item {
    Segment(Segment),
    Node { level: u8, child: FileChild },
}

impl Item {
    fn length(self) -> u64 {
        match self {
            Self::Segment(segment) => segment.length(),
            Self::Node { child, .. } => child.length,
        }
    }
}

/// A chunk of the base, by its place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct OldChunk {
    pub(super) hash: ObjectHash,
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl<'a> BaseList<'a> {
    /// A list without segments.
    pub(super) fn empty() -> Self {
        Self {
            tree: None,
            open: Vec::new(),
            at: 0,
            fetched: HashMap::new(),
            passed: VecDeque::new(),
            leaves: VecDeque::new(),
        }
    }

    pub(super) fn new(
        tree: &'a BaseTree,
        size: u64,
        content: FileContent,
    ) -> Result<Self, SealError> {
        let mut list = Self::empty();
        list.tree = Some(tree);
        let only = match content {
            FileContent::Empty => None,
            FileContent::Hole => Some(Segment::Hole { length: size }),
            FileContent::Chunk(hash) => {
                let length = u32::try_from(size).unwrap_or(u32::MAX);
                Some(Segment::Data { hash, length })
            }
            FileContent::Node(top) => {
                list.enter(top, &[])?;
                None
            }
        };
        if let Some(segment) = only {
            let node = FileNode::Leaf(vec![segment]);
            list.open.push(OpenNode { node, next: 0 });
        }
        Ok(list)
    }

    /// Hands over the segments from the cursor on that end before `limit`, and returns where the next begins.
    pub(super) fn copy_before(
        &mut self,
        limit: u64,
        into: &mut Segments,
    ) -> Result<u64, SealError> {
        while let Some(item) = self.item() {
            let ends_before = self.at + item.length() < limit;
            match item {
                Item::Segment(_) if !ends_before => break,
                Item::Segment(segment) => {
                    into.push(segment);
                    self.advance(item);
                }
                Item::Node { level, child } => {
                    if ends_before && into.take_over(level, child) {
                        self.advance(item);
                    } else {
                        self.enter_next()?;
                    }
                }
            }
        }
        Ok(self.at)
    }

    /// Moves the cursor to the segment that ends after `target`, and says whether it begins there.
    pub(super) fn seek(&mut self, target: u64) -> Result<bool, SealError> {
        while let Some(item) = self.item() {
            if self.at >= target {
                return Ok(self.at == target);
            }
            if self.at + item.length() <= target {
                self.advance(item);
            } else if let Item::Segment(_) = item {
                return Ok(false);
            } else {
                self.enter_next()?;
            }
        }
        Ok(false)
    }

    /// The old chunk that shares most of this range, of those that the cursor has passed or is at.
    pub(super) fn like(&self, start: u64, end: u64) -> Option<OldChunk> {
        let here = match self.item() {
            Some(Item::Segment(segment)) => Some((self.at, segment)),
            _ => None,
        };
        let shared = |(offset, segment): &(u64, Segment)| {
            let end = end.min(offset + segment.length());
            end.saturating_sub(start.max(*offset))
        };
        let chunks = self.passed.iter().copied().chain(here);
        let (offset, segment) = chunks
            .filter(|old| matches!(old.1, Segment::Data { .. }) && shared(old) > 0)
            .max_by_key(shared)?;
        match segment {
            Segment::Data { hash, length } => Some(OldChunk {
                hash,
                offset,
                length,
            }),
            Segment::Hole { .. } => None,
        }
    }

    /// The leaf of the old list that was entered last and begins before `end`.
    pub(super) fn like_leaf(&self, end: u64) -> Option<&Object> {
        let mut leaves = self.leaves.iter().rev();
        leaves.find(|(start, _)| *start < end).map(|(_, leaf)| leaf)
    }

    fn item(&self) -> Option<Item> {
        let OpenNode { node, next } = self.open.last()?;
        match node {
            FileNode::Leaf(segments) => segments.get(*next).map(|segment| Item::Segment(*segment)),
            FileNode::Inner { level, children } => children.get(*next).map(|child| Item::Node {
                level: level - 1,
                child: *child,
            }),
        }
    }

    /// Goes on behind an item; leaves the nodes that end there.
    fn advance(&mut self, item: Item) {
        if let Item::Segment(segment) = item {
            if self.passed.len() == BEHIND {
                self.passed.pop_front();
            }
            self.passed.push_back((self.at, segment));
        }
        self.at += item.length();
        while let Some(node) = self.open.last_mut() {
            node.next += 1;
            let items = match &node.node {
                FileNode::Leaf(segments) => segments.len(),
                FileNode::Inner { children, .. } => children.len(),
            };
            if node.next < items {
                break;
            }
            self.open.pop();
        }
    }

    /// Enters the node at the cursor.
    fn enter_next(&mut self) -> Result<(), SealError> {
        let Some(OpenNode {
            node: FileNode::Inner { level, children },
            next,
        }) = self.open.last()
        else {
            return Ok(());
        };
        // Those after a leaf are soon needed too; a node above leaves stands for hundreds of megabytes.
        let ahead = if *level == 1 { NODES } else { 1 };
        let mut hashes = children[*next..].iter().take(ahead).map(|child| child.hash);
        let Some(first) = hashes.next() else {
            return Ok(());
        };
        let rest: Vec<ObjectHash> = hashes.collect();
        self.enter(first, &rest)
    }

    fn enter(&mut self, hash: ObjectHash, soon: &[ObjectHash]) -> Result<(), SealError> {
        let bytes = match (self.fetched.remove(&hash), self.tree) {
            (Some(bytes), _) => bytes,
            (None, None) => return Err(SealError::BaseMissing { hash }),
            (None, Some(tree)) => {
                let wanted: Vec<ObjectHash> = [hash].iter().chain(soon).copied().collect();
                self.fetched = tree.file_nodes(&wanted)?;
                let bytes = self.fetched.remove(&hash);
                bytes.ok_or(SealError::BaseMissing { hash })?
            }
        };
        let node =
            FileNode::decode(&bytes).map_err(|source| SealError::BaseMalformed { hash, source })?;
        if node.level() == 0 {
            if self.leaves.len() == BEHIND {
                self.leaves.pop_front();
            }
            let leaf = Object::new(Kind::FileNode, bytes);
            self.leaves.push_back((self.at, leaf));
        }
        self.open.push(OpenNode { node, next: 0 });
        Ok(())
    }
}
