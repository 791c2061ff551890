//! Packs: many objects in one piece, as they travel and as they rest.
//!
//! A pack is the eight bytes of [`MAGIC`] and then frames until its end. A frame is a header of
//! [`HEADER_LENGTH`] bytes (kind, encoding, length of the object, length as stored, hash) and the stored bytes.
//! Frames can be copied from pack to pack as they are.

use bytes::{Bytes, BytesMut};
use dotmesh_model::ObjectHash;
use zstd_safe::{CCtx, CParameter, DCtx, ResetDirective};

use crate::error::InvalidNode;
use crate::object::{Kind, MAX_OBJECT_LENGTH, Object, object_hash};
use crate::wire::Reader;

/// What a pack begins with; the last byte is the format's version.
pub const MAGIC: [u8; 8] = *b"dotpack\x01";

/// The length of a frame's header.
pub const HEADER_LENGTH: usize = 1 + 1 + 4 + 4 + ObjectHash::LENGTH;

/// The largest pack.
pub const MAX_PACK_LENGTH: usize = 32 << 20;

/// How much work goes into making bytes fewer. Any reader reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Pages of databases are done half again as fast, in both directions, and take a tenth more bytes.
    #[default]
    Fast,
    /// For what is little, or has a slow way to go.
    Small,
}

impl Effort {
    /// The fast levels of zstd leave literals as they are.
    const fn level(self) -> i32 {
        match self {
            Self::Fast => -1,
            Self::Small => 1,
        }
    }
}

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const DELTA: u8 = 2;
const XOR: u8 = 3;

/// What has not changed of a page is longer than this many bytes, mostly.
const STRETCH: usize = 32;

/// The length of what precedes the zstd frame of a XOR.
const XOR_HEADER: usize = ObjectHash::LENGTH + 4;

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
    /// The frame is a delta, and its base is not at hand.
    #[error("the object {hash} is stored as a delta from {base}, which is not there")]
    NoBase { hash: ObjectHash, base: ObjectHash },
}

/// How a frame holds its object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Raw,
    Zstd,
    Delta { base: ObjectHash },
    Xor { base: ObjectHash, skew: i32 },
}

/// One object of a pack, as stored. Its bytes are given out verified only.
#[derive(Debug, Clone)]
pub struct Frame {
    kind: Kind,
    hash: ObjectHash,
    raw_length: usize,
    encoding: Encoding,
    offset: usize,
    stored: Bytes,
}

/// Makes frames of objects. One is good for many: its memory is used again.
pub struct FrameEncoder<'a> {
    context: CCtx<'a>,
    buffer: Vec<u8>,
    mixed: Vec<u8>,
    /// What the next frames are written to. Very many small pieces of memory, each kept for another time, would leave it full
    /// of holes.
    block: BytesMut,
}

/// Frames share pieces of memory of this length.
const BLOCK_LENGTH: usize = 512 << 10;

impl Default for FrameEncoder<'_> {
    fn default() -> Self {
        Self::new(Effort::default())
    }
}

impl<'a> FrameEncoder<'a> {
    /// An encoder that makes so much of an effort.
    pub fn new(effort: Effort) -> Self {
        let mut context = CCtx::create();
        context
            .set_parameter(CParameter::CompressionLevel(effort.level()))
            .expect("the level is in zstd's range");
        Self {
            context,
            buffer: Vec::new(),
            mixed: Vec::new(),
            block: BytesMut::new(),
        }
    }

    /// Compresses an object, unless that makes it larger.
    pub fn encode(&mut self, object: &Object) -> Frame {
        let smaller = self.compress(object.bytes(), 0);
        let encoding = if smaller {
            Encoding::Zstd
        } else {
            Encoding::Raw
        };
        self.frame(object, encoding)
    }

    /// Stores an object as what distinguishes it from another of its kind; by itself where that is not
    /// smaller. The base goes into the frame by name only: who decodes it must have it.
    pub fn encode_against(&mut self, object: &Object, base: &'a Object) -> Frame {
        let fits = object.kind() == base.kind() && object.hash() != base.hash();
        if fits && self.context.ref_prefix(base.bytes()).is_ok() {
            let encoding = Encoding::Delta { base: base.hash() };
            if self.compress(object.bytes(), ObjectHash::LENGTH) {
                return self.frame(object, encoding);
            }
        }
        self.encode(object)
    }

