//! Finds what to write into changed files. It compares the lists of segments page by page, and leaves out segments that
//! are already in their place.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{FileContent, FilePage, Kind, Segment};

use super::MaterialiseError;
use super::pages::Pages;
use crate::objects::ObjectSource;

/// The most parts that are looked up together. Valid files with 10 TB in total have fewer. Without this limit, a few
/// small pages can describe a list that fills any memory.
const MAX_PARTS: usize = 1 << 22;

/// A segment and its position in a file, in the base or in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Edit {
    pub(super) offset: u64,
    pub(super) segment: Segment,
}

/// A range of a file, and the list of its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Part {
    offset: u64,
    length: u64,
    list: List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum List {
    /// The list is one segment.
    One(Segment),
    /// A top page has the list. Its level is unknown until the page is read.
    Top(ObjectHash),
    /// A page with a known level has the list.
    Page { hash: ObjectHash, level: u8 },
}

/// The parts of one file that differ between base and target.
#[derive(Default)]
struct Difference {
    base: VecDeque<Part>,
    target: VecDeque<Part>,
}

/// The size and content of a file in the base and in the target. `base` is `None` if the file is not changed in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    pub(super) base: Option<(u64, FileContent)>,
    pub(super) target: Option<(u64, FileContent)>,
}

/// The edits of several files.
pub(super) struct Edits {
    files: Vec<Difference>,
}

impl Edits {
    /// Finds the leaves that differ, for all files at once, and fetches them.
    pub(super) async fn look_up<S: ObjectSource>(
        source: &Arc<S>,
        pages: &mut Pages,
        files: &[Contents],
    ) -> Result<Self, MaterialiseError> {
        let mut files: Vec<Difference> = files.iter().map(Difference::new).collect();
        loop {
            let inner: Vec<_> = files.iter().flat_map(Difference::inner).collect();
            if inner.is_empty() {
                break;
            }
            pages.fetch(source, Kind::FilePage, inner).await?;
            let mut parts = 0;
            for file in &mut files {
                file.descend(pages)?;
                parts += file.base.len() + file.target.len();
                if parts > MAX_PARTS {
                    return Err(MaterialiseError::TooManyEntries);
                }
            }
        }
        let parts = files
            .iter()
            .flat_map(|file| file.base.iter().chain(&file.target));
        let leaves = parts.filter_map(Part::page).collect();
        pages.fetch(source, Kind::FilePage, leaves).await?;
        Ok(Self { files })
    }

    /// Returns the next edits of a file, or `None` after the last.
    pub(super) fn next(
        &mut self,
        pages: &Pages,
        file: usize,
    ) -> Result<Option<Vec<Edit>>, MaterialiseError> {
        let difference = &mut self.files[file];
        let Some(part) = difference.target.pop_front() else {
            return Ok(None);
        };
        let end = part.offset + part.length;
        let mut there: HashSet<Edit> = HashSet::new();
        // A part of the base may overlap the next part of the target too.
        difference
            .base
            .retain(|base| base.offset + base.length > part.offset);
        for base in difference.base.iter().take_while(|base| base.offset < end) {
            there.extend(base.segments(pages)?);
        }
        let mut edits = part.segments(pages)?;
        edits.retain(|edit| !there.contains(edit));
        Ok(Some(edits))
    }

    /// Returns the segments of the base where the file differs, leaf by leaf.
    pub(super) fn base<'a>(
        &'a self,
        pages: &'a Pages,
        file: usize,
    ) -> impl Iterator<Item = Result<Vec<Edit>, MaterialiseError>> + 'a {
        self.files[file]
            .base
            .iter()
            .map(|part| part.segments(pages))
    }
}

impl Difference {
    fn new(file: &Contents) -> Self {
        let part = |(size, content)| {
            let list = match content {
                FileContent::Empty => return None,
                FileContent::Hole => List::One(Segment::Hole { length: size }),
                FileContent::Chunk(hash) => {
                    let length = u32::try_from(size).expect("checked when the entry was decoded");
                    List::One(Segment::Data { hash, length })
                }
                FileContent::Page(hash) => List::Top(hash),
            };
            Some(Part {
                offset: 0,
                length: size,
                list,
            })
        };
        let mut new = Self {
            base: file.base.and_then(part).into_iter().collect(),
            target: file.target.and_then(part).into_iter().collect(),
        };
        new.drop_common();
        new
    }

