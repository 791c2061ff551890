//! The segments of a large file, and the tree of file pages that lists them.

use dotmesh_model::ObjectHash;

use crate::chunker::MAX_CHUNK;
use crate::error::InvalidObject;
use crate::grow::{self, Boundary, MAX_LEVEL};
use crate::object::{Kind, MAX_OBJECT_LENGTH};
use crate::wire::{PAGE_VERSION, Reader};

/// The largest file.
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

const TAG_HOLE: u8 = 0;
const TAG_DATA: u8 = 1;

pub(crate) const BOUNDARY: Boundary = Boundary {
    min: 32,
    bits: 7,
    max: 512,
};

/// A range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The bytes of a chunk.
    Data {
        /// The chunk.
        hash: ObjectHash,
        /// Its length, 1 to [`MAX_CHUNK`].
        length: u32,
    },
    /// Bytes that were never written and take no space.
    Hole {
        /// The number of bytes.
        length: u64,
    },
}

impl Segment {
    /// The number of bytes of the file.
    pub fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } => u64::from(*length),
            Self::Hole { length } => *length,
        }
    }
}

/// A child page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileChild {
    /// The hash of the page.
    pub hash: ObjectHash,
    /// The number of bytes of the file that it covers.
    pub length: u64,
}

/// A file page: a part of a file's segment list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePage {
    /// Segments in the file's order.
    Leaf(Vec<Segment>),
    /// Pages of the level below, in the file's order.
    Inner {
        /// The level: 1 directly above the leaves.
        level: u8,
        /// The child pages.
        children: Vec<FileChild>,
    },
}

impl FilePage {
    /// The level: 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// The number of bytes of the file that it covers.
    pub fn size(&self) -> u64 {
        match self {
            Self::Leaf(segments) => segments.iter().map(Segment::length).sum(),
            Self::Inner { children, .. } => children.iter().map(|child| child.length).sum(),
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![PAGE_VERSION, self.level()];
        match self {
            Self::Leaf(segments) => {
                for segment in segments {
                    match segment {
                        Segment::Hole { length } => {
                            out.push(TAG_HOLE);
                            out.extend_from_slice(&length.to_le_bytes());
                        }
                        Segment::Data { hash, length } => {
                            out.push(TAG_DATA);
                            out.extend_from_slice(&length.to_le_bytes());
                            out.extend_from_slice(hash.as_bytes());
                        }
                    }
                }
            }
            Self::Inner { children, .. } => {
                for child in children {
                    out.extend_from_slice(&child.length.to_le_bytes());
                    out.extend_from_slice(child.hash.as_bytes());
                }
            }
        }
        out
    }

    /// Reads a page. Accepts only the canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidObject> {
        if bytes.len() > MAX_OBJECT_LENGTH {
            return Err(InvalidObject::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let level = reader.u8()?;
        let mut size = Size(0);
        if level > MAX_LEVEL {
            return Err(InvalidObject::BadLevel { level });
        }
        if level > 0 {
            let mut children = Vec::new();
            while !reader.is_empty() {
                let length = size.add(reader.u64()?)?;
                children.push(FileChild {
                    length,
                    hash: reader.hash()?,
                });
            }
            BOUNDARY.check(&children, |child| Some(grow::word(child.hash)))?;
            return Ok(Self::Inner { level, children });
        }
        let mut segments: Vec<Segment> = Vec::new();
        while !reader.is_empty() {
            segments.push(decode_segment(&mut reader, &mut size, segments.last())?);
        }
        BOUNDARY.check(&segments, segment_word)?;
        Ok(Self::Leaf(segments))
    }
}

fn decode_segment(
    reader: &mut Reader<'_>,
    size: &mut Size,
    before: Option<&Segment>,
) -> Result<Segment, InvalidObject> {
    match reader.u8()? {
        TAG_HOLE if matches!(before, Some(Segment::Hole { .. })) => Err(InvalidObject::SplitHole),
        TAG_HOLE => Ok(Segment::Hole {
            length: size.add(reader.u64()?)?,
        }),
        TAG_DATA => {
            let length = reader.u32()?;
            size.add(u64::from(length))?;
            if u64::from(length) > MAX_CHUNK as u64 {
                return Err(InvalidObject::BadLength);
            }
            Ok(Segment::Data {
                length,
                hash: reader.hash()?,
            })
        }
        tag => Err(InvalidObject::UnknownTag { tag }),
    }
}

/// A sum of stated lengths. None of them may be zero.
struct Size(u64);

impl Size {
    fn add(&mut self, length: u64) -> Result<u64, InvalidObject> {
        let sum = self
            .0
            .checked_add(length)
            .filter(|sum| length > 0 && *sum <= MAX_FILE_SIZE);
        self.0 = sum.ok_or(InvalidObject::BadLength)?;
        Ok(length)
    }
}

fn segment_word(segment: &Segment) -> Option<u32> {
    match segment {
        Segment::Data { hash, .. } => Some(grow::word(*hash)),
        // With words for holes, a file with regular holes would get a boundary at every hole or at none.
        Segment::Hole { .. } => None,
    }
}

/// How a [`grow::Grower`] builds the file pages of a segment list.
#[derive(Debug)]
pub struct FileSpine;

impl grow::Spine for FileSpine {
    type Leaf = Segment;
    type Child = FileChild;
    const KIND: Kind = Kind::FilePage;
    const BOUNDARY: Boundary = BOUNDARY;

    fn leaf_word(leaf: &Segment) -> Option<u32> {
        segment_word(leaf)
    }

    fn child_word(child: &FileChild) -> Option<u32> {
        Some(grow::word(child.hash))
    }

    fn leaf_length(_: &Segment) -> usize {
        1 + 4 + ObjectHash::LENGTH
    }

    fn leaf_page(leaves: Vec<Segment>) -> (Vec<u8>, impl FnOnce(ObjectHash) -> FileChild) {
        let page = FilePage::Leaf(leaves);
        let length = page.size();
        (page.encode(), move |hash| FileChild { hash, length })
    }

    fn inner_page(
        level: u8,
        children: Vec<FileChild>,
    ) -> (Vec<u8>, impl FnOnce(ObjectHash) -> FileChild) {
        let page = FilePage::Inner { level, children };
        let length = page.size();
        (page.encode(), move |hash| FileChild { hash, length })
    }

    fn child_hash(child: &FileChild) -> ObjectHash {
        child.hash
    }
}
