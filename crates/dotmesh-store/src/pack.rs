//! Packs: files with many objects, on the network and in a store.
//!
//! A pack is the eight bytes of [`MAGIC`], then frames until the end. A frame is a header of [`HEADER_LENGTH`] bytes
//! and the stored bytes. The header has the kind, the encoding, the object's length, the stored length and the hash. A
//! frame can be copied unchanged from one pack to another.

use bytes::{Bytes, BytesMut};
use dotmesh_model::ObjectHash;
use zstd_safe::{CCtx, CParameter, DCtx, ResetDirective};

use crate::error::InvalidObject;
use crate::object::{Kind, MAX_OBJECT_LENGTH, Object, object_hash};
use crate::wire::Reader;

/// The first bytes of a pack. The last of them is the format version.
pub const MAGIC: [u8; 8] = *b"dotpack\x01";

/// The length of a frame's header.
pub const HEADER_LENGTH: usize = 1 + 1 + 4 + 4 + ObjectHash::LENGTH;

/// The largest pack, in bytes.
pub const MAX_PACK_LENGTH: usize = 32 << 20;

/// The effort of compression. Every reader reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Encodes and decodes database pages about 1.5 times as fast as [`Self::Small`], and needs a tenth more bytes.
    #[default]
    Fast,
    /// For small objects, and for slow connections.
    Small,
}

impl Effort {
    /// The zstd level. The fast levels, below 0, leave literals uncompressed.
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

/// The unchanged parts of a database page are usually longer than this many bytes.
const STRETCH: usize = 32;

/// The length of the fields before the zstd frame of a XOR: the delta base's hash and the skew.
const XOR_HEADER: usize = ObjectHash::LENGTH + 4;

/// The reason why bytes are not a valid pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The bytes do not begin with [`MAGIC`].
    #[error("this is not a pack, or one of a newer Dotmesh")]
    NotAPack,
    /// The pack has more than [`MAX_PACK_LENGTH`] bytes.
    #[error("a pack may have at most {MAX_PACK_LENGTH} bytes, got {length}")]
    TooLong { length: usize },
    /// The frame at `offset` is cut off, or its header has impossible fields.
    #[error("the pack's frame at byte {offset} is malformed")]
    BadFrame { offset: usize },
    /// The frame at `offset` does not decompress to the length in its header.
    #[error("the pack's frame at byte {offset} does not decompress")]
    BadCompression { offset: usize },
    /// The bytes do not match the hash in the header.
    #[error("the object {hash} arrived damaged")]
    WrongHash { hash: ObjectHash },
    /// The frame is a delta, and its delta base is not available.
    #[error("the object {hash} is stored as a delta from {base}, which is not there")]
    NoBase { hash: ObjectHash, base: ObjectHash },
    /// The group at `offset` builds on another group, which is not there. Or it builds on none, and got one.
    #[error("the group at byte {offset} cannot be read without the group that it builds on")]
    NoBaseGroup { offset: usize },
}

/// How a frame holds its object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Raw,
    Zstd,
    Delta { base: ObjectHash },
    Xor { base: ObjectHash, skew: i32 },
}

/// One object of a pack, as stored. Methods return its bytes only after they have verified them.
#[derive(Debug, Clone)]
pub struct Frame {
    kind: Kind,
    hash: ObjectHash,
    raw_length: usize,
    encoding: Encoding,
    offset: usize,
    stored: Bytes,
}

/// Encodes objects as frames. Use one encoder for many objects: it reuses its memory.
pub struct FrameEncoder<'a> {
    context: CCtx<'a>,
    buffer: Vec<u8>,
    mixed: Vec<u8>,
    /// The block that the next frames are written to. One allocation for each frame would fragment the heap, because
    /// frames live for different times.
    block: BytesMut,
}

/// The length of a block, in bytes. Several frames share one.
const BLOCK_LENGTH: usize = 512 << 10;

impl Default for FrameEncoder<'_> {
    fn default() -> Self {
        Self::new(Effort::default())
    }
}

impl<'a> FrameEncoder<'a> {
    /// Makes an encoder with this effort.
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

    /// Compresses an object, or stores it raw if compression does not make it smaller.
    pub fn encode(&mut self, object: &Object) -> Frame {
        let smaller = self.compress(object.bytes(), 0);
        let encoding = if smaller {
            Encoding::Zstd
        } else {
            Encoding::Raw
        };
        self.frame(object, encoding)
    }

    /// Stores an object as a delta from a delta base of its kind, or without one if a delta is not smaller. The frame
    /// has only the hash of the delta base, so the decoder must already have the delta base.
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

