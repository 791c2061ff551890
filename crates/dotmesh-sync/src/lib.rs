//! Moves the states of apps between directories and hubs: seals directories into objects, pushes and pulls
//! them, and makes directories from them.
//!
//! Knows directories and the hub's client; no Docker, no pools, no web pages.

pub mod disk;
pub mod history;
pub mod hub_source;
pub mod materialise;
pub mod objects;
pub mod progress;
pub mod push;
pub mod retry;
pub mod seal;

pub use disk::DiskError;
pub use history::{HistoryError, VerifiedCommit, verify_commits};
pub use hub_source::HubSource;
pub use materialise::{Base, MaterialiseError, Target, materialise};
pub use objects::{FetchError, MemoryObjects, NullSink, ObjectSink, ObjectSource};
pub use progress::Progress;
pub use push::{CommitToPush, PushError, push};
pub use retry::HubError;
pub use seal::{SealError, measure, seal_directory};
