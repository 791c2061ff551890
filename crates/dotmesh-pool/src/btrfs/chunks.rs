//! Reads from the chunk tree where the filesystem's chunks are on its device.
//!
//! See "Chunk tree" in the documentation of the on-disk format of btrfs.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::ioctl::{self, Search, u16_at, u64_at};

const TYPE_DATA: u64 = 1 << 0;

/// The length of the fixed part of a `struct btrfs_chunk`, in bytes.
const HEAD: usize = 48;
/// The length of each `struct btrfs_stripe` after it, in bytes.
const STRIPE: usize = 32;

/// A range of the filesystem's address space, used for either data or metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The range, in logical addresses of the filesystem.
    pub(super) logical: Range<u64>,
    pub(super) is_data: bool,
    /// The ranges on the device, one for each copy.
    pub(super) device: Vec<Range<u64>>,
}

/// All chunks of a filesystem with a single device, in the order of logical addresses.
pub(super) fn chunks(root: BorrowedFd<'_>) -> rustix::io::Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    ioctl::search(root, Search::chunks(), |item| {
        chunks.push(chunk(item.offset, item.body));
    })?;
    Ok(chunks)
}

fn chunk(start: u64, body: &[u8]) -> Chunk {
    let length = u64_at(body, 0);
    let stripes = body.get(HEAD..).unwrap_or_default().chunks_exact(STRIPE);
    let device = stripes
        .take(usize::from(u16_at(body, 44)))
        .map(|stripe| u64_at(stripe, 8)..u64_at(stripe, 8) + length);
    Chunk {
        logical: start..start + length,
        is_data: u64_at(body, 24) & TYPE_DATA != 0,
        device: device.collect(),
    }
}

/// The maximal address ranges that contain data chunks and no metadata chunk.
pub(super) fn data_ranges(chunks: &[Chunk]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut was_data = false;
    for chunk in chunks {
        match ranges.last_mut() {
            Some(last) if chunk.is_data && was_data => last.end = chunk.logical.end,
            _ if chunk.is_data => ranges.push(chunk.logical.clone()),
            _ => {}
        }
        was_data = chunk.is_data;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u64, is_data: bool) -> Chunk {
        Chunk {
            logical: start..start + 10,
            is_data,
            device: Vec::new(),
        }
    }

    #[test]
    fn ranges_of_data_end_where_metadata_begins() {
        let chunks = [
            at(0, false),
            at(10, true),
            at(25, true),
            at(35, false),
            at(45, true),
        ];
        assert_eq!(data_ranges(&chunks), [10..35, 45..55]);
        assert_eq!(data_ranges(&[]), []);
    }

    #[test]
    fn a_chunk_has_a_range_of_the_device_for_each_copy() {
        let mut body = vec![0; HEAD + 2 * STRIPE];
        body[0..8].copy_from_slice(&100_u64.to_le_bytes());
        body[24..32].copy_from_slice(&(4_u64 | 32).to_le_bytes());
        body[44..46].copy_from_slice(&2_u16.to_le_bytes());
        body[HEAD + 8..HEAD + 16].copy_from_slice(&1000_u64.to_le_bytes());
        body[HEAD + STRIPE + 8..HEAD + STRIPE + 16].copy_from_slice(&2000_u64.to_le_bytes());
        let expected = Chunk {
            logical: 7..107,
            is_data: false,
            device: vec![1000..1100, 2000..2100],
        };
        assert_eq!(chunk(7, &body), expected);
        // A truncated item must not cause a panic.
        assert_eq!(chunk(7, &[]).device, []);
    }
}
