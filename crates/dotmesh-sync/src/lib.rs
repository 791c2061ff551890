//! Moves the states of apps between directories and hubs: seals directories into objects, pushes and fetches objects,
//! and materialises directories from them.
//!
//! This crate knows directories, the differences of snapshots, and the hub's client. It knows nothing of Docker or web
//! pages.

pub mod cached_source;
pub mod compare;
pub mod disk;
pub mod history;
pub mod hub_source;
pub mod limits;
pub mod materialise;
pub mod objects;
pub mod progress;
pub mod push;
pub mod rate;
pub mod retry;
pub mod seal;

pub use cached_source::CachedSource;
pub use compare::{EntryType, Look, PathChange, What, compare};
pub use disk::DiskError;
pub use history::{HistoryError, VerifiedCommit, verify_commits};
pub use hub_source::{EarlyObjects, HubSource};
pub use limits::Limits;
pub use materialise::{Base, MaterialiseError, Target, materialise};
pub use objects::{FetchError, Fresh, Like, MemoryObjects, NullSink, ObjectSink, ObjectSource};
pub use progress::Progress;
pub use push::{Push, is_about_deltas};
pub use rate::Rate;
pub use retry::{HubRequestError, greet, retry};
pub use seal::{
    CheckedBase, FoundLeftOut, PageCache, SealError, Sealed, SealedBase, Sockets, find_left_out,
    measure, seal_directory, seal_within,
};
