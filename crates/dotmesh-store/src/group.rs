//! Groups: many objects in one compressed frame, in packs of version 2, which only stores have.
//!
//! Objects that resemble each other, such as the versions of one database page, take little space in a group. A group
//! may build on another group, its base, which has no base itself. So any object is read with at most two ranged reads.

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use crate::error::InvalidObject;
use crate::object::{Kind, MAX_OBJECT_LENGTH, Object, object_hash};
use crate::pack::{Frame, MAGIC, MAX_PACK_LENGTH, PackError};
use crate::pack_store::{FrameRange, PackId};
use crate::wire::Reader;

/// The first bytes of a pack of version 2.
pub const MAGIC_2: [u8; 8] = *b"dotpack\x02";

/// The most bytes that the objects of a group have together, uncompressed.
pub const MAX_GROUP_LENGTH: usize = 2 << 20;

/// The most objects of a group.
pub const MAX_GROUP_OBJECTS: usize = 4096;

/// The number in the place of a frame's kind that marks a group.
const GROUP: u8 = 16;

/// The encodings of a group.
const ZSTD: u8 = 1;
const BASED: u8 = 2;

/// The length of the fields before the objects, without a base: kind, encoding, lengths and the number of objects.
const HEADER_LENGTH: usize = 1 + 1 + 4 + 4 + 2;

/// The length of the stated base: a pack, and the position and length of a group.
const BASE_LENGTH: usize = 32 + 4 + 4;

/// The length of what is stated of each object: its kind, length and hash.
const ENTRY_LENGTH: usize = 1 + 4 + ObjectHash::LENGTH;

/// The longest window of a group's zstd frame, as a power of two.
const WINDOW_LOG: u32 = 22;

/// An object of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEntry {
    pub kind: Kind,
    pub hash: ObjectHash,
    /// Its uncompressed length, in bytes.
    pub length: usize,
    /// Where its bytes begin among the group's uncompressed bytes.
    start: usize,
}

/// The position of a group that another group builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBase {
    pub pack: PackId,
    pub range: FrameRange,
}

/// A group as stored. [`GroupBytes::object`] returns its objects, and verifies them.
#[derive(Debug, Clone)]
pub struct Group {
    entries: Vec<GroupEntry>,
    base: Option<GroupBase>,
    raw_length: usize,
    offset: usize,
    stored: Bytes,
    /// Where the zstd frame begins in `stored`.
    content: usize,
}

/// The uncompressed bytes of a group, or as many from the start as were asked for. They are not verified.
#[derive(Debug, Clone)]
pub struct GroupBytes(Vec<u8>);

/// A frame of a pack of either version.
#[derive(Debug, Clone)]
pub enum StoredFrame {
    /// A single object.
    Single(Frame),
    /// Several objects.
    Group(Group),
}

impl StoredFrame {
    /// Parses the bytes of exactly one frame.
    pub fn parse(stored: &Bytes) -> Result<Self, PackError> {
        match stored.first() {
            Some(&GROUP) => Group::parse(stored).map(Self::Group),
            _ => Frame::parse(stored).map(Self::Single),
        }
    }

    /// The position of the frame in its pack.
    pub fn offset(&self) -> usize {
        match self {
            Self::Single(frame) => frame.offset(),
            Self::Group(group) => group.offset,
        }
    }

    /// The whole frame.
    pub fn stored(&self) -> &Bytes {
        match self {
            Self::Single(frame) => frame.stored(),
            Self::Group(group) => &group.stored,
        }
    }
}

impl Group {
    /// Parses the bytes of exactly one group.
    pub fn parse(stored: &Bytes) -> Result<Self, PackError> {
        let group = Self::parse_front(stored, 0)?;
        if group.stored.len() == stored.len() {
            Ok(group)
        } else {
            Err(PackError::BadFrame { offset: 0 })
        }
    }

    fn parse_front(pack: &Bytes, offset: usize) -> Result<Self, PackError> {
        Self::parse_fields(pack, offset)
            .ok()
            .flatten()
            .ok_or(PackError::BadFrame { offset })
    }

