//! The reasons why bytes are not a valid tree page, file page, root or chunk.

/// The bytes are not a canonical encoding. "Page" below also means a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObject {
    /// The page ends in the middle of a field.
    #[error("an object ends in the middle of a field")]
    Truncated,
    /// There are bytes after the last field.
    #[error("an object has bytes after its end")]
    TrailingBytes,
    /// The page is larger than an object may be, or a stated length does not fit into memory.
    #[error("an object is larger than the format allows")]
    TooLarge,
    /// The first byte is another format version.
    #[error("an object has format version {version}, which this Dotmesh does not read: upgrade it")]
    UnknownVersion { version: u8 },
    /// The level is above the highest.
    #[error("an object has the impossible level {level}")]
    BadLevel { level: u8 },
    /// A tag byte has no meaning.
    #[error("an object has the unknown tag {tag}")]
    UnknownTag { tag: u8 },
    /// The name does not have 1 to 255 bytes, has `/` or NUL, or is `.` or `..`.
    #[error("an object has an entry name that no file can have")]
    BadName,
    /// The names are not strictly ascending.
    #[error("an object's names are not sorted, or one is there twice")]
    Unsorted,
    /// Mode, owner, time or extended attributes are out of range.
    #[error("an object has attributes that no file can have")]
    BadAttributes,
    /// A length is zero or above its limit, or a sum of lengths is.
    #[error("an object states an impossible length")]
    BadLength,
    /// The target of a symlink or hard link is empty, too long, or malformed.
    #[error("an object has a link target that no link can have")]
    BadTarget,
    /// Two holes are side by side. They must be one hole.
    #[error("a file page has two holes side by side")]
    SplitHole,
    /// The page has no items although it must have some, or continues where it must end.
    #[error("an object's boundaries are not where its content puts them")]
    BadBoundary,
}
