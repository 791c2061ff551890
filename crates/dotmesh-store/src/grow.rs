//! How long lists become trees of nodes whose boundaries depend on their content alone, so that a change
//! in one place rewrites the nodes above that place and no others.

use dotmesh_model::ObjectHash;

use crate::error::InvalidNode;
use crate::object::{Kind, Object};

/// The highest level of a node. With the smallest nodes that a boundary makes, no list needs more.
pub const MAX_LEVEL: u8 = 15;

/// A node's items may not grow beyond this many encoded bytes, unless it has one item only.
pub const MAX_ITEMS_LENGTH: usize = 256 << 10;

/// Where a node ends: after an item whose word has its lowest `bits` bits zero, not before `min` items and
/// at the latest after `max`.
#[derive(Debug, Clone, Copy)]
pub struct Boundary {
    pub(crate) min: usize,
    pub(crate) bits: u32,
    pub(crate) max: usize,
}

impl Boundary {
    fn ends_after(&self, count: usize, word: Option<u32>) -> bool {
        count >= self.max
            || (count >= self.min && word.is_some_and(|word| word.trailing_zeros() >= self.bits))
    }

    /// Refuses a node that goes on after an item where it must end.
    pub(crate) fn check<T>(
        &self,
        items: &[T],
        word: impl Fn(&T) -> Option<u32>,
    ) -> Result<(), InvalidNode> {
        let Some((_, before)) = items.split_last() else {
            return Err(InvalidNode::BadBoundary);
        };
        let early = before
            .iter()
            .enumerate()
            .any(|(i, item)| i + 1 >= self.min && self.ends_after(i + 1, word(item)));
        if early {
            Err(InvalidNode::BadBoundary)
        } else {
            Ok(())
        }
    }
}

/// The word of an item that has a hash: its first four bytes.
pub(crate) fn word(hash: ObjectHash) -> u32 {
    let bytes = hash
        .as_bytes()
        .first_chunk()
        .expect("a hash has more than four bytes");
    u32::from_le_bytes(*bytes)
}

/// A kind of list that grows into a tree.
pub trait Spine {
    /// An item of the list.
    type Leaf;
    /// A node, as the node above it lists it.
    type Child;
    /// The kind of the nodes.
    const KIND: Kind;
    /// Where nodes end.
    const BOUNDARY: Boundary;
    /// What decides whether a leaf ends after the item.
    fn leaf_word(leaf: &Self::Leaf) -> Option<u32>;
    /// What decides whether an inner node ends after the child.
    fn child_word(child: &Self::Child) -> Option<u32>;
    /// The item's encoded length.
    fn leaf_length(leaf: &Self::Leaf) -> usize;
    /// A leaf's bytes, and how the node above lists it.
    fn leaf_node(leaves: Vec<Self::Leaf>) -> (Vec<u8>, impl FnOnce(ObjectHash) -> Self::Child);
    /// An inner node's bytes, and how the node above lists it.
    fn inner_node(
        level: u8,
        children: Vec<Self::Child>,
    ) -> (Vec<u8>, impl FnOnce(ObjectHash) -> Self::Child);
    /// The child's hash.
    fn child_hash(child: &Self::Child) -> ObjectHash;
}

/// Takes the items of a list in order, and gives out the nodes as they are complete.
pub struct Grower<S: Spine> {
    leaves: Vec<S::Leaf>,
    length: usize,
    /// `levels[i]` gathers the children of the next node of level `i + 1`.
    levels: Vec<Vec<S::Child>>,
    /// For each of `levels`, whether it has ended a node before.
    ended: Vec<bool>,
    complete: Vec<Object>,
}

impl<S: Spine> Default for Grower<S> {
    fn default() -> Self {
        Self {
            leaves: Vec::new(),
            length: 0,
            levels: Vec::new(),
            ended: Vec::new(),
            complete: Vec::new(),
        }
    }
}

impl<S: Spine> Grower<S> {
    /// Adds the next item.
    pub fn push(&mut self, leaf: S::Leaf) {
        let length = S::leaf_length(&leaf);
        if !self.leaves.is_empty() && self.length + length > MAX_ITEMS_LENGTH {
            self.end_leaf();
        }
        let word = S::leaf_word(&leaf);
        self.length += length;
        self.leaves.push(leaf);
        if S::BOUNDARY.ends_after(self.leaves.len(), word) {
            self.end_leaf();
        }
    }

    /// Whether a node of this level that is taken over as it is may come next: nothing is begun below it.
    pub fn is_at_boundary(&self, level: u8) -> bool {
        let below = self.levels.iter().take(usize::from(level));
        self.leaves.is_empty() && below.into_iter().all(Vec::is_empty)
    }

    /// Adds a whole node of another list of the kind, where [`Self::is_at_boundary`] allows it. In that list it must
    /// not be the last of its level, unless it is the last here too: a last node ends where the list does.
    pub fn push_node(&mut self, level: u8, child: S::Child) {
        let at = usize::from(level);
        while self.levels.len() <= at {
            self.levels.push(Vec::new());
            self.ended.push(false);
        }
        // The levels below have ended nodes, in there.
        self.ended[..at].fill(true);
        self.add_to_level(at, child);
    }

    /// The nodes that were completed since the last call, children before parents.
    pub fn take_complete(&mut self) -> Vec<Object> {
        std::mem::take(&mut self.complete)
    }

    /// The top node's hash, and the nodes that remain, children before parents.
    pub fn finish(mut self) -> (ObjectHash, Vec<Object>) {
        if self.levels.is_empty() {
            // Also the one leaf of an empty list.
            let (bytes, _) = S::leaf_node(self.leaves);
            let node = Object::new(S::KIND, bytes);
            let hash = node.hash();
            self.complete.push(node);
            return (hash, self.complete);
        }
        if !self.leaves.is_empty() {
            self.end_leaf();
        }
        let mut at = 0;
        loop {
            let top = at + 1 == self.levels.len() && !self.ended[at];
            if top && let [only] = &self.levels[at][..] {
                // A node above a single one would say nothing.
                return (S::child_hash(only), self.complete);
            }
            if !self.levels[at].is_empty() {
                self.end_inner(at);
            }
            at += 1;
        }
    }

    fn end_leaf(&mut self) {
        self.length = 0;
        let (bytes, child) = S::leaf_node(std::mem::take(&mut self.leaves));
        self.add_child(0, bytes, child);
    }

    fn end_inner(&mut self, at: usize) {
        let level = u8::try_from(at + 1).expect("a list of 2^64 items has fewer levels");
        let (bytes, child) = S::inner_node(level, std::mem::take(&mut self.levels[at]));
        self.ended[at] = true;
        self.add_child(at + 1, bytes, child);
    }

    fn add_child(&mut self, at: usize, bytes: Vec<u8>, child: impl FnOnce(ObjectHash) -> S::Child) {
        let node = Object::new(S::KIND, bytes);
        let child = child(node.hash());
        self.complete.push(node);
        if at == self.levels.len() {
            self.levels.push(Vec::new());
            self.ended.push(false);
        }
        self.add_to_level(at, child);
    }

    fn add_to_level(&mut self, at: usize, child: S::Child) {
        let word = S::child_word(&child);
        self.levels[at].push(child);
        if S::BOUNDARY.ends_after(self.levels[at].len(), word) {
            self.end_inner(at);
        }
    }
}
