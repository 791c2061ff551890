//! Where the bytes of a file are cut into chunks: at fixed places where it is made of pages, else where its content
//! says so (FastCDC as of 2020, with 4, 16 and 64 KiB).
//!
//! Chunks are small enough that one changed database page costs little, large enough that a node lists megabytes.

use fastcdc::v2020::{self, Normalization};

/// How a file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutting {
    /// At each multiple of [`AVERAGE_CHUNK`].
    ///
    /// Databases write pages in place: nothing moves, so a page that changes changes one chunk and no boundary.
    ByPlace,
    /// Where the bytes themselves say so: what moves is found again where it went.
    ByContent,
}

impl Cutting {
    /// A file is taken to be made of pages when its size is a multiple of [`PAGE`].
    pub const fn of(size: u64) -> Self {
        if size.is_multiple_of(PAGE) {
            Self::ByPlace
        } else {
            Self::ByContent
        }
    }
}

/// Most databases' pages have so many bytes, or a multiple of it.
pub const PAGE: u64 = 4 << 10;

/// No chunk is smaller, except the last of a range.
pub const MIN_CHUNK: usize = 4 << 10;

/// What most chunks are near.
pub const AVERAGE_CHUNK: usize = 16 << 10;

/// No chunk is larger.
pub const MAX_CHUNK: usize = 64 << 10;

/// The length of the chunk that `data` begins with.
///
/// `data` has [`MAX_CHUNK`] bytes at least, or is all that remains of the range; the rest decides nothing.
/// It is 0 only when there is no data.
pub fn cut(data: &[u8]) -> usize {
    let (strict, relaxed) = v2020::select_masks(AVERAGE_CHUNK, Normalization::Level1);
    let window = &data[..data.len().min(MAX_CHUNK)];
    let (_, length) = v2020::cut(
        window,
        MIN_CHUNK,
        AVERAGE_CHUNK,
        MAX_CHUNK,
        strict,
        relaxed,
        strict << 1,
        relaxed << 1,
    );
    length
}

/// The length of the chunk that `data` begins with, if that is certain whatever comes after `data`.
pub fn cut_early(data: &[u8]) -> Option<usize> {
    // The last byte of an odd number would be looked at in a longer window only.
    let window = &data[..data.len() & !1];
    // In a window shorter than the average, other rules hold.
    let certain = window.len() >= AVERAGE_CHUNK;
    certain
        .then(|| cut(window))
        .filter(|length| *length < window.len() || *length == MAX_CHUNK)
}
