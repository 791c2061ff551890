//! Reads the size of a subvolume, and how much of it is new, from its tree.
//!
//! Each tree block contains the number of the transaction that wrote it, so unchanged blocks are not read. The size
//! depends on all inodes, so it is cached until the subvolume changes.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;

use super::SUBVOLUME_INODE;
use super::ioctl::{self, Item, Search, u64_at};
use super::items::{EXTENT_DATA, INODE_ITEM, data_length};
use crate::driver::Usage;
use crate::error::{During as _, PoolError};

const INODE_ITEM_LENGTH: u64 = 160;

/// A cache of the sizes of subvolumes by id. Each size is valid up to the transaction beside it.
#[derive(Default)]
pub(super) struct SizeCache {
    known: Mutex<HashMap<u64, (u64, u64)>>,
}

impl SizeCache {
    /// The size, and the bytes that changed after transaction `since`.
    pub(super) fn usage(&self, path: &Path, since: u64, ignored: &str) -> Result<Usage, PoolError> {
        let folder = Folder::open(path, ignored)?;
        let info = ioctl::subvolume_info(folder.file.as_fd()).during("look at", path)?;
        let known = self.lock().get(&info.id).copied();
        if let Some((size, at)) = known
            // The cached size is valid if nothing changed since.
            && folder.changed_after(at).during("look at", path)? == 0
        {
            let dirty = folder.changed_after(since).during("look at", path)?;
            return Ok(Usage { size, dirty });
        }
        let usage = folder.whole_usage(since).during("look at", path)?;
        // The current transaction may still be open, and later changes in it have the same number.
        let at = info.changed.saturating_sub(1);
        self.lock().insert(info.id, (usage.size, at));
        Ok(usage)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (u64, u64)>> {
        self.known
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// The bytes that changed in a subvolume after transaction `since`.
pub(super) fn dirty(path: &Path, since: u64, ignored: &str) -> Result<u64, PoolError> {
    let folder = Folder::open(path, ignored)?;
    folder.changed_after(since).during("look at", path)
}

/// A subvolume, and the inode of the file in it that does not count.
///
/// The top folder does not count either, since replacing that file changes it. Containers only see folders below it.
struct Folder {
    file: File,
    ignored: u64,
}

impl Folder {
    fn open(path: &Path, ignored: &str) -> Result<Self, PoolError> {
        let file = File::open(path).during("open", path)?;
        let ignored = std::fs::symlink_metadata(path.join(ignored)).map_or(0, |file| file.ino());
        Ok(Self { file, ignored })
    }

    fn counts(&self, item: &Item<'_>) -> bool {
        item.inode != self.ignored && item.inode != SUBVOLUME_INODE
    }

    /// The bytes that changed after transaction `since`.
    fn changed_after(&self, since: u64) -> rustix::io::Result<u64> {
        let mut bytes = 0;
        ioctl::search(self.file.as_fd(), Search::since(since + 1), |item| {
            if self.counts(&item) {
                bytes = u64::saturating_add(bytes, changed_bytes(&item, since));
            }
        })?;
        Ok(bytes)
    }

    /// The size, and the bytes that changed after transaction `since`, from one read of the whole tree.
    fn whole_usage(&self, since: u64) -> rustix::io::Result<Usage> {
        let (mut size, mut dirty) = (0_u64, 0_u64);
        ioctl::search(self.file.as_fd(), Search::since(0), |item| {
            if !self.counts(&item) {
                return;
            }
            if item.kind == INODE_ITEM {
                size = size.saturating_add(u64_at(item.body, 24));
            }
            dirty = dirty.saturating_add(changed_bytes(&item, since));
        })?;
        Ok(Usage { size, dirty })
    }
}

fn changed_bytes(item: &Item<'_>, since: u64) -> u64 {
    match item.kind {
        INODE_ITEM if u64_at(item.body, 8) > since => INODE_ITEM_LENGTH,
        EXTENT_DATA if u64_at(item.body, 0) > since => data_length(item.body),
        _ => 0,
    }
}
