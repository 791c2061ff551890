//! Packs: many objects in one piece, as they travel and as they rest.
//!
//! A pack is the eight bytes of [`MAGIC`] and then frames until its end. A frame is a header of
//! [`HEADER_LENGTH`] bytes (kind, encoding, length of the object, length as stored, hash) and the stored bytes.
//! Frames can be copied from pack to pack as they are.

use bytes::Bytes;
use dotmesh_model::ObjectHash;

use crate::error::InvalidNode;
use crate::object::{Kind, MAX_OBJECT_LENGTH, Object, object_hash};
use crate::wire::Reader;

/// What a pack begins with; the last byte is the format's version.
pub const MAGIC: [u8; 8] = *b"dotpack\x01";

/// The length of a frame's header.
pub const HEADER_LENGTH: usize = 1 + 1 + 4 + 4 + ObjectHash::LENGTH;

/// The largest pack.
pub const MAX_PACK_LENGTH: usize = 32 << 20;

const LEVEL: i32 = 1;
const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// They do not begin with [`MAGIC`].
    #[error("this is not a pack, or one of a newer Dotmesh")]
    NotAPack,
    /// More than [`MAX_PACK_LENGTH`].
    #[error("a pack may have at most {MAX_PACK_LENGTH} bytes, got {length}")]
    TooLong { length: usize },
    /// The frame at `offset` ends in the middle, or its header says what cannot be.
    #[error("the pack's frame at byte {offset} is malformed")]
    BadFrame { offset: usize },
    /// The frame at `offset` does not decompress to what its header says.
    #[error("the pack's frame at byte {offset} does not decompress")]
    BadCompression { offset: usize },
    /// The bytes are not those of the object that the header names.
    #[error("the object {hash} arrived damaged")]
    WrongHash { hash: ObjectHash },
}

/// One object of a pack, as stored. Its bytes are given out verified only.
#[derive(Debug, Clone)]
pub struct Frame {
    kind: Kind,
    hash: ObjectHash,
    raw_length: usize,
    compressed: bool,
    offset: usize,
    stored: Bytes,
}

impl Frame {
    /// Compresses an object.
    pub fn encode(object: &Object) -> Self {
        let raw = object.bytes();
        let smaller = zstd::bulk::compress(raw, LEVEL)
            .ok()
            .filter(|packed| packed.len() < raw.len());
        let content = smaller.as_deref().unwrap_or(raw);
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len())
                .expect("objects are small")
                .to_le_bytes()
        };
        let mut stored = Vec::with_capacity(HEADER_LENGTH + content.len());
        stored.push(object.kind().number());
        stored.push(if smaller.is_some() { ZSTD } else { RAW });
        stored.extend_from_slice(&length(raw));
        stored.extend_from_slice(&length(content));
        stored.extend_from_slice(object.hash().as_bytes());
        stored.extend_from_slice(content);
        Self {
            kind: object.kind(),
            hash: object.hash(),
            raw_length: raw.len(),
            compressed: smaller.is_some(),
            offset: 0,
            stored: stored.into(),
        }
    }

    /// Reads the bytes of exactly one frame, as [`Self::stored`] gave them.
    pub fn parse(stored: &Bytes) -> Result<Self, PackError> {
        let frame = Self::parse_front(stored, 0)?;
        if frame.stored.len() == stored.len() {
            Ok(frame)
        } else {
            Err(PackError::BadFrame { offset: 0 })
        }
    }

    fn parse_front(pack: &Bytes, offset: usize) -> Result<Self, PackError> {
        Self::parse_header(pack, offset)
            .ok()
            .flatten()
            .ok_or(PackError::BadFrame { offset })
    }

    fn parse_header(pack: &Bytes, offset: usize) -> Result<Option<Self>, InvalidNode> {
        let mut reader = Reader::new(pack.get(offset..).unwrap_or_default());
        let kind = Kind::from_number(reader.u8()?);
        let encoding = reader.u8()?;
        let raw_length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let stored_length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let hash = reader.hash()?;
        let fits = (1..=MAX_OBJECT_LENGTH).contains(&raw_length)
            && match encoding {
                RAW => stored_length == raw_length,
                // What is not smaller is stored raw.
                ZSTD => (1..raw_length).contains(&stored_length),
                _ => false,
            };
        let Some(kind) = kind.filter(|_| fits) else {
            return Ok(None);
        };
        reader.take(stored_length)?;
        let stored = pack.slice(offset..offset + HEADER_LENGTH + stored_length);
        let compressed = encoding == ZSTD;
        Ok(Some(Self {
            kind,
            hash,
            raw_length,
            compressed,
            offset,
            stored,
        }))
    }

    /// What the object's bytes are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The hash that the header states; [`Self::object`] holds it to that.
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The object's length that the header states.
    pub fn raw_length(&self) -> usize {
        self.raw_length
    }

    /// Where in its pack it begins.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The whole frame, header included, to be copied into another pack.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// Decompresses and verifies the object.
    pub fn object(&self) -> Result<Object, PackError> {
        let content = self.stored.slice(HEADER_LENGTH..);
        let bytes = if self.compressed {
            // The capacity bounds what a lying frame can make of itself.
            zstd::bulk::decompress(&content, self.raw_length)
                .ok()
                .filter(|bytes| bytes.len() == self.raw_length)
                .ok_or(PackError::BadCompression {
                    offset: self.offset,
                })?
                .into()
        } else {
            content
        };
        if object_hash(self.kind, &bytes) != self.hash {
            return Err(PackError::WrongHash { hash: self.hash });
        }
        Ok(Object::new_verified(self.kind, self.hash, bytes))
    }
}

/// Yields the frames of a pack. Ends after the first error.
#[derive(Debug)]
pub struct PackReader {
    pack: Bytes,
    at: usize,
}

impl PackReader {
    /// Reads the pack's beginning.
    pub fn new(pack: Bytes) -> Result<Self, PackError> {
        if pack.len() > MAX_PACK_LENGTH {
            return Err(PackError::TooLong { length: pack.len() });
        }
        if !pack.starts_with(&MAGIC) {
            return Err(PackError::NotAPack);
        }
        Ok(Self {
            pack,
            at: MAGIC.len(),
        })
    }
}

impl Iterator for PackReader {
    type Item = Result<Frame, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.pack.len() {
            return None;
        }
        let frame = Frame::parse_front(&self.pack, self.at);
        self.at = frame
            .as_ref()
            .map_or(self.pack.len(), |frame| self.at + frame.stored.len());
        Some(frame)
    }
}

/// Puts frames together. The caller watches [`Self::len`] against [`MAX_PACK_LENGTH`].
#[derive(Debug)]
pub struct PackWriter {
    out: Vec<u8>,
}

impl Default for PackWriter {
    fn default() -> Self {
        Self {
            out: MAGIC.to_vec(),
        }
    }
}

impl PackWriter {
    /// Adds a frame as it is, and says where it begins.
    pub fn push(&mut self, frame: &Frame) -> usize {
        let offset = self.out.len();
        self.out.extend_from_slice(&frame.stored);
        offset
    }

    /// Whether there is no frame yet.
    pub fn is_empty(&self) -> bool {
        self.len() == MAGIC.len()
    }

    /// The pack's length so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// The pack.
    pub fn finish(self) -> Bytes {
        self.out.into()
    }
}
