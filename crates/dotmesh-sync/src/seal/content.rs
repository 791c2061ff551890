//! Turns the bytes of one file into segments. It cuts only what changed, and copies the other segments from the base.
//!
//! The end of a chunk depends on the chunk's bytes and the byte after it, or on its position. So old segments that end
//! before a change stay the same. From there the file is cut again, until a cut falls on the start of an old segment
//! after the change. The old list continues from there. For a new file, and for one that was cut in the other way, the
//! whole file is one change.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_store::chunker::{self, AVERAGE_CHUNK, Cutting, MAX_CHUNK};
use dotmesh_store::file_page::FileSpine;
use dotmesh_store::grow::Grower;
use dotmesh_store::{FileChild, FileContent, FilePage, Kind, Object, Segment};

use super::SealError;
use super::base::BaseTree;
use super::list::BaseList;
use super::output::Output;
use super::reader::Reader;
use crate::objects::Like;
use crate::progress::Progress;

/// The bytes that are read at once if the content decides where chunks end. Few chunks are longer.
const READ_BY_CONTENT: u64 = 32 << 10;

/// A file to read.
pub(super) struct File {
    pub(super) file: OwnedFd,
    pub(super) size: u64,
    /// The path for error messages.
    pub(super) path: Vec<u8>,
    pub(super) old: Option<OldFile>,
}

/// The file's state in the base.
pub(super) struct OldFile {
    pub(super) size: u64,
    pub(super) content: FileContent,
    /// The ranges outside of which the file is the same.
    pub(super) ranges: Vec<Range<u64>>,
    /// The open file in the base, if it could be opened.
    pub(super) file: Option<Arc<std::fs::File>>,
}

/// Seals the bytes of a file.
pub(super) fn content(
    file: &File,
    tree: Option<&BaseTree>,
    output: &mut Output,
    progress: &Progress,
) -> Result<FileContent, SealError> {
    use std::os::fd::AsFd as _;
    let whole = 0..file.size;
    let whole = std::slice::from_ref(&whole);
    let cutting = Cutting::of(file.size);
    let old = file.old.as_ref().zip(tree);
    let changed = old.map_or(whole, |(old, _)| &old.ranges[..]);
    let (old, ranges, old_file) = match old {
        Some((old, tree)) if Cutting::of(old.size) == cutting => (
            BaseList::new(tree, old.size, old.content)?,
            changed,
            old.file.as_ref(),
        ),
        _ => (BaseList::empty(), whole, None),
    };
    let cutter = Cutter {
        reader: Reader::new(file.file.as_fd(), &file.path, file.size),
        size: file.size,
        cutting,
        ranges,
        changed,
        old,
        old_file,
        new: Segments::default(),
        output,
        progress,
    };
    cutter.run()
}

struct Cutter<'a> {
    reader: Reader<'a>,
    size: u64,
    cutting: Cutting,
    /// The changes that do not end before the current position.
    ranges: &'a [Range<u64>],
    /// The changes that the file system reported, without those that are already counted in the progress.
    changed: &'a [Range<u64>],
    old: BaseList<'a>,
    old_file: Option<&'a Arc<std::fs::File>>,
    new: Segments,
    output: &'a mut Output,
    progress: &'a Progress,
}

