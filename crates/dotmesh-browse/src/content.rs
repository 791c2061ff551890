//! Streams the bytes of a file from any position, with little memory.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileContent, FilePage, Inode, InodeKind, Segment};
use futures::{Stream, TryStreamExt as _, stream};

use crate::{ReadError, TreeError, TreePath, TreeReader, TreeSource};

/// The approximate size of a batch of chunks, in bytes.
const BATCH_LENGTH: u64 = 256 << 10;

/// The number of batches that are read ahead.
const BATCHES_AHEAD: usize = 3;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A regular file's size, and the reference to its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileBytes {
    /// The size in bytes.
    pub size: u64,
    pub content: FileContent,
}

impl FileBytes {
    /// Returns the bytes of a regular file. `None` for any other inode.
    pub fn of(inode: &Inode) -> Option<Self> {
        match inode.kind {
            InodeKind::File { size, content } => Some(Self { size, content }),
            _ => None,
        }
    }

    /// Returns a name that identifies the bytes.
    pub fn tag(&self) -> String {
        match self.content {
            FileContent::Empty => "empty".to_owned(),
            FileContent::Hole => format!("hole-{}", self.size),
            FileContent::Chunk(hash) => hash.to_string(),
            FileContent::Page(hash) => format!("list-{hash}"),
        }
    }
}

/// A part of a file's list that has not been read yet.
#[derive(Debug)]
enum Part {
    /// A file page, and its level if the page above it states one.
    Page {
        hash: ObjectHash,
        level: Option<u8>,
        length: u64,
    },
    Segment(Segment),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Page { length, .. } => *length,
            Self::Segment(segment) => segment.length(),
        }
    }
}

/// A segment, and the range of its bytes that is wanted.
struct Piece {
    segment: Segment,
    wanted: Range<u64>,
}

/// Bytes that are repeated up to a length.
struct Run {
    bytes: Bytes,
    length: u64,
}

impl Run {
    fn parts(self) -> impl Iterator<Item = Bytes> {
        let each = self.bytes.len();
        let starts = (0..self.length).step_by(each.max(1));
        starts.map(move |at| {
            let left = usize::try_from(self.length - at).unwrap_or(usize::MAX);
            self.bytes.slice(..each.min(left))
        })
    }
}

/// Walks through a file's list.
struct Pieces<S> {
    reader: TreeReader<S>,
    /// The parts to come. The next one is last.
    ahead: Vec<Part>,
    /// The position of the next part in the file, in bytes.
    at: u64,
    wanted: Range<u64>,
}

impl<S: TreeSource> Pieces<S> {
    fn new(reader: &TreeReader<S>, file: FileBytes, wanted: Range<u64>) -> Self {
        let length = file.size;
        let part = match file.content {
            FileContent::Empty => None,
            FileContent::Hole => Some(Part::Segment(Segment::Hole { length })),
            FileContent::Chunk(hash) => Some(Part::Segment(Segment::Data {
                hash,
                // A file with a single chunk is no longer than a chunk.
                length: u32::try_from(length).unwrap_or(u32::MAX),
            })),
            FileContent::Page(hash) => Some(Part::Page {
                hash,
                level: None,
                length,
            }),
        };
        Self {
            reader: reader.clone(),
            ahead: part.into_iter().collect(),
            at: 0,
            wanted,
        }
    }

    /// Returns pieces to read together. The list is empty at the end.
    async fn next_batch(&mut self) -> Result<Vec<Piece>, ReadError<S::Error>> {
        let mut batch = Vec::new();
        let mut length = 0;
        while length < BATCH_LENGTH
            && self.at < self.wanted.end
            && let Some(part) = self.ahead.pop()
        {
            let (start, end) = (self.at, self.at.saturating_add(part.length()));
            if end <= self.wanted.start {
                self.at = end;
                continue;
            }
            match part {
                Part::Page {
                    hash,
                    level,
                    length,
                } => {
                    let page = self.reader.file_page(hash).await?;
                    if page.size() != length || level.is_some_and(|level| level != page.level()) {
                        return Err(TreeError::Inconsistent { hash }.into());
                    }
                    self.enter(page);
                }
                Part::Segment(segment) => {
                    self.at = end;
                    let wanted =
                        self.wanted.start.max(start) - start..self.wanted.end.min(end) - start;
                    if let Segment::Data { .. } = segment {
                        length += segment.length();
                    }
                    batch.push(Piece { segment, wanted });
                }
            }
        }
        Ok(batch)
    }

