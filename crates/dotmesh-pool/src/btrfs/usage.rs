//! How much a subvolume holds and how much of it is new, from the filesystem's own tree.
//!
//! The tree's blocks carry the number of the transaction that wrote them, so what did not change is not
//! even read. The size needs all inodes; it is kept until the subvolume changes.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::ioctl::{self, Item, Search, u64_at};
use super::items::{EXTENT_DATA, INODE_ITEM, data_length};
use crate::driver::Usage;
use crate::error::{During as _, PoolError};

const INODE_ITEM_LENGTH: u64 = 160;

/// The sizes of subvolumes by path, each with the transaction up to which it holds.
#[derive(Default)]
pub(super) struct SizeCache {
    known: Mutex<HashMap<PathBuf, (u64, u64)>>,
}

impl SizeCache {
    /// Size, and what changed after transaction `since`.
    pub(super) fn usage(&self, path: &Path, since: u64, ignored: &str) -> Result<Usage, PoolError> {
        let folder = File::open(path).during("open", path)?;
        let ignored = std::fs::symlink_metadata(path.join(ignored)).map_or(0, |file| file.ino());
        let changed = ioctl::subvolume_info(folder.as_fd())
            .during("look at", path)?
            .changed;
        let known = self.lock().get(path).copied();
        if let Some((size, at)) = known
            // Nothing is newer than the transaction that the size was taken after.
            && changed_after(&folder, at).during("look at", path)? == 0
        {
            let dirty = changed_after(&folder, since).during("look at", path)?;
            return Ok(Usage { size, dirty });
        }
        let usage = whole_usage(&folder, since, ignored).during("look at", path)?;
        // What changes in a transaction that is still open carries its number too.
        let at = changed.saturating_sub(1);
        self.lock().insert(path.to_owned(), (usage.size, at));
        Ok(usage)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (u64, u64)>> {
        self.known
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Bytes of items that changed after a transaction.
fn changed_after(folder: &File, since: u64) -> rustix::io::Result<u64> {
    let mut bytes = 0;
    ioctl::search(folder.as_fd(), Search::since(since + 1), |item| {
        bytes = u64::saturating_add(bytes, changed_bytes(&item, since));
    })?;
    Ok(bytes)
}

/// The size, and what changed after a transaction, in one look at everything.
fn whole_usage(folder: &File, since: u64, ignored: u64) -> rustix::io::Result<Usage> {
    let (mut size, mut dirty) = (0_u64, 0_u64);
    ioctl::search(folder.as_fd(), Search::since(0), |item| {
        if item.kind == INODE_ITEM && item.inode != ignored {
            size = size.saturating_add(u64_at(item.body, 24));
        }
        dirty = dirty.saturating_add(changed_bytes(&item, since));
    })?;
    Ok(Usage { size, dirty })
}

fn changed_bytes(item: &Item<'_>, since: u64) -> u64 {
    match item.kind {
        INODE_ITEM if u64_at(item.body, 8) > since => INODE_ITEM_LENGTH,
        EXTENT_DATA if u64_at(item.body, 0) > since => data_length(item.body),
        _ => 0,
    }
}