impl Cutter<'_> {
    fn run(mut self) -> Result<FileContent, SealError> {
        let mut at = 0;
        while at < self.size {
            // Both lists are at the same position here, at the start of a segment.
            let Some(change) = self.next_change(at) else {
                self.old.copy_before(u64::MAX, &mut self.new)?;
                self.put_pages(self.size)?;
                break;
            };
            at = self.old.copy_before(change.start, &mut self.new)?;
            loop {
                at = self.cut(at)?;
                self.put_pages(at)?;
                let is_old = self.old.seek(at)?;
                let in_change = self.next_change(at).is_some_and(|next| next.start < at);
                if at == self.size || (is_old && !in_change) {
                    break;
                }
            }
        }
        self.finish()
    }

    /// The first change that ends after an offset.
    fn next_change(&mut self, at: u64) -> Option<Range<u64>> {
        while let [first, rest @ ..] = self.ranges
            && first.end.min(self.size) <= at
        {
            self.ranges = rest;
        }
        self.ranges.first().cloned()
    }

    /// Makes the segment that begins at an offset, and returns where it ends.
    fn cut(&mut self, at: u64) -> Result<u64, SealError> {
        let data = self.reader.data_from(at)?;
        if data.start > at {
            self.count(at, data.start);
            self.new.push(Segment::Hole {
                length: data.start - at,
            });
            return Ok(data.start);
        }
        let left = usize::try_from(data.end - at).unwrap_or(usize::MAX);
        let bytes = match self.cutting {
            Cutting::ByPlace => self.chunk_by_place(at, left)?,
            Cutting::ByContent => self.chunk_by_content(at, left)?,
        };
        let length = u32::try_from(bytes.len()).expect("a chunk has at most 64 KiB");
        let end = at + u64::from(length);
        let chunk = Object::new(Kind::Chunk, bytes);
        let hash = chunk.hash();
        self.new.push(Segment::Data { hash, length });
        self.count(at, end);
        self.old.seek(end)?;
        let like = match (self.old_file, self.old.like(at, end)) {
            // The chunk is unchanged, as after a change that moved nothing.
            (_, Some(old)) if old.hash == hash => return Ok(end),
            (Some(file), Some(old)) => Some(Like::Chunk {
                hash: old.hash,
                file: Arc::clone(file),
                offset: old.offset,
                length: old.length,
                skew: i32::try_from(at as i64 - old.offset as i64).unwrap_or(0),
                differs: self.differing(at..end, old.offset..old.offset + u64::from(old.length)),
            }),
            _ => None,
        };
        self.output.put(chunk, like)?;
        Ok(end)
    }

    /// Reads the chunk that begins at an offset. `left` is the number of bytes until a hole or the end of the file.
    fn chunk_by_place(&mut self, at: u64, left: usize) -> Result<Bytes, SealError> {
        let change_end = self.next_change(at).map_or(at, |change| change.end);
        let into = (at % AVERAGE_CHUNK as u64) as usize;
        let length = left.min(AVERAGE_CHUNK - into);
        let bytes = self.reader.bytes(at, length, change_end)?;
        Ok(bytes.slice(..length))
    }

    /// Like [`Self::chunk_by_place`], but the content decides where the chunk ends.
    fn chunk_by_content(&mut self, at: u64, left: usize) -> Result<Bytes, SealError> {
        let change_end = self.next_change(at).map_or(at, |change| change.end);
        let until = change_end.max(at + READ_BY_CONTENT);
        let most = left.min(MAX_CHUNK);
        let mut least = most.min(AVERAGE_CHUNK);
        loop {
            let bytes = self.reader.bytes(at, least, until)?;
            let window = &bytes[..bytes.len().min(most)];
            let length = match window.len() == most {
                true => Some(chunker::cut(window)),
                false => chunker::cut_early(window),
            };
            match length {
                Some(length) => return Ok(bytes.slice(..length)),
                None => least = most,
            }
        }
    }

    /// The range of an old chunk in which it may differ from the new chunk at the same position of the file.
    fn differing(&self, new: Range<u64>, old: Range<u64>) -> Range<u64> {
        let both = new.start.max(old.start)..new.end.min(old.end);
        if both.is_empty() {
            return old;
        }
        let changes = self
            .ranges
            .iter()
            .take_while(|change| change.start < both.end);
        let mut changes = changes.filter(|change| change.end > both.start);
        let first = changes.next();
        let last = changes.last().or(first);
        let start = match old.start < both.start {
            true => old.start,
            false => first.map_or(both.end, |first| first.start.max(both.start)),
        };
        let end = match old.end > both.end {
            true => old.end,
            false => last.map_or(both.start, |last| last.end.min(both.end)),
        };
        start..end.max(start)
    }

    /// Counts the changed bytes of a range as processed.
    fn count(&mut self, start: u64, end: u64) {
        while let [first, rest @ ..] = self.changed
            && first.end <= start
        {
            self.changed = rest;
        }
        let counted = self.changed.iter().take_while(|range| range.start < end);
        let sum = counted
            .map(|range| end.min(range.end).saturating_sub(start.max(range.start)))
            .sum();
        self.progress.add_done(sum);
    }

    /// Passes on the complete pages. The last leaf of them ends at `end`.
    fn put_pages(&mut self, end: u64) -> Result<(), SealError> {
        for page in self.new.pages.take_complete() {
            self.put_page(page, end)?;
        }
        Ok(())
    }

    fn put_page(&mut self, page: Object, end: u64) -> Result<(), SealError> {
        let is_leaf = matches!(FilePage::decode(page.bytes()), Ok(FilePage::Leaf(_)));
        let like = match is_leaf {
            true => self.old.like_leaf(end).cloned().map(Like::Page),
            false => None,
        };
        self.output.put(page, like)
    }

    fn finish(mut self) -> Result<FileContent, SealError> {
        let segments = std::mem::take(&mut self.new);
        match (segments.count, segments.first) {
            (0, _) | (_, None) => Ok(FileContent::Empty),
            (1, Some(Segment::Data { hash, .. })) => Ok(FileContent::Chunk(hash)),
            (1, Some(Segment::Hole { .. })) => Ok(FileContent::Hole),
            _ => {
                let (top, pages) = segments.pages.finish();
                for page in pages {
                    self.put_page(page, self.size)?;
                }
                Ok(FileContent::Page(top))
            }
        }
    }
}

/// The segments of a file so far.
#[derive(Default)]
pub(super) struct Segments {
    /// The number of segments. A page that was copied from the base counts as two, because only 0, 1 and more matter.
    count: u64,
    first: Option<Segment>,
    pages: Grower<FileSpine>,
}

impl Segments {
    pub(super) fn push(&mut self, segment: Segment) {
        self.count += 1;
        self.first.get_or_insert(segment);
        self.pages.push(segment);
    }

    /// Copies a whole page of the old list, if it may come next. Returns whether it did.
    pub(super) fn take_over(&mut self, level: u8, child: FileChild) -> bool {
        if !self.pages.is_at_boundary(level) {
            return false;
        }
        self.count += 2;
        self.first.get_or_insert(Segment::Hole {
            length: child.length,
        });
        self.pages.push_page(level, child);
        true
    }
}