    fn enter(&mut self, page: FilePage) {
        match page {
            FilePage::Leaf(segments) => {
                let segments = segments.into_iter().rev();
                self.ahead.extend(segments.map(Part::Segment));
            }
            FilePage::Inner { level, children } => {
                let children = children.into_iter().rev();
                self.ahead.extend(children.map(|child| Part::Page {
                    hash: child.hash,
                    level: level.checked_sub(1),
                    length: child.length,
                }));
            }
        }
    }
}

impl<S: TreeSource> TreeReader<S> {
    /// Streams a range of a file's bytes, in parts. Holes are zeros.
    pub fn content(
        &self,
        file: FileBytes,
        wanted: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, ReadError<S::Error>>> + Send + use<S> {
        let wanted = wanted.start..wanted.end.min(file.size);
        let reader = self.clone();
        let batches = stream::try_unfold(
            Pieces::new(self, file, wanted),
            async |mut pieces: Pieces<S>| {
                let batch = pieces.next_batch().await?;
                Ok(Some((batch, pieces)).filter(|(batch, _)| !batch.is_empty()))
            },
        );
        batches
            .map_ok(move |batch| read_batch(reader.clone(), batch))
            .try_buffered(BATCHES_AHEAD)
            .map_ok(|runs| {
                let parts = runs.into_iter().flat_map(Run::parts);
                stream::iter(parts.map(Ok))
            })
            .try_flatten()
    }

    /// Returns the first bytes of a file, at most `limit`.
    pub async fn beginning(
        &self,
        file: FileBytes,
        limit: usize,
    ) -> Result<Bytes, ReadError<S::Error>> {
        let mut parts = std::pin::pin!(self.content(file, 0..limit as u64));
        let mut read = BytesMut::new();
        while let Some(part) = parts.try_next().await? {
            read.extend_from_slice(&part);
        }
        Ok(read.freeze())
    }

    /// Returns the regular file at a path.
    pub async fn file(
        &self,
        root: ObjectHash,
        path: &TreePath,
    ) -> Result<FileBytes, ReadError<S::Error>> {
        let found = self.entry_at(root, path).await?;
        let file = FileBytes::of(&found.inode);
        Ok(file.ok_or_else(|| TreeError::NotAFile { path: path.clone() })?)
    }
}

async fn read_batch<S: TreeSource>(
    reader: TreeReader<S>,
    batch: Vec<Piece>,
) -> Result<Vec<Run>, ReadError<S::Error>> {
    let hashes: Vec<ObjectHash> = batch
        .iter()
        .filter_map(|piece| match piece.segment {
            Segment::Data { hash, .. } => Some(hash),
            Segment::Hole { .. } => None,
        })
        .collect();
    let mut chunks = reader.chunks(&hashes).await?.into_iter();
    let mut runs = Vec::with_capacity(batch.len());
    for Piece { segment, wanted } in batch {
        let run = match segment {
            Segment::Hole { .. } => Run {
                bytes: Bytes::from_static(&ZEROS),
                length: wanted.end - wanted.start,
            },
            Segment::Data { hash, length } => {
                let chunk = chunks.next().filter(|chunk| chunk.len() == length as usize);
                let chunk = chunk.ok_or(TreeError::Inconsistent { hash })?;
                // The range is within the chunk, because the chunk's length equals the segment's.
                let bytes = chunk.slice(wanted.start as usize..wanted.end as usize);
                Run {
                    length: bytes.len() as u64,
                    bytes,
                }
            }
        };
        runs.push(run);
    }
    Ok(runs)
}
