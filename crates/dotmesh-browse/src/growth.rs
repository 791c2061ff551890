//! Estimates how much of a file is new since an earlier version.

use dotmesh_model::ObjectHash;
use dotmesh_store::{FileContent, FilePage, Segment};

use crate::content::FileBytes;
use crate::diff::drop_common;
use crate::{ReadError, TreeError, TreeReader, TreeSource};

/// The most file pages that are read for a file. Everything below the other pages counts as new.
const MAX_PAGES: usize = 256;

/// A part of a file's list.
#[derive(Debug, Clone, Copy)]
struct Part {
    hash: ObjectHash,
    length: u64,
    /// The level of the file page plus one, or 0 for a chunk. A top page's level is unknown at first.
    height: Option<u8>,
}

impl<S: TreeSource> TreeReader<S> {
    /// Returns the number of bytes in chunks that the old version does not have. For a long file, it is an upper bound.
    pub async fn growth(
        &self,
        before: FileBytes,
        after: FileBytes,
    ) -> Result<u64, ReadError<S::Error>> {
        let mut sides = [before, after].map(top);
        let mut read = 0;
        loop {
            let [before, after] = &mut sides;
            drop_common(before, after, |part| part.hash);
            let new = after.iter().map(|part| part.length);
            let new = new.fold(0, u64::saturating_add);
            // A top page of unknown level is read before all others.
            let rank = |part: &Part| part.height.unwrap_or(u8::MAX);
            let highest = sides.iter().flatten().map(rank).max().unwrap_or(0);
            let wanted: Vec<ObjectHash> = sides
                .iter()
                .flatten()
                .filter(|part| rank(part) == highest)
                .map(|part| part.hash)
                .collect();
            read += wanted.len();
            if new == 0 || highest == 0 || read > MAX_PAGES {
                return Ok(new);
            }
            let mut pages = self.file_pages(&wanted).await?.into_iter();
            for side in &mut sides {
                let mut below = Vec::with_capacity(side.len());
                for part in side.drain(..) {
                    if rank(&part) != highest {
                        below.push(part);
                        continue;
                    }
                    let inconsistent = TreeError::Inconsistent { hash: part.hash };
                    match pages.next() {
                        Some(page) if is_as_stated(&part, &page) => below.extend(parts(page)),
                        _ => return Err(inconsistent.into()),
                    }
                }
                *side = below;
            }
        }
    }
}

fn is_as_stated(part: &Part, page: &FilePage) -> bool {
    page.size() == part.length && part.height.is_none_or(|height| height == page.level() + 1)
}

fn top(file: FileBytes) -> Vec<Part> {
    let (hash, height) = match file.content {
        FileContent::Empty | FileContent::Hole => return Vec::new(),
        FileContent::Chunk(hash) => (hash, Some(0)),
        FileContent::Page(hash) => (hash, None),
    };
    vec![Part {
        hash,
        length: file.size,
        height,
    }]
}

fn parts(page: FilePage) -> Vec<Part> {
    match page {
        FilePage::Leaf(segments) => segments
            .into_iter()
            .filter_map(|segment| match segment {
                Segment::Data { hash, length } => Some(Part {
                    hash,
                    length: u64::from(length),
                    height: Some(0),
                }),
                Segment::Hole { .. } => None,
            })
            .collect(),
        FilePage::Inner { level, children } => children
            .into_iter()
            .map(|child| Part {
                hash: child.hash,
                length: child.length,
                height: Some(level),
            })
            .collect(),
    }
}