    /// Stores a chunk as how it differs, byte by byte, from another that begins `skew` bytes before it; by itself
    /// where too little is the same. Costs less than [`Self::encode_against`], for both sides, and finds what changed
    /// in place only: pages of databases.
    pub fn encode_over(
        &mut self,
        object: &Object,
        base: ObjectHash,
        base_bytes: &[u8],
        skew: i32,
    ) -> Frame {
        let mut mixed = std::mem::take(&mut self.mixed);
        mix(object.bytes(), base_bytes, skew, &mut mixed);
        let worthwhile = is_mostly_zero(&mixed) && base != object.hash();
        let smaller = worthwhile && self.compress(&mixed, XOR_HEADER);
        self.mixed = mixed;
        if !smaller {
            return self.encode(object);
        }
        let over = self.frame(object, Encoding::Xor { base, skew });
        // Small enough for four pages of which one is all new, as most are. One that had noise and has none any more pays for it.
        if over.stored.len() <= object.bytes().len() * 3 / 8 {
            return over;
        }
        // What had noise in it and has none any more is smaller by itself.
        let plain = self.encode(object);
        if plain.stored.len() < over.stored.len() {
            plain
        } else {
            over
        }
    }

    /// Compresses into the buffer, and says whether that is smaller by more than `overhead` bytes.
    fn compress(&mut self, raw: &[u8], overhead: usize) -> bool {
        self.buffer.clear();
        self.buffer.reserve(zstd_safe::compress_bound(raw.len()));
        let done = self.context.compress2(&mut self.buffer, raw).is_ok();
        if !done {
            // A session that failed would go on with the next object.
            let _ = self.context.reset(ResetDirective::SessionOnly);
        }
        done && self.buffer.len() + overhead < raw.len()
    }

    fn frame(&mut self, object: &Object, encoding: Encoding) -> Frame {
        let raw = object.bytes();
        let mut before = Vec::new();
        let (number, content): (u8, &[u8]) = match &encoding {
            Encoding::Raw => (RAW, raw),
            Encoding::Zstd => (ZSTD, &self.buffer),
            Encoding::Delta { base } => {
                before.extend_from_slice(base.as_bytes());
                (DELTA, &self.buffer)
            }
            Encoding::Xor { base, skew } => {
                before.extend_from_slice(base.as_bytes());
                before.extend_from_slice(&skew.to_le_bytes());
                (XOR, &self.buffer)
            }
        };
        let length = |length: usize| {
            u32::try_from(length)
                .expect("objects are small")
                .to_le_bytes()
        };
        let stored_length = before.len() + content.len();
        let needed = HEADER_LENGTH + stored_length;
        if self.block.capacity() < needed {
            self.block = BytesMut::with_capacity(needed.max(BLOCK_LENGTH));
        }
        let stored = &mut self.block;
        stored.extend_from_slice(&[object.kind().number(), number]);
        stored.extend_from_slice(&length(raw.len()));
        stored.extend_from_slice(&length(stored_length));
        stored.extend_from_slice(object.hash().as_bytes());
        stored.extend_from_slice(&before);
        stored.extend_from_slice(content);
        Frame {
            kind: object.kind(),
            hash: object.hash(),
            raw_length: raw.len(),
            encoding,
            offset: 0,
            stored: self.block.split().freeze(),
        }
    }
}

/// Takes the objects out of frames. One is good for many: its memory is used again.
#[derive(Default)]
pub struct FrameDecoder<'a> {
    context: DCtx<'a>,
    buffer: Vec<u8>,
}

impl<'a> FrameDecoder<'a> {
    /// Decompresses and verifies the object of a frame that stands by itself.
    ///
    /// # Errors
    ///
    /// [`PackError::NoBase`] when it does not.
    pub fn object(&mut self, frame: &Frame) -> Result<Object, PackError> {
        let content = frame.stored.slice(HEADER_LENGTH..);
        match frame.encoding {
            Encoding::Raw => frame.verified(content),
            Encoding::Zstd => {
                let bytes = self.decompress(frame, &content)?;
                frame.verified(bytes)
            }
            Encoding::Delta { base } | Encoding::Xor { base, .. } => Err(PackError::NoBase {
                hash: frame.hash,
                base,
            }),
        }
    }

    /// The same, for who wants to look at the object's bytes only.
    pub fn verify<'b>(&'b mut self, frame: &'b Frame) -> Result<&'b [u8], PackError> {
        let content = &frame.stored[HEADER_LENGTH..];
        let bytes = match frame.encoding {
            Encoding::Raw => content,
            Encoding::Zstd => {
                let mut buffer = std::mem::take(&mut self.buffer);
                let done = self.decompress_into(frame, content, &mut buffer);
                self.buffer = buffer;
                done?;
                &self.buffer
            }
            Encoding::Delta { base } | Encoding::Xor { base, .. } => {
                let hash = frame.hash;
                return Err(PackError::NoBase { hash, base });
            }
        };
        frame.check_hash(bytes)?;
        Ok(bytes)
    }

