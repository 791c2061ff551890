//! The column `frame` of an object: its kind, and where its frame is.

use dotmesh_store::{FrameRange, Kind};

use crate::DatabaseError;
use crate::objects::NewObject;

/// The length of the column, in bytes. The kind has one byte, whose highest bit says that the frame is a group of
/// several objects. Then come the frame's offset, the frame's length and
/// the object's uncompressed length, with four bytes each, little-endian.
pub(crate) const FRAME_LENGTH: usize = 13;

/// The bit that says that the frame is a group.
const GROUPED: u8 = 0x80;

/// What the column says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameColumn {
    pub(crate) kind: Kind,
    pub(crate) grouped: bool,
    pub(crate) range: FrameRange,
    pub(crate) raw_length: u32,
}

pub(crate) fn encode_frame(object: &NewObject, out: &mut Vec<u8>) {
    out.push(object.kind.number() | if object.grouped { GROUPED } else { 0 });
    for number in [object.range.offset, object.range.length, object.raw_length] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(crate) fn decode_frame(frame: &[u8; FRAME_LENGTH]) -> Result<FrameColumn, DatabaseError> {
    let [kind, numbers @ ..] = frame;
    let (numbers, _) = numbers.as_chunks::<4>();
    let number = |n: usize| u32::from_le_bytes(numbers[n]);
    let range = FrameRange {
        offset: number(0),
        length: number(1),
    };
    let grouped = kind & GROUPED != 0;
    let kind =
        Kind::from_number(kind & !GROUPED).ok_or(DatabaseError::Damaged { what: "frame" })?;
    Ok(FrameColumn {
        kind,
        grouped,
        range,
        raw_length: number(2),
    })
}
