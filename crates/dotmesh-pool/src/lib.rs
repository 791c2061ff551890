//! Working copies and snapshots on disk.
//!
//! A [`Pool`] stores the working copy of every branch and the read-only snapshot of every commit. It describes itself:
//! dots, branches, heads and commit records can all be read from its folders alone. It does not use Docker, HTTP or
//! hashes.
//!
//! ```text
//! format.json                          the layout's version, the node's id
//! empty/                               the snapshot of the root commit
//! dots/NAMESPACE/DOT/
//!     dot.json                         id, current branch, where branches started
//!     branches/BRANCH/                 a working copy:
//!         commit.json                  the record of its head
//!         data/SUBDOT/…                the folders that containers mount
//!     commits/ID/                      a read-only snapshot, with the same contents
//!     hub-history.json                 what hubs have reported about the history
//!     operations/NUMBER/               an operation that can be undone or redone
//!     stashes/ID/                      a copy of a working copy, with `stash.json`
//!     tags.json                        names for single commits
//!     forks.json                       copies of the app that run on branches of their own
//!     amending.json                    exists while a commit is amended
//!     renaming.json                    exists while a branch is renamed
//! deleted/NAMESPACE/DOT/NAME/          a deleted dot that can be restored
//! staging/                             unfinished work, moved to the trash at start
//! incoming/                            commits being received, kept for a while if a transfer is interrupted
//! trash/                               deleted items, kept for a while
//! reserve                              space that the daemon frees for itself when the pool is full
//! balloon                              takes up the space that the disk below cannot provide
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
pub use driver::{Difference, Disk, FolderUsage, Room, Space, Touch};
pub use durable::replace as replace_durably;
pub use error::PoolError;
pub use layout::{DotFile, FormatFile};
pub use mount_table::{MountEntry, read_mount_table};
pub use operation::{DeletedWith, Operation, State, Step, to_redo, to_undo};
pub use pool::{
    Copy, DamagedDot, Dots, FolderId, ForksFile, IncomingCommit, Inventory, Kept, KeptWhere,
    Leftover, NewStep, NewSubdot, NewSubdots, OpenFolder, PathInDot, Peek, Pool, RestorableDot,
    Start, StashFile, StoredDot, StoredFork, StoredPort, StoredStash, StoredTag, TagsFile,
};