    /// Stores a chunk as its XOR with a delta base that begins `skew` bytes before it. Stores it without a delta base
    /// if too few bytes are equal. This costs both sides less CPU than [`Self::encode_against`], but finds only changes
    /// in place, as in database pages.
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
        // Four database pages of which one is new are below this limit, and most chunks are like that. The second
        // compression is skipped for them. A chunk that lost its random bytes may then be stored larger than necessary.
        if over.stored.len() <= object.bytes().len() * 3 / 8 {
            return over;
        }
        // A chunk that lost its random bytes is smaller without a delta base.
        let plain = self.encode(object);
        if plain.stored.len() < over.stored.len() {
            plain
        } else {
            over
        }
    }

    /// Compresses into the buffer. Returns whether this saves more than `overhead` bytes.
    fn compress(&mut self, raw: &[u8], overhead: usize) -> bool {
        self.buffer.clear();
        self.buffer.reserve(zstd_safe::compress_bound(raw.len()));
        let done = self.context.compress2(&mut self.buffer, raw).is_ok();
        if !done {
            // Without a reset, the failed session would continue with the next object.
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

/// Decodes frames into objects. Use one decoder for many frames: it reuses its memory.
#[derive(Default)]
pub struct FrameDecoder<'a> {
    context: DCtx<'a>,
    buffer: Vec<u8>,
}

impl<'a> FrameDecoder<'a> {
    /// Decompresses and verifies the object of a frame that is not a delta.
    ///
    /// # Errors
    ///
    /// [`PackError::NoBase`] if the frame is a delta.
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

    /// Like [`Self::object`], but borrows the bytes instead of making an [`Object`].
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

    /// Decompresses and verifies the object of a delta. [`Frame::base`] names its delta base.
    ///
    /// # Errors
    ///
    /// [`PackError::NoBase`] if `base` is not the delta base that the frame names, or has another kind.
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
        // The capacity limits the output of a frame with a false length.
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
    /// Compresses an object. For many objects, a [`FrameEncoder`] is faster.
    pub fn encode(object: &Object) -> Self {
        FrameEncoder::default().encode(object)
    }

    /// Parses the bytes of exactly one frame, as [`Self::stored`] returned them.
    pub fn parse(stored: &Bytes) -> Result<Self, PackError> {
        let frame = Self::parse_front(stored, 0)?;
        if frame.stored.len() == stored.len() {
            Ok(frame)
        } else {
            Err(PackError::BadFrame { offset: 0 })
        }
    }

    pub(crate) fn parse_front(pack: &Bytes, offset: usize) -> Result<Self, PackError> {
        Self::parse_header(pack, offset)
            .ok()
            .flatten()
            .ok_or(PackError::BadFrame { offset })
    }

    fn parse_header(pack: &Bytes, offset: usize) -> Result<Option<Self>, InvalidObject> {
        let mut reader = Reader::new(pack.get(offset..).unwrap_or_default());
        let kind = Kind::from_number(reader.u8()?);
        let encoding = reader.u8()?;
        let raw_length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let stored_length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let hash = reader.hash()?;
        let fits = (1..=MAX_OBJECT_LENGTH).contains(&raw_length)
            && match encoding {
                RAW => stored_length == raw_length,
                // An object that compression does not make smaller is stored raw.
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

    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The hash that the header states. [`Self::object`] verifies it.
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The length of the object that the header states.
    pub fn raw_length(&self) -> usize {
        self.raw_length
    }

    /// The position of the frame in its pack.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The whole frame with its header, for copying into another pack.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// The delta base of this object, if it is a delta.
    pub fn base(&self) -> Option<ObjectHash> {
        match self.encoding {
            Encoding::Delta { base } | Encoding::Xor { base, .. } => Some(base),
            Encoding::Raw | Encoding::Zstd => None,
        }
    }

    /// Decompresses and verifies the object of a frame that is not a delta. For many frames, a [`FrameDecoder`] is
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

/// XORs byte `i` with byte `i + skew` of the base, if the base has that byte. Applied twice, it returns the original
/// bytes.
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

/// Whether stretches of [`STRETCH`] zeros cover half of the bytes. Single zeros don't count: a log written over another
/// log has many bytes in common with it, but their XOR looks more random than the log itself.
fn is_mostly_zero(bytes: &[u8]) -> bool {
    let (stretches, _) = bytes.as_chunks::<STRETCH>();
    let zero = stretches.iter().filter(|stretch| **stretch == [0; STRETCH]);
    zero.count() * STRETCH >= bytes.len() / 2
}

/// Iterates over the frames of a pack. It ends after the first error.
#[derive(Debug)]
pub struct PackReader {
    pack: Bytes,
    at: usize,
}

impl PackReader {
    /// Checks the length and the first bytes of the pack.
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

/// Builds a pack of frames. The caller must compare [`Self::len`] with [`MAX_PACK_LENGTH`].
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
    /// Makes a writer with room for `length` bytes.
    pub fn with_room(length: usize) -> Self {
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&MAGIC);
        Self { out }
    }

    /// Appends a frame unchanged, and returns its position.
    pub fn push(&mut self, frame: &Frame) -> usize {
        let offset = self.out.len();
        self.out.extend_from_slice(&frame.stored);
        offset
    }

    /// Whether the pack has no frames yet.
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
