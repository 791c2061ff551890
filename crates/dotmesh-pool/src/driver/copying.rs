//! A driver that copies folders, for tests of code that uses a pool. It needs neither root nor btrfs.
//!
//! It meets the contract of [`Driver`] for folders, files and symlinks that nobody changes during the call.

use std::collections::HashSet;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, XattrFlags};

use super::{Difference, Driver, Mode, Room, Space, Touch, Usage};
use crate::durable;
use crate::error::{During as _, PoolError};

#[derive(Default)]
pub(crate) struct Copying;

/// The extended attribute that marks the folders that it created.
const MARK: &str = "user.dotmesh.snapshot";

fn mark(path: &Path) -> Result<(), PoolError> {
    rustix::fs::setxattr(path, MARK, b"", XattrFlags::empty()).during("mark", path)
}

fn is_marked(folder: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr(folder, MARK, &mut [0_u8; 0]).is_ok()
}

impl Driver for Copying {
    fn create(&self, path: &Path) -> Result<(), PoolError> {
        std::fs::create_dir(path).during("create", path)?;
        mark(path)
    }

    fn snapshot(&self, from: &Path, to: &Path, _: Mode) -> Result<(), PoolError> {
        durable::step(to)?;
        std::fs::create_dir(to).during("take a snapshot at", to)?;
        copy(from, to)?;
        mark(to)
    }

    fn delete(&self, path: &Path) -> Result<(), PoolError> {
        std::fs::remove_dir_all(path).during("delete", path)
    }

    fn reclaim(&self) -> Result<(), PoolError> {
        Ok(())
    }

    fn is_snapshotted(&self, path: &Path) -> Result<bool, PoolError> {
        let folder = std::fs::File::open(path).during("look at", path)?;
        Ok(is_marked(folder.as_fd()))
    }

    /// The inode number of the nearest marked folder: the folder itself or one above it.
    fn subvolume(&self, folder: BorrowedFd<'_>) -> std::io::Result<u64> {
        let mut at = folder.try_clone_to_owned()?;
        loop {
            let inode = rustix::fs::fstat(&at)?.st_ino;
            if is_marked(at.as_fd()) {
                return Ok(inode);
            }
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let above = rustix::fs::openat(&at, "..", flags, rustix::fs::Mode::empty())?;
            if rustix::fs::fstat(&above)?.st_ino == inode {
                return Err(std::io::ErrorKind::NotFound.into());
            }
            at = above;
        }
    }

    fn usage(&self, path: &Path, base: &Path, ignored: &str) -> Result<Usage, PoolError> {
        let mut usage = Usage::default();
        measure(path, base, ignored, &mut usage)?;
        Ok(usage)
    }

    fn dirty(&self, path: &Path, base: &Path, ignored: &str) -> Result<u64, PoolError> {
        Ok(self.usage(path, base, ignored)?.dirty)
    }

    fn difference(
        &self,
        _: &Path,
        _: &Path,
        _: &str,
        _: bool,
    ) -> Result<Box<dyn Difference>, PoolError> {
        Ok(Box::new(Everything))
    }

    fn space(&self) -> Result<Space, PoolError> {
        Ok(Space {
            total: u64::MAX,
            free: u64::MAX,
        })
    }

    fn fit(&self) -> Result<Room, PoolError> {
        Ok(Room {
            read_only: false,
            disk: None,
        })
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), PoolError> {
    for entry in std::fs::read_dir(from).during("read", from)? {
        let entry = entry.during("read", from)?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().during("look at", &path)?;
        if kind.is_dir() {
            std::fs::create_dir(&copied).during("create", &copied)?;
            let permissions = entry.metadata().during("look at", &path)?.permissions();
            std::fs::set_permissions(&copied, permissions).during("create", &copied)?;
            copy(&path, &copied)?;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).during("read", &path)?;
            symlink(target, &copied).during("create", &copied)?;
        } else {
            std::fs::copy(&path, &copied).during("create", &copied)?;
        }
        keep_time(&path, &copied)?;
    }
    // Creating the entries has changed the time of the folder.
    keep_time(from, to)
}

/// Copies the modification time, which is part of what a commit's seal covers.
fn keep_time(from: &Path, to: &Path) -> Result<(), PoolError> {
    let metadata = std::fs::symlink_metadata(from).during("look at", from)?;
    let time = Timespec {
        tv_sec: metadata.mtime(),
        tv_nsec: metadata.mtime_nsec() as _,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(CWD, to, &times, flags).during("create", to)
}

fn measure(path: &Path, base: &Path, ignored: &str, usage: &mut Usage) -> Result<(), PoolError> {
    let names = |folder: &Path| -> HashSet<_> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    let (now, before) = (names(path), names(base));
    usage.dirty += before
        .difference(&now)
        .filter(|name| *name != ignored)
        .count() as u64;
    for name in now.iter().filter(|name| *name != ignored) {
        let (here, there) = (path.join(name), base.join(name));
        let metadata = std::fs::symlink_metadata(&here).during("look at", &here)?;
        if metadata.is_dir() {
            usage.dirty += u64::from(!there.is_dir());
            measure(&here, &there, "", usage)?;
        } else if metadata.is_file() {
            usage.size += metadata.len();
            if std::fs::read(&here).ok() != std::fs::read(&there).ok() {
                usage.dirty += metadata.len().max(1);
            }
        } else {
            usage.dirty +=
                u64::from(std::fs::read_link(&here).ok() != std::fs::read_link(&there).ok());
        }
    }
    Ok(())
}

/// Says that everything may have changed.
struct Everything;

impl Difference for Everything {
    fn touch(&self, _: u64) -> Option<Touch> {
        Some(Touch::Changed)
    }

    fn touched_in(&self, _: u64) -> Vec<(Box<[u8]>, u64)> {
        Vec::new()
    }

    fn before(&self, _: u64) -> Result<Option<Vec<u8>>, PoolError> {
        Ok(None)
    }

    fn ranges(&self, _: u64) -> Result<Vec<Range<u64>>, PoolError> {
        let all = 0..u64::MAX;
        Ok(std::iter::once(all).collect())
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn has_links(&self) -> bool {
        true
    }
}
