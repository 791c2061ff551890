//! Builds a tree of pages from a long list. The content alone decides where pages end, so a change in one place
//! rewrites only the pages above that place.

use dotmesh_model::ObjectHash;

use crate::error::InvalidObject;
use crate::object::{Kind, Object};

/// The highest level of a page. No list needs more levels, even if all pages have the minimum of items.
pub const MAX_LEVEL: u8 = 15;

/// The most encoded bytes that a page's items may have together, unless it has one item only.
pub const MAX_ITEMS_LENGTH: usize = 256 << 10;

/// Decides where a page ends: after an item whose word has its lowest `bits` bits zero. It never ends before `min`
/// items, except at the end of the list or at [`MAX_ITEMS_LENGTH`]. It always ends after `max` items.
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

    /// Refuses a page that continues after an item where it must end.
    pub(crate) fn check<T>(
        &self,
        items: &[T],
        word: impl Fn(&T) -> Option<u32>,
    ) -> Result<(), InvalidObject> {
        let Some((_, before)) = items.split_last() else {
            return Err(InvalidObject::BadBoundary);
        };
        let early = before
            .iter()
            .enumerate()
            .any(|(i, item)| i + 1 >= self.min && self.ends_after(i + 1, word(item)));
        if early {
            Err(InvalidObject::BadBoundary)
        } else {
            Ok(())
        }
    }
}

/// The word of an item that has a hash: the first four bytes of the hash.
pub(crate) fn word(hash: ObjectHash) -> u32 {
    let bytes = hash
        .as_bytes()
        .first_chunk()
        .expect("a hash has more than four bytes");
    u32::from_le_bytes(*bytes)
}

/// A kind of list that a [`Grower`] builds a tree of.
pub trait Spine {
    /// An item of the list.
    type Leaf;
    /// A page, as its parent page lists it.
    type Child;
    /// The object kind of the pages.
    const KIND: Kind;
    /// Where pages end.
    const BOUNDARY: Boundary;
    /// The word that decides whether a leaf ends after the item.
    fn leaf_word(leaf: &Self::Leaf) -> Option<u32>;
    /// The word that decides whether an inner page ends after the child.
    fn child_word(child: &Self::Child) -> Option<u32>;
    /// The item's encoded length.
    fn leaf_length(leaf: &Self::Leaf) -> usize;
    /// Returns a leaf's bytes, and a function that makes its entry in the parent page.
    fn leaf_page(leaves: Vec<Self::Leaf>) -> (Vec<u8>, impl FnOnce(ObjectHash) -> Self::Child);
    /// Returns an inner page's bytes, and a function that makes its entry in the parent page.
    fn inner_page(
        level: u8,
        children: Vec<Self::Child>,
    ) -> (Vec<u8>, impl FnOnce(ObjectHash) -> Self::Child);
    /// The child's hash.
    fn child_hash(child: &Self::Child) -> ObjectHash;
}

/// Takes the items of a list in order, and returns pages as soon as they are complete.
pub struct Grower<S: Spine> {
    leaves: Vec<S::Leaf>,
    length: usize,
    /// `levels[i]` has the children of the incomplete page of level `i + 1`.
    levels: Vec<Vec<S::Child>>,
    /// `ended[i]` tells whether `levels[i]` has completed a page before.
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

    /// Whether an existing page of this level may be added next: no page below it is incomplete.
    pub fn is_at_boundary(&self, level: u8) -> bool {
        let below = self.levels.iter().take(usize::from(level));
        self.leaves.is_empty() && below.into_iter().all(Vec::is_empty)
    }

    /// Adds an existing page of another list of this kind. [`Self::is_at_boundary`] must allow it. A page that is the
    /// last of its level in the other list must also be the last here, because such a page ends where the list ends.
    pub fn push_page(&mut self, level: u8, child: S::Child) {
        let at = usize::from(level);
        while self.levels.len() <= at {
            self.levels.push(Vec::new());
            self.ended.push(false);
        }
        // The levels below have completed pages, inside the added page.
        self.ended[..at].fill(true);
        self.add_to_level(at, child);
    }

    /// Returns the pages that were completed since the last call, children before parents.
    pub fn take_complete(&mut self) -> Vec<Object> {
        std::mem::take(&mut self.complete)
    }

    /// Returns the top page's hash and the remaining pages, children before parents.
    pub fn finish(mut self) -> (ObjectHash, Vec<Object>) {
        if self.levels.is_empty() {
            // This includes the single leaf of an empty list.
            let (bytes, _) = S::leaf_page(self.leaves);
            let page = Object::new(S::KIND, bytes);
            let hash = page.hash();
            self.complete.push(page);
            return (hash, self.complete);
        }
        if !self.leaves.is_empty() {
            self.end_leaf();
        }
        let mut at = 0;
        loop {
            let top = at + 1 == self.levels.len() && !self.ended[at];
            if top && let [only] = &self.levels[at][..] {
                // A level with a single page has no page above it.
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
        let (bytes, child) = S::leaf_page(std::mem::take(&mut self.leaves));
        self.add_child(0, bytes, child);
    }

    fn end_inner(&mut self, at: usize) {
        let level = u8::try_from(at + 1).expect("a list of 2^64 items has fewer levels");
        let (bytes, child) = S::inner_page(level, std::mem::take(&mut self.levels[at]));
        self.ended[at] = true;
        self.add_child(at + 1, bytes, child);
    }

    fn add_child(&mut self, at: usize, bytes: Vec<u8>, child: impl FnOnce(ObjectHash) -> S::Child) {
        let page = Object::new(S::KIND, bytes);
        let child = child(page.hash());
        self.complete.push(page);
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