    /// Decompresses and verifies the object of a delta, whose base is [`Frame::base`].
    ///
    /// # Errors
    ///
    /// [`PackError::NoBase`] when the base is another object than the frame names.
    pub fn object_against(&mut self, frame: &Frame, base: &'a Object) -> Result<Object, PackError> {
        let (named, skew) = match frame.encoding {
            Encoding::Delta { base } => (base, None),
            Encoding::Xor { base, skew } => (base, Some(skew)),
            Encoding::Raw | Encoding::Zstd => return self.object(frame),
        };
        if named != base.hash() || base.kind() != frame.kind {
            return Err(PackError::NoBase {
                hash: frame.hash,
                base: named,
            });
        }
        if let Some(skew) = skew {
            let content = frame.stored.slice(HEADER_LENGTH + XOR_HEADER..);
            let mixed = self.decompress(frame, &content)?;
            let mut bytes = Vec::new();
            mix(&mixed, base.bytes(), skew, &mut bytes);
            return frame.verified(bytes.into());
        }
        self.context
            .ref_prefix(base.bytes())
            .map_err(|_| frame.bad_compression())?;
        let content = frame.stored.slice(HEADER_LENGTH + ObjectHash::LENGTH..);
        let bytes = self.decompress(frame, &content)?;
        frame.verified(bytes)
    }

    fn decompress(&mut self, frame: &Frame, content: &[u8]) -> Result<Bytes, PackError> {
        let mut bytes = Vec::new();
        self.decompress_into(frame, content, &mut bytes)?;
        Ok(bytes.into())
    }

    fn decompress_into(
        &mut self,
        frame: &Frame,
        content: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), PackError> {
        // The capacity bounds what a lying frame can make of itself.
        bytes.clear();
        bytes.reserve_exact(frame.raw_length);
        let done = self.context.decompress(bytes, content);
        if done.is_err() {
            let _ = self.context.reset(ResetDirective::SessionOnly);
        }
        if done.is_ok() && bytes.len() == frame.raw_length {
            Ok(())
        } else {
            Err(frame.bad_compression())
        }
    }
}

impl Frame {
    /// Compresses an object. A [`FrameEncoder`] does many faster.
    pub fn encode(object: &Object) -> Self {
        FrameEncoder::default().encode(object)
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
                DELTA => (ObjectHash::LENGTH + 1..raw_length).contains(&stored_length),
                XOR => (XOR_HEADER + 1..raw_length).contains(&stored_length),
                _ => false,
            };
        let Some(kind) = kind.filter(|_| fits) else {
            return Ok(None);
        };
        let mut content = Reader::new(reader.take(stored_length)?);
        let encoding = match encoding {
            RAW => Encoding::Raw,
            ZSTD => Encoding::Zstd,
            DELTA => Encoding::Delta {
                base: content.hash()?,
            },
            _ => Encoding::Xor {
                base: content.hash()?,
                skew: content.i32()?,
            },
        };
        let stored = pack.slice(offset..offset + HEADER_LENGTH + stored_length);
        Ok(Some(Self {
            kind,
            hash,
            raw_length,
            encoding,
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

    /// The object that this one is stored as a delta from, if it is.
    pub fn base(&self) -> Option<ObjectHash> {
        match self.encoding {
            Encoding::Delta { base } | Encoding::Xor { base, .. } => Some(base),
            Encoding::Raw | Encoding::Zstd => None,
        }
    }

    /// Decompresses and verifies the object of a frame that stands by itself. A [`FrameDecoder`] does many
    /// faster.
    pub fn object(&self) -> Result<Object, PackError> {
        FrameDecoder::default().object(self)
    }

    fn check_hash(&self, bytes: &[u8]) -> Result<(), PackError> {
        if object_hash(self.kind, bytes) == self.hash {
            Ok(())
        } else {
            Err(PackError::WrongHash { hash: self.hash })
        }
    }

    fn verified(&self, bytes: Bytes) -> Result<Object, PackError> {
        self.check_hash(&bytes)?;
        Ok(Object::new_verified(self.kind, self.hash, bytes))
    }

    fn bad_compression(&self) -> PackError {
        PackError::BadCompression {
            offset: self.offset,
        }
    }
}

/// The bytes, each XORed with the one of the base that is `skew` further on, where there is one. Its own inverse.
fn mix(bytes: &[u8], base: &[u8], skew: i32, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(bytes);
    let distance = skew.unsigned_abs() as usize;
    let (from, base) = match skew < 0 {
        true => (into.get_mut(distance..).unwrap_or_default(), base),
        false => (&mut into[..], base.get(distance..).unwrap_or_default()),
    };
    for (byte, base) in from.iter_mut().zip(base) {
        *byte ^= base;
    }
}

/// Whether half of it are stretches of zeros. Single ones say nothing: logs, of which one is written over another, have many bytes
/// in common, and look more at random when they are mixed.
fn is_mostly_zero(bytes: &[u8]) -> bool {
    let (stretches, _) = bytes.as_chunks::<STRETCH>();
    let zero = stretches.iter().filter(|stretch| **stretch == [0; STRETCH]);
    zero.count() * STRETCH >= bytes.len() / 2
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
        Self::with_room(MAGIC.len())
    }
}

impl PackWriter {
    /// A pack that will have about so many bytes.
    pub fn with_room(length: usize) -> Self {
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&MAGIC);
        Self { out }
    }

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
