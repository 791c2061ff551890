//! Parts of long lists. A part begins after the last entry of the part before it, not after a number of entries. So
//! entries that are added or removed meanwhile shift nothing.

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Part<K> {
    /// The last entry of the part before it. `None` for the first part.
    pub after: Option<K>,
    /// The most entries of the part.
    pub limit: u32,
}

impl<K> Part<K> {
    /// The whole list.
    pub fn all() -> Self {
        Self {
            after: None,
            limit: u32::MAX,
        }
    }
}
