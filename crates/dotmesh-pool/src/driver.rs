//! What the pool asks of a filesystem. Each filesystem that can hold a pool is one driver.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::error::PoolError;

/// How much a folder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the files in it.
    pub size: u64,
    /// Bytes that were written, plus a little for each file whose name or attributes changed, since the
    /// snapshot compared with. Zero exactly when nothing changed.
    pub dirty: u64,
}

/// How much the pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// The disk that the pool's file is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that are free on it.
    pub free: u64,
    /// Bytes that the pool leaves to others.
    pub reserve: u64,
}

/// How the pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Whether the filesystem was made read-only: by itself, after a write below it failed, or by somebody.
    pub read_only: bool,
    /// The disk below, where the pool is in a file.
    pub disk: Option<Disk>,
}

/// Whether a snapshot can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Frozen,
    Writable,
}

/// How far a change reaches an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Its data, attributes, entries or names may have changed.
    Changed,
    /// It is a directory that did not change itself, but something below it did.
    Below,
}

/// How a snapshot differs from an older one of the same line of working copies. What it does not touch is as it was,
/// under the same name. It may touch too much, never too little. Its methods block.
pub trait Difference: Send + Sync {
    /// Whether, and how, an inode of the newer snapshot is touched.
    fn touch(&self, inode: u64) -> Option<Touch>;
    /// The names in a directory of the newer snapshot whose inodes are touched, sorted.
    fn touched_in(&self, directory: u64) -> Vec<(Box<[u8]>, u64)>;
    /// The path, from the folder compared, that an inode had in the older one; `None` if it is new.
    fn before(&self, inode: u64) -> Result<Option<Vec<u8>>, PoolError>;
    /// The ranges of a file, ascending and apart, outside of which it holds the same bytes and holes as before.
    fn ranges(&self, inode: u64) -> Result<Vec<Range<u64>>, PoolError>;
    /// About how many bytes were written.
    fn bytes(&self) -> u64;
    /// Whether a file of the newer snapshot has several names.
    fn has_links(&self) -> bool;
}

/// A filesystem with folders that can be snapshotted. `tests` below states the contract as a suite.
pub(crate) trait Driver: Send + Sync {
    /// Makes an empty folder that can be snapshotted. Fails if the path exists.
    fn create(&self, path: &Path) -> Result<(), PoolError>;

    /// Makes `to` an image of `from` at one instant, whatever is writing to `from` meanwhile. It is durable
    /// when this returns, together with all that was written to `from` before the call.
    ///
    /// What was synced to disk before something else was written is never missing where that is there: the image is
    /// at least what a power cut at that instant would leave.
    ///
    /// Fails if `to` exists, and then changes nothing.
    fn snapshot(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), PoolError>;

    /// Deletes such a folder with all that is in it, frozen or not.
    fn delete(&self, path: &Path) -> Result<(), PoolError>;

    /// Hastens the return of the space of what was deleted. It may take a moment longer than this call.
    fn reclaim(&self) -> Result<(), PoolError>;

    /// Whether a folder is one that this driver made.
    fn is_snapshotted(&self, path: &Path) -> Result<bool, PoolError>;

    /// The id of the snapshotted folder that a folder is in. It is never given to another.
    fn subvolume(&self, folder: BorrowedFd<'_>) -> std::io::Result<u64>;

    /// How much a folder holds, and how much changed in it since `base` was frozen.
    ///
    /// `base` must be the folder's own ancestor or descendant. What was written since the last flush may not be
    /// counted. The file `ignored`, directly below the folder, does not count, and neither does its replacement.
    fn usage(&self, path: &Path, base: &Path, ignored: &str) -> Result<Usage, PoolError>;

    /// What changed, as [`Self::usage`] says it, without the size: this costs no more than the changes.
    fn dirty(&self, path: &Path, base: &Path, ignored: &str) -> Result<u64, PoolError>;

    /// How the same folder of two snapshots differs. The newer one was made from the older, or from a working copy
    /// that was made from it or that it was made of.
    ///
    /// `base_links` says whether a file of the older one may have several names; saying yes is always right, and slower.
    fn difference(
        &self,
        base: &Path,
        snapshot: &Path,
        folder: &str,
        base_links: bool,
    ) -> Result<Box<dyn Difference>, PoolError>;

    /// How full the pool is.
    fn space(&self) -> Result<Space, PoolError>;

    /// Makes the pool as large as what the disk below can give now.
    fn fit(&self) -> Result<Room, PoolError>;
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod copying;
#[cfg(test)]
mod tests;
