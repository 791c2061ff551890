//! The reasons why bytes are not a valid tree page, file page, root or chunk.

/// The bytes are not a canonical encoding. "Page" below also means a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNode {
    /// The page ends in the middle of a field.
    #[error("a node ends in the middle of a field")]
    Truncated,
    /// There are bytes after the last field.
    #[error("a node has bytes after its end")]
    TrailingBytes,
    /// The page is larger than an object may be, or a stated length does not fit into memory.
    #[error("a node is larger than the format allows")]
    TooLarge,
    /// The first byte is another format version.
    #[error("a node has format version {version}, which this Dotmesh does not read: upgrade it")]
    UnknownVersion { version: u8 },
    /// The level is above the highest.
    #[error("a node has the impossible level {level}")]
    BadLevel { level: u8 },
    /// A tag byte has no meaning.
    #[error("a node has the unknown tag {tag}")]
    UnknownTag { tag: u8 },
    /// The name does not have 1 to 255 bytes, has `/` or NUL, or is `.` or `..`.
    #[error("a node has an entry name that no file can have")]
    BadName,
    /// The names are not strictly ascending.
    #[error("a node's names are not sorted, or one is there twice")]
    Unsorted,
    /// Mode, owner, time or extended attributes are out of range.
    #[error("a node has attributes that no file can have")]
    BadAttributes,
    /// A length is zero or above its limit, or a sum of lengths is.
    #[error("a node states an impossible length")]
    BadLength,
    /// The target of a symlink or hard link is empty, too long, or malformed.
    #[error("a node has a link target that no link can have")]
    BadTarget,
    /// Two holes are side by side. They must be one hole.
    #[error("a node has two holes side by side")]
    SplitHole,
    /// The page has no items although it must have some, or continues where it must end.
    #[error("a node's boundaries are not where its content puts them")]
    BadBoundary,
}