    fn parse_fields(pack: &Bytes, offset: usize) -> Result<Option<Self>, InvalidObject> {
        let mut reader = Reader::new(pack.get(offset..).unwrap_or_default());
        let (kind, encoding) = (reader.u8()?, reader.u8()?);
        let raw_length = reader.u32()? as usize;
        let stored_length = reader.u32()? as usize;
        let count = usize::from(reader.u16()?);
        let fits = kind == GROUP
            && matches!(encoding, ZSTD | BASED)
            && (1..=MAX_GROUP_LENGTH).contains(&raw_length)
            && (1..=MAX_GROUP_OBJECTS).contains(&count);
        if !fits {
            return Ok(None);
        }
        let based = encoding == BASED;
        let before = count * ENTRY_LENGTH + if based { BASE_LENGTH } else { 0 };
        if !(before + 1..=before + most_compressed(raw_length)).contains(&stored_length) {
            return Ok(None);
        }
        let mut fields = Reader::new(reader.take(stored_length)?);
        let base = match based {
            true => Some(GroupBase {
                pack: PackId::from_bytes(*fields.hash()?.as_bytes()),
                range: FrameRange {
                    offset: fields.u32()?,
                    length: fields.u32()?,
                },
            }),
            false => None,
        };
        let mut entries = Vec::with_capacity(count);
        let mut start = 0;
        for _ in 0..count {
            let (kind, length, hash) = (fields.u8()?, fields.u32()? as usize, fields.hash()?);
            let kind = Kind::from_number(kind);
            let kind = kind.filter(|_| (1..=MAX_OBJECT_LENGTH).contains(&length));
            let Some(kind) = kind else { return Ok(None) };
            entries.push(GroupEntry {
                kind,
                hash,
                length,
                start,
            });
            start += length;
        }
        if start != raw_length {
            return Ok(None);
        }
        Ok(Some(Self {
            entries,
            base,
            raw_length,
            offset,
            stored: pack.slice(offset..offset + HEADER_LENGTH + stored_length),
            content: HEADER_LENGTH + before,
        }))
    }

    /// The objects that the group states to have, in the order of their bytes.
    pub fn entries(&self) -> &[GroupEntry] {
        &self.entries
    }

    /// The group that this one builds on.
    pub fn base(&self) -> Option<GroupBase> {
        self.base
    }

    /// The length of its objects together, uncompressed.
    pub fn raw_length(&self) -> usize {
        self.raw_length
    }

    /// The position of the group in its pack.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The whole group as stored.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// The number of the object with this hash.
    pub fn find(&self, hash: ObjectHash) -> Option<usize> {
        self.entries.iter().position(|entry| entry.hash == hash)
    }

    /// Decompresses the whole group. `base` has all bytes of its base, if it has one.
    pub fn decompress(&self, base: Option<&GroupBytes>) -> Result<GroupBytes, PackError> {
        let bytes = self.decompress_until(base, self.raw_length)?;
        match bytes.0.len() == self.raw_length {
            true => Ok(bytes),
            false => Err(self.bad_compression()),
        }
    }

    /// Decompresses the group up to the end of the object with this number. The newest objects come first, and most
    /// readers want only those.
    pub fn decompress_through(
        &self,
        base: Option<&GroupBytes>,
        number: usize,
    ) -> Result<GroupBytes, PackError> {
        match self.entries.get(number) {
            Some(last) if number + 1 < self.entries.len() => {
                self.decompress_until(base, last.start + last.length)
            }
            _ => self.decompress(base),
        }
    }

    fn decompress_until(
        &self,
        base: Option<&GroupBytes>,
        end: usize,
    ) -> Result<GroupBytes, PackError> {
        if self.base.is_some() != base.is_some() {
            return Err(PackError::NoBaseGroup {
                offset: self.offset,
            });
        }
        let failed = |_| self.bad_compression();
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
            .map_err(failed)?;
        if let Some(base) = base {
            context.ref_prefix(&base.0).map_err(failed)?;
        }
        let content = &self.stored[self.content..];
        // The capacity limits the output of a group with a false length.
        let mut bytes = Vec::with_capacity(end);
        if end == self.raw_length {
            context.decompress(&mut bytes, content).map_err(failed)?;
            return Ok(GroupBytes(bytes));
        }
        let mut input = InBuffer::around(content);
        let mut output = OutBuffer::around(&mut bytes);
        while output.pos() < end {
            let before = (input.pos, output.pos());
            let left = context.decompress_stream(&mut output, &mut input);
            let left = left.map_err(failed)?;
            let stuck = before == (input.pos, output.pos());
            if output.pos() < end && (left == 0 || stuck) {
                return Err(self.bad_compression());
            }
        }
        Ok(GroupBytes(bytes))
    }

    fn bad_compression(&self) -> PackError {
        PackError::BadCompression {
            offset: self.offset,
        }
    }
}

impl GroupBytes {
    /// The bytes, which another group may build on.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Returns the object with this number of the group, verified. The bytes must be this group's.
    pub fn object(&self, group: &Group, number: usize) -> Result<Object, PackError> {
        let bad = || PackError::BadFrame {
            offset: group.offset,
        };
        let entry = group.entries.get(number).ok_or_else(bad)?;
        let bytes = self.0.get(entry.start..entry.start + entry.length);
        let bytes = bytes.ok_or_else(bad)?;
        if object_hash(entry.kind, bytes) != entry.hash {
            return Err(PackError::WrongHash { hash: entry.hash });
        }
        let bytes = Bytes::copy_from_slice(bytes);
        Ok(Object::new_verified(entry.kind, entry.hash, bytes))
    }
}

