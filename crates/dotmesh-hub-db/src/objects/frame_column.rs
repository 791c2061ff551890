//! The column `frame` of an object: its kind, and where its frame is.

use dotmesh_store::{FrameRange, Kind};

use crate::DatabaseError;
use crate::objects::NewObject;

/// The length of the column, in bytes. The kind has one byte. Then come the frame's offset, the frame's length and
/// the object's uncompressed length, with four bytes each, little-endian.
pub(crate) const FRAME_LENGTH: usize = 13;

pub(crate) fn encode_frame(object: &NewObject, out: &mut Vec<u8>) {
    out.push(object.kind.number());
    for number in [object.range.offset, object.range.length, object.raw_length] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(crate) fn decode_frame(
    frame: &[u8; FRAME_LENGTH],
) -> Result<(Kind, FrameRange, u32), DatabaseError> {
    let [kind, numbers @ ..] = frame;
    let (numbers, _) = numbers.as_chunks::<4>();
    let number = |n: usize| u32::from_le_bytes(numbers[n]);
    let range = FrameRange {
        offset: number(0),
        length: number(1),
    };
    let kind = Kind::from_number(*kind).ok_or(DatabaseError::Damaged { what: "frame" })?;
    Ok((kind, range, number(2)))
}
