//! Why bytes are not a node.

/// Bytes are not the one canonical encoding of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNode {
    /// They end in the middle of a field.
    #[error("a node ends in the middle of a field")]
    Truncated,
    /// There is more after the last field.
    #[error("a node has bytes after its end")]
    TrailingBytes,
    /// More than an object may have, or a list longer than a node may hold.
    #[error("a node is larger than the format allows")]
    TooLarge,
    /// The first byte names another format.
    #[error("a node has format version {version}, which this Dotmesh does not read: upgrade it")]
    UnknownVersion { version: u8 },
    /// A level above the highest.
    #[error("a node has the impossible level {level}")]
    BadLevel { level: u8 },
    /// A tag byte stands for nothing.
    #[error("a node has the unknown tag {tag}")]
    UnknownTag { tag: u8 },
    /// Not 1 to 255 bytes without `/` and NUL, or `.` or `..`.
    #[error("a node has an entry name that no file can have")]
    BadName,
    /// Names are not strictly ascending.
    #[error("a node's names are not sorted, or one is there twice")]
    Unsorted,
    /// Mode, time, owner or extended attributes out of their range.
    #[error("a node has attributes that no file can have")]
    BadAttributes,
    /// A length of zero, beyond the limit, or a sum of lengths beyond it.
    #[error("a node states an impossible length")]
    BadLength,
    /// A symlink's or hard link's target is empty, too long, or not of its form.
    #[error("a node has a link target that no link can have")]
    BadTarget,
    /// Two holes side by side: they have to be one.
    #[error("a node has two holes side by side")]
    SplitHole,
    /// It has no items although it must, or goes on where a boundary must be.
    #[error("a node's boundaries are not where its content puts them")]
    BadBoundary,
}
