//! Cuts the bytes of a file into chunks. A file of pages is cut at fixed offsets. Other files are cut by content
//! (FastCDC of 2020, with 4, 16 and 64 KiB).
//!
//! Chunks are so small that a changed database page costs little, and so large that a file page lists megabytes.

use fastcdc::v2020::{self, Normalization};

/// The way a file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutting {
    /// At each multiple of [`AVERAGE_CHUNK`].
    ///
    /// Databases write their pages in place, so nothing moves: a changed page changes one chunk and no boundary.
    ByPlace,
    /// Where the content decides. Data that moved within the file is cut into the same chunks again.
    ByContent,
}

impl Cutting {
    /// Chooses the cutting for a file size. A file is assumed to consist of pages if its size is a multiple of
    /// [`PAGE`].
    pub const fn of(size: u64) -> Self {
        if size.is_multiple_of(PAGE) {
            Self::ByPlace
        } else {
            Self::ByContent
        }
    }
}

/// The page size of most databases is a multiple of this many bytes.
pub const PAGE: u64 = 4 << 10;

/// The smallest chunk in bytes, except the last of a range.
pub const MIN_CHUNK: usize = 4 << 10;

/// The usual length of a chunk, in bytes.
pub const AVERAGE_CHUNK: usize = 16 << 10;

/// The largest chunk, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// The length of the first chunk of `data`.
///
/// `data` has at least [`MAX_CHUNK`] bytes, or all remaining bytes of the range. Bytes after the first [`MAX_CHUNK`]
/// change nothing. The length is 0 only if there is no data.
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

/// The length of the first chunk of `data`, if bytes after `data` can't change it.
pub fn cut_early(data: &[u8]) -> Option<usize> {
    // FastCDC reads a last odd byte only in a longer window.
    let window = &data[..data.len() & !1];
    // FastCDC cuts a window shorter than the average by other rules.
    let certain = window.len() >= AVERAGE_CHUNK;
    certain
        .then(|| cut(window))
        .filter(|length| *length < window.len() || *length == MAX_CHUNK)
}
