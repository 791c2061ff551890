//! The segments of a large file, and the tree of nodes that lists them.

use dotmesh_model::ObjectHash;

use crate::chunker::MAX_CHUNK;
use crate::error::InvalidNode;
use crate::grow::{self, Boundary, MAX_LEVEL};
use crate::object::{Kind, MAX_OBJECT_LENGTH};
use crate::wire::{NODE_VERSION, Reader};

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
        /// How many.
        length: u64,
    },
}

impl Segment {
    /// How many bytes of the file it stands for.
    pub fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } => u64::from(*length),
            Self::Hole { length } => *length,
        }
    }
}

/// A node below another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileChild {
    /// The node.
    pub hash: ObjectHash,
    /// How many bytes of the file it stands for.
    pub length: u64,
}

/// A part of a file's segment list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileNode {
    /// Segments in the file's order.
    Leaf(Vec<Segment>),
    /// Nodes of the level below, in the file's order.
    Inner {
        /// 1 above the leaves, and so on.
        level: u8,
        /// The nodes.
        children: Vec<FileChild>,
    },
}

impl FileNode {
    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// How many bytes of the file it stands for.
    pub fn size(&self) -> u64 {
        match self {
            Self::Leaf(segments) => segments.iter().map(Segment::length).sum(),
            Self::Inner { children, .. } => children.iter().map(|child| child.length).sum(),
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![NODE_VERSION, self.level()];
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

    /// Reads a node, and accepts the canonical bytes only.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidNode> {
        if bytes.len() > MAX_OBJECT_LENGTH {
            return Err(InvalidNode::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let level = reader.u8()?;
        let mut size = Size(0);
        if level > MAX_LEVEL {
            return Err(InvalidNode::BadLevel { level });
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
) -> Result<Segment, InvalidNode> {
    match reader.u8()? {
        TAG_HOLE if matches!(before, Some(Segment::Hole { .. })) => Err(InvalidNode::SplitHole),
        TAG_HOLE => Ok(Segment::Hole {
            length: size.add(reader.u64()?)?,
        }),
        TAG_DATA => {
            let length = reader.u32()?;
            size.add(u64::from(length))?;
            if u64::from(length) > MAX_CHUNK as u64 {
                return Err(InvalidNode::BadLength);
            }
            Ok(Segment::Data {
                length,
                hash: reader.hash()?,
            })
        }
        tag => Err(InvalidNode::UnknownTag { tag }),
    }
}

/// A sum of stated lengths, none of them zero.
struct Size(u64);

impl Size {
    fn add(&mut self, length: u64) -> Result<u64, InvalidNode> {
        let sum = self
            .0
            .checked_add(length)
            .filter(|sum| length > 0 && *sum <= MAX_FILE_SIZE);
        self.0 = sum.ok_or(InvalidNode::BadLength)?;
        Ok(length)
    }
}

fn segment_word(segment: &Segment) -> Option<u32> {
    match segment {
        Segment::Data { hash, .. } => Some(grow::word(*hash)),
        // Files with regular holes would otherwise cut everywhere or nowhere.
        Segment::Hole { .. } => None,
    }
}

/// How the nodes of a file's segment list grow.
#[derive(Debug)]
pub struct FileSpine;

impl grow::Spine for FileSpine {
    type Leaf = Segment;
    type Child = FileChild;
    const KIND: Kind = Kind::FileNode;
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

    fn leaf_node(leaves: Vec<Segment>) -> (Vec<u8>, impl FnOnce(ObjectHash) -> FileChild) {
        let node = FileNode::Leaf(leaves);
        let length = node.size();
        (node.encode(), move |hash| FileChild { hash, length })
    }

    fn inner_node(
        level: u8,
        children: Vec<FileChild>,
    ) -> (Vec<u8>, impl FnOnce(ObjectHash) -> FileChild) {
        let node = FileNode::Inner { level, children };
        let length = node.size();
        (node.encode(), move |hash| FileChild { hash, length })
    }

    fn child_hash(child: &FileChild) -> ObjectHash {
        child.hash
    }
}
