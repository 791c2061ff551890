//! Reads the list of a file's segments in the base, page by page, as far as it is needed.
//!
//! A cursor moves from the front to the end, in parallel with the new list. It passes on what did not change, as whole
//! pages if possible, and tells where the old segments begin.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileChild, FileContent, FilePage, Kind, Object, Segment};

use super::SealError;
use super::base::BaseTree;
use super::content::Segments;

/// The number of pages that are fetched together.
const PAGES: usize = 256;

/// The number of old segments, and of old leaves, that are remembered after the cursor has passed them.
const BEHIND: usize = 32;

pub(super) struct BaseList<'a> {
    tree: Option<&'a BaseTree>,
    /// The pages from the top to the cursor.
    open: Vec<OpenPage>,
    /// The position in the file at which the item at the cursor begins.
    at: u64,
    fetched: HashMap<ObjectHash, Bytes>,
    passed: VecDeque<(u64, Segment)>,
    leaves: VecDeque<(u64, Object)>,
}

/// A page, and the index of the item at the cursor.
struct OpenPage {
    page: FilePage,
    next: usize,
}

#[derive(Clone, Copy)]
enum Item {
    Segment(Segment),
    Page { level: u8, child: FileChild },
}

impl Item {
    fn length(self) -> u64 {
        match self {
            Self::Segment(segment) => segment.length(),
            Self::Page { child, .. } => child.length,
        }
    }
}

/// A chunk of the base and its position in the file.
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
            FileContent::Page(top) => {
                list.enter(top, &[])?;
                None
            }
        };
        if let Some(segment) = only {
            let page = FilePage::Leaf(vec![segment]);
            list.open.push(OpenPage { page, next: 0 });
        }
        Ok(list)
    }

    /// Copies the segments that end before `limit`, from the cursor on. Returns the position of the next segment.
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
                Item::Page { level, child } => {
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

    /// Moves the cursor to the segment that ends after `target`. Returns whether the segment begins there.
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

    /// The old chunk with the most bytes in this range, among the remembered ones and the one at the cursor.
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

    /// The last entered leaf of the old list that begins before `end`.
    pub(super) fn like_leaf(&self, end: u64) -> Option<&Object> {
        let mut leaves = self.leaves.iter().rev();
        leaves.find(|(start, _)| *start < end).map(|(_, leaf)| leaf)
    }

    fn item(&self) -> Option<Item> {
        let OpenPage { page, next } = self.open.last()?;
        match page {
            FilePage::Leaf(segments) => segments.get(*next).map(|segment| Item::Segment(*segment)),
            FilePage::Inner { level, children } => children.get(*next).map(|child| Item::Page {
                level: level - 1,
                child: *child,
            }),
        }
    }

    /// Moves the cursor after an item, and leaves the pages that end there.
    fn advance(&mut self, item: Item) {
        if let Item::Segment(segment) = item {
            if self.passed.len() == BEHIND {
                self.passed.pop_front();
            }
            self.passed.push_back((self.at, segment));
        }
        self.at += item.length();
        while let Some(open) = self.open.last_mut() {
            open.next += 1;
            let items = match &open.page {
                FilePage::Leaf(segments) => segments.len(),
                FilePage::Inner { children, .. } => children.len(),
            };
            if open.next < items {
                break;
            }
            self.open.pop();
        }
    }

    /// Enters the page at the cursor.
    fn enter_next(&mut self) -> Result<(), SealError> {
        let Some(OpenPage {
            page: FilePage::Inner { level, children },
            next,
        }) = self.open.last()
        else {
            return Ok(());
        };
        // The leaves after this one are needed soon, so they are fetched too. A page above leaves covers hundreds of
        // megabytes, so it is fetched alone.
        let ahead = if *level == 1 { PAGES } else { 1 };
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
                self.fetched = tree.file_pages(&wanted)?;
                let bytes = self.fetched.remove(&hash);
                bytes.ok_or(SealError::BaseMissing { hash })?
            }
        };
        let page =
            FilePage::decode(&bytes).map_err(|source| SealError::BaseMalformed { hash, source })?;
        if page.level() == 0 {
            if self.leaves.len() == BEHIND {
                self.leaves.pop_front();
            }
            let leaf = Object::new(Kind::FilePage, bytes);
            self.leaves.push_back((self.at, leaf));
        }
        self.open.push(OpenPage { page, next: 0 });
        Ok(())
    }
}
