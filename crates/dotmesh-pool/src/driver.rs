//! The interface between the pool and a filesystem. There is one driver for each supported filesystem.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::error::PoolError;

/// The size of a folder and of its changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderUsage {
    /// The size of its files, in bytes.
    pub size: u64,
    /// Bytes that were written since the base snapshot, plus a few for each file whose name or attributes changed. Zero
    /// exactly when nothing changed.
    pub dirty: u64,
}

/// The size of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The capacity, in bytes.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// The disk that contains the pool's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Free bytes.
    pub free: u64,
    /// Bytes that the pool leaves to other programs.
    pub reserve: u64,
}

/// The state of the pool and its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Whether the filesystem is read-only. btrfs makes itself read-only after a failed write, and a user can remount it.
    pub read_only: bool,
    /// The disk below, if the pool is in a file.
    pub disk: Option<Disk>,
}

/// Whether a snapshot can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Frozen,
    Writable,
}

/// How a change affects an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Its data, attributes, directory entries or names may have changed.
    Changed,
    /// It is an unchanged directory, but something below it changed.
    Below,
}

/// The difference between a snapshot and an older one that it is derived from.
///
/// An untouched inode is unchanged, and has the same name. The difference may list too many inodes, but never too few. The
/// methods block.
pub trait Difference: Send + Sync {
    /// How the change affects an inode of the newer snapshot. `None` means that the inode is untouched.
    fn touch(&self, inode: u64) -> Option<Touch>;
    /// The touched entries of a directory in the newer snapshot, sorted by name.
    fn touched_in(&self, directory: u64) -> Vec<(Box<[u8]>, u64)>;
    /// The path of an inode in the older snapshot, relative to the compared folder. `None` if the inode is new.
    fn before(&self, inode: u64) -> Result<Option<Vec<u8>>, PoolError>;
    /// The ranges of a file that may differ, ascending and disjoint. Outside them, bytes and holes are the same as before.
    fn ranges(&self, inode: u64) -> Result<Vec<Range<u64>>, PoolError>;
    /// About how many bytes were written.
    fn bytes(&self) -> u64;
    /// Whether a file of the newer snapshot has several hard links.
    fn has_links(&self) -> bool;
}

/// A filesystem with folders that can be snapshotted. The test suite in `tests` checks this contract.
pub(crate) trait Driver: Send + Sync {
    /// Creates an empty folder that can be snapshotted. Fails if the path exists.
    fn create(&self, path: &Path) -> Result<(), PoolError>;

    /// Creates `to` as an image of `from` at one instant, even while programs write to `from`. When this returns, the
    /// image is durable, and it contains everything that was written to `from` before the call.
    ///
    /// If the image contains a write, it also contains everything that was fsynced before that write. So a program can
    /// recover from it as from a power cut.
    ///
    /// If `to` exists, the call fails and changes nothing.
    fn snapshot(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), PoolError>;

    /// Deletes such a folder with its contents, read-only or not.
    fn delete(&self, path: &Path) -> Result<(), PoolError>;

    /// Speeds up the release of deleted data. The space may become free only a moment after this call.
    fn reclaim(&self) -> Result<(), PoolError>;

    /// Whether this driver created a folder.
    fn is_snapshotted(&self, path: &Path) -> Result<bool, PoolError>;

    /// The id of the snapshottable folder that contains a folder. An id is never used again.
    fn subvolume(&self, folder: BorrowedFd<'_>) -> std::io::Result<u64>;

    /// The size of a folder, and how much of it changed since the snapshot `base` was taken.
    ///
    /// `base` must be a snapshot of the folder, or one that the folder is derived from. Writes since the last flush may
    /// not be counted. The file `ignored`, directly below the folder, does not count, nor does replacing it.
    fn usage(&self, path: &Path, base: &Path, ignored: &str) -> Result<FolderUsage, PoolError>;

    /// The `dirty` part of [`Self::usage`] alone. The cost depends on the changes, not on the size of the folder.
    fn dirty(&self, path: &Path, base: &Path, ignored: &str) -> Result<u64, PoolError>;

    /// The ranges in which the file at a path below two such folders may differ, ascending and disjoint, however the folders
    /// are related. What was written is seen after a flush. `None` if it can only be found by reading.
    fn differing(
        &self,
        _one: &Path,
        _two: &Path,
        _path: &str,
    ) -> Result<Option<Vec<Range<u64>>>, PoolError> {
        Ok(None)
    }

    /// The difference between the same folder of two snapshots. The newer one must be derived from the older one: from
    /// it directly, or from a working copy that it was taken of or that was created from it.
    ///
    /// `base_links` is whether a file of the older snapshot may have several hard links. `true` is always correct, but
    /// slower.
    fn difference(
        &self,
        base: &Path,
        snapshot: &Path,
        folder: &str,
        base_links: bool,
    ) -> Result<Box<dyn Difference>, PoolError>;

    /// The size of the pool and its free space.
    fn space(&self) -> Result<Space, PoolError>;

    /// Fits the size of the pool to the space that the disk below has now.
    fn fit(&self) -> Result<Room, PoolError>;
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod copying;
#[cfg(test)]
mod tests;
