//! Whether the hub can serve.

/// What the hub can do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// All.
    Ready,
    /// Nothing.
    NoDatabase,
    /// Show what is not in packs.
    NoStore,
}