    /// The pages of the highest level that must be read before the leaves are known.
    fn inner(&self) -> impl Iterator<Item = ObjectHash> + '_ {
        let highest = self.highest();
        let parts = self.base.iter().chain(&self.target);
        parts
            .filter(move |part| highest > 0 && part.list.level() == highest)
            .filter_map(Part::page)
    }

    fn highest(&self) -> u8 {
        let parts = self.base.iter().chain(&self.target);
        parts.map(|part| part.list.level()).max().unwrap_or(0)
    }

    /// Replaces the pages of the highest level by their children.
    fn descend(&mut self, pages: &Pages) -> Result<(), MaterialiseError> {
        let highest = self.highest();
        if highest == 0 {
            return Ok(());
        }
        for side in [&mut self.base, &mut self.target] {
            let mut below = VecDeque::new();
            for part in side.drain(..) {
                if part.list.level() == highest {
                    below.extend(part.below(pages)?);
                } else {
                    below.push_back(part);
                }
                if below.len() > MAX_PARTS {
                    return Err(MaterialiseError::TooManyEntries);
                }
            }
            *side = below;
        }
        self.drop_common();
        Ok(())
    }

    fn drop_common(&mut self) {
        if self.base.is_empty() || self.target.is_empty() {
            return;
        }
        let in_base: HashSet<Part> = self.base.iter().copied().collect();
        let common: HashSet<Part> = self
            .target
            .iter()
            .copied()
            .filter(|part| in_base.contains(part))
            .collect();
        self.base.retain(|part| !common.contains(part));
        self.target.retain(|part| !common.contains(part));
    }
}

impl List {
    /// The level for the order of reading. A top page counts as the highest level, because it must be read before
    /// anything below it.
    fn level(self) -> u8 {
        match self {
            Self::One(_) => 0,
            Self::Top(_) => u8::MAX,
            Self::Page { level, .. } => level,
        }
    }
}

impl Part {
    fn page(&self) -> Option<ObjectHash> {
        match self.list {
            List::One(_) => None,
            List::Top(hash) | List::Page { hash, .. } => Some(hash),
        }
    }

    fn read(&self, pages: &Pages, hash: ObjectHash) -> Result<FilePage, MaterialiseError> {
        let page = pages.list(hash)?;
        let as_stated = page.size() == self.length
            && match self.list {
                List::Page { level, .. } => page.level() == level,
                List::One(_) | List::Top(_) => true,
            };
        if as_stated {
            Ok(page)
        } else {
            Err(MaterialiseError::Inconsistent { hash })
        }
    }

    /// The parts that a page lists. A top page that is a leaf becomes a part of level 0.
    fn below(self, pages: &Pages) -> Result<Vec<Self>, MaterialiseError> {
        let Some(hash) = self.page() else {
            return Ok(vec![self]);
        };
        match self.read(pages, hash)? {
            FilePage::Leaf(_) => Ok(vec![Self {
                list: List::Page { hash, level: 0 },
                ..self
            }]),
            FilePage::Inner { level, children } => {
                let mut offset = self.offset;
                let parts = children.into_iter().map(|child| {
                    let list = List::Page {
                        hash: child.hash,
                        level: level - 1,
                    };
                    let part = Self {
                        offset,
                        length: child.length,
                        list,
                    };
                    offset += child.length;
                    part
                });
                Ok(parts.collect())
            }
        }
    }

    /// The segments of a leaf with their positions in the file.
    fn segments(&self, pages: &Pages) -> Result<Vec<Edit>, MaterialiseError> {
        let segments = match self.list {
            List::One(segment) => vec![segment],
            List::Top(hash) | List::Page { hash, .. } => match self.read(pages, hash)? {
                FilePage::Leaf(segments) => segments,
                FilePage::Inner { .. } => return Err(MaterialiseError::Inconsistent { hash }),
            },
        };
        let mut offset = self.offset;
        let placed = segments.into_iter().map(|segment| {
            let at = offset;
            offset += segment.length();
            Edit {
                offset: at,
                segment,
            }
        });
        Ok(placed.collect())
    }
}
