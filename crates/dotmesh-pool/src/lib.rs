//! Working copies and snapshots on disk.
//!
//! A [`Pool`] keeps every branch's working copy and every commit's read-only snapshot, and describes
//! itself: dots, branches, heads and commit records can all be read back from its folders alone.
//! Knows nothing of Docker, HTTP or hashes.
//!
//! ```text
//! format.json                          the layout's version, the node's id
//! empty/                               the snapshot of the root commit
//! dots/NAMESPACE/DOT/
//!     dot.json                         id, current branch, where branches started
//!     branches/BRANCH/                 a working copy:
//!         commit.json                  the record of its head
//!         data/SUBDOT/…                what containers mount
//!     commits/ID/                      a snapshot: the same two, frozen
//!     hub-history.json                 what hubs told of the history
//!     operations/NUMBER/               an operation that can be taken back or made again
//!     stashes/ID/                      a copy of a working copy, with `stash.json`
//!     tags.json                        names for single commits
//!     amending.json                    there while a commit takes the place of another
//!     renaming.json                    there while a branch gets another name
//! deleted/NAMESPACE/DOT/NAME/          a deleted dot that can be had back
//! staging/                             being made; moved to the trash at start
//! incoming/                            commits being received; kept for a while when a transfer ends early
//! trash/                               deleted, kept for a while
//! reserve                              space that the daemon lends to itself in a full pool
//! balloon                              takes the space that the disk below cannot give
//! ```

mod btrfs;
mod driver;
mod durable;
mod error;
#[cfg(feature = "testing")]
mod fuse;
mod layout;
mod mount_table;
mod operation;
mod pool;
mod remove;

pub use btrfs::BtrfsPlace;
pub use driver::{Difference, Disk, Room, Space, Touch, Usage};
pub use durable::replace as replace_durably;
pub use error::PoolError;
pub use layout::{DotFile, FormatFile};
pub use mount_table::{MountEntry, read_mount_table};
pub use operation::{DeletedWith, Operation, State, Step, to_redo, to_undo};
pub use pool::{
    DamagedDot, DeletedDot, DotPath, Dots, FolderId, Import, Kept, KeptWhere, Leftover, NewStep,
    NewSubdot, OpenFolder, Peek, Pool, Restore, Start, StashFile, StoredDot, StoredStash,
    StoredTag, TagsFile,
};