/// The most bytes that zstd makes of so many: its own bound.
const fn most_compressed(raw_length: usize) -> usize {
    raw_length + (raw_length >> 8) + 64
}

/// Compresses objects to a group with this zstd level. `base` is the group that it builds on, with its bytes. `None`
/// if a group cannot have these objects: too many, or too long, or none.
pub fn encode_group(
    objects: &[Object],
    base: Option<(GroupBase, &GroupBytes)>,
    level: i32,
) -> Option<Bytes> {
    let raw_length: usize = objects.iter().map(|object| object.bytes().len()).sum();
    let fits = (1..=MAX_GROUP_LENGTH).contains(&raw_length) && objects.len() <= MAX_GROUP_OBJECTS;
    if !fits {
        return None;
    }
    let mut raw = Vec::with_capacity(raw_length);
    for object in objects {
        raw.extend_from_slice(object.bytes());
    }
    let mut context = CCtx::create();
    context
        .set_parameter(CParameter::CompressionLevel(level))
        .ok()?;
    context
        .set_parameter(CParameter::WindowLog(WINDOW_LOG))
        .ok()?;
    if let Some((_, bytes)) = base {
        context.ref_prefix(&bytes.0).ok()?;
    }
    let mut content = Vec::with_capacity(zstd_safe::compress_bound(raw_length));
    context.compress2(&mut content, &raw).ok()?;

    let before = objects.len() * ENTRY_LENGTH + base.map_or(0, |_| BASE_LENGTH);
    let number = |length: usize| u32::try_from(length).ok().map(u32::to_le_bytes);
    let mut out = Vec::with_capacity(HEADER_LENGTH + before + content.len());
    out.extend_from_slice(&[GROUP, if base.is_some() { BASED } else { ZSTD }]);
    out.extend_from_slice(&number(raw_length)?);
    out.extend_from_slice(&number(before + content.len())?);
    out.extend_from_slice(&u16::try_from(objects.len()).ok()?.to_le_bytes());
    if let Some((base, _)) = base {
        out.extend_from_slice(base.pack.as_bytes());
        out.extend_from_slice(&base.range.offset.to_le_bytes());
        out.extend_from_slice(&base.range.length.to_le_bytes());
    }
    for object in objects {
        out.push(object.kind().number());
        out.extend_from_slice(&number(object.bytes().len())?);
        out.extend_from_slice(object.hash().as_bytes());
    }
    out.extend_from_slice(&content);
    Some(out.into())
}

/// Builds a pack of version 2. The caller must compare [`Self::len`] with [`MAX_PACK_LENGTH`].
#[derive(Debug)]
pub struct GroupPackWriter {
    out: Vec<u8>,
}

impl Default for GroupPackWriter {
    fn default() -> Self {
        Self {
            out: MAGIC_2.to_vec(),
        }
    }
}

impl GroupPackWriter {
    /// Appends a frame as [`encode_group`] or [`Frame::stored`] returned it, and returns its position.
    pub fn push(&mut self, stored: &Bytes) -> FrameRange {
        // A pack is far shorter than 4 GiB.
        let range = FrameRange {
            offset: self.out.len() as u32,
            length: stored.len() as u32,
        };
        self.out.extend_from_slice(stored);
        range
    }

    /// Whether the pack has no frames yet.
    pub fn is_empty(&self) -> bool {
        self.len() == MAGIC_2.len()
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

/// Iterates over the frames of a pack of either version. It ends after the first error.
#[derive(Debug)]
pub struct StoredPackReader {
    pack: Bytes,
    at: usize,
    has_groups: bool,
}

impl StoredPackReader {
    /// Checks the length and the first bytes of the pack.
    pub fn new(pack: Bytes) -> Result<Self, PackError> {
        if pack.len() > MAX_PACK_LENGTH {
            return Err(PackError::TooLong { length: pack.len() });
        }
        let has_groups = pack.starts_with(&MAGIC_2);
        if !(has_groups || pack.starts_with(&MAGIC)) {
            return Err(PackError::NotAPack);
        }
        Ok(Self {
            pack,
            at: MAGIC.len(),
            has_groups,
        })
    }
}

impl Iterator for StoredPackReader {
    type Item = Result<StoredFrame, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.pack.len() {
            return None;
        }
        let is_group = self.has_groups && self.pack.get(self.at) == Some(&GROUP);
        let frame = match is_group {
            true => Group::parse_front(&self.pack, self.at).map(StoredFrame::Group),
            false => Frame::parse_front(&self.pack, self.at).map(StoredFrame::Single),
        };
        self.at = frame
            .as_ref()
            .map_or(self.pack.len(), |frame| self.at + frame.stored().len());
        Some(frame)
    }
}
