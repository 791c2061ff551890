//! Parts of long lists. A list goes on after what came last, not after a number of entries: what is added or removed
//! meanwhile moves nothing.

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Part<K> {
    /// What the part before it ended with; `None` for the first part.
    pub after: Option<K>,
    /// The most entries.
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
