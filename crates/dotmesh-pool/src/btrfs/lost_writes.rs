//! Writes that the disk refused, and that only the page cache still has.
//!
//! A program writes a file, and the kernel takes the bytes into its cache. If it cannot write them to the disk later, since
//! that is full, it tells a program that syncs the file, marks the pages as clean, and keeps them. From then on, all
//! programs read bytes that the disk does not have: a snapshot lacks them, and nothing writes them again. So a database that
//! was restarted after the error would be committed without rows that it shows.
//!
//! [`Flush`] is told of each such error by `syncfs`, and then compares the cached pages of all writable files with the disk.
//! It makes the kernel write those that differ again.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2, syncfs};
use rustix::io::Errno;

use super::ioctl;
use super::mapping::{Mapping, page};
use crate::durable;
use crate::error::{During as _, PoolError};

/// This file says that writes were lost, and may not have been written again yet.
const MARK: &str = "lost-writes";

/// The bytes that are mapped at once.
const WINDOW: u64 = 256 << 20;
/// The bytes that are compared at once.
const PIECE: usize = 1 << 20;
/// What direct reads must be aligned to, at least.
const ALIGNMENT: usize = 4096;

/// Flushes the pool's filesystem.
pub(super) struct Flush {
    root: PathBuf,
    /// `syncfs` reports an error once to each open file. It is held for as long as a caller cannot know of an error that
    /// another one was told of.
    opened: Mutex<File>,
    /// Whether the disk was nearly full when it was looked at.
    was_full: AtomicBool,
}

impl Flush {
    pub(super) fn new(root: &Path) -> Result<Self, PoolError> {
        Ok(Self {
            root: root.to_owned(),
            opened: Mutex::new(File::open(root).during("open", root)?),
            was_full: AtomicBool::new(false),
        })
    }

    /// Returns once all that programs have written is on the disk, also what the disk refused before.
    pub(super) fn flush(&self) -> Result<(), PoolError> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = self.root.join(MARK);
        match syncfs(&*opened) {
            Ok(()) if !mark.exists() => return Ok(()),
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the disk has refused writes to the pool"),
        }
        // Without this file, a restart of the daemon at this moment would forget the error.
        if let Err(error) = durable::replace(&mark, b"") {
            tracing::warn!(error = %error.with_causes(), "cannot mark the pool");
        }
        let pages = write_again(opened.as_fd()).during("write again to", &self.root)?;
        syncfs(&*opened).during("flush", &self.root)?;
        tracing::info!(pages, "what the disk had refused is on the disk");
        durable::remove(&mark)
    }

    /// Is told how many bytes the disk has free. Flushes when the disk has room again after it was full, since the kernel
    /// may drop the pages from its cache at any time.
    pub(super) fn disk_has(&self, free: u64) {
        const LITTLE: u64 = 16 << 20;
        const AMPLE: u64 = 64 << 20;
        if free < LITTLE {
            self.was_full.store(true, Ordering::Relaxed);
        } else if free > AMPLE
            && self.was_full.swap(false, Ordering::Relaxed)
            && let Err(error) = self.flush()
        {
            tracing::warn!(error = %error.with_causes(), "what programs wrote to the full disk is not on it yet");
            self.was_full.store(true, Ordering::Relaxed);
        }
    }
}

/// Makes the kernel write pages again that the disk lacks, in all files below a folder. Returns the number of pages.
fn write_again(root: BorrowedFd<'_>) -> io::Result<u64> {
    let mut pages = 0;
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        let Some(opened) = open(root, &folder, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            continue;
        };
        // Nothing can be written to a commit.
        if ioctl::is_read_only(opened.as_fd()).unwrap_or(false) {
            continue;
        }
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let path = folder.join(name);
            match entry.file_type() {
                FileType::Directory if name != "." && name != ".." => folders.push(path),
                FileType::RegularFile => pages += write_file_again(root, &path)?,
                _ => {}
            }
        }
    }
    Ok(pages)
}

/// Opens a file without following a link that a container may have put in its place. `None` if it cannot be opened, as one
/// that was deleted meanwhile.
fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<Option<File>> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(opened) => Ok(Some(opened.into())),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

fn write_file_again(root: BorrowedFd<'_>, path: &Path) -> io::Result<u64> {
    let Some(file) = open(root, path, OFlags::RDWR)? else {
        return Ok(0);
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(0);
    }
    let mut direct = None;
    let mut pages = 0;
    for offset in (0..metadata.len()).step_by(WINDOW as usize) {
        let length = WINDOW.min(metadata.len() - offset) as usize;
        let mapping = Mapping::new(&file, offset, length)?;
        for cached in runs(&mapping.cached()?, PIECE / page()) {
            if direct.is_none() {
                direct = open(root, path, OFlags::RDONLY | OFlags::DIRECT)?;
            }
            let Some(direct) = &direct else {
                return Ok(pages);
            };
            let differing = differing(&file, direct, offset, &cached)?;
            for lost in runs(&differing, usize::MAX) {
                pages += lost.len() as u64;
                let lost = cached.start + lost.start..cached.start + lost.end;
                match mapping.make_dirty(lost) {
                    // The file was cut meanwhile.
                    Err(_) if file.metadata()?.len() < metadata.len() => return Ok(pages),
                    // The kernel could not reserve space for the page.
                    Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    made => made?,
                }
            }
        }
    }
    Ok(pages)
}

/// The ranges of successive pages that are marked, none longer than `most`.
fn runs(marked: &[bool], most: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in marked.iter().enumerate().filter(|(_, marked)| **marked) {
        match runs.last_mut() {
            Some(last) if last.end == at && last.len() < most => last.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// Compares pages in the cache with the disk, which `direct` reads. `pages` are counted from an offset in the file.
fn differing(
    file: &File,
    direct: &File,
    offset: u64,
    pages: &Range<usize>,
) -> io::Result<Vec<bool>> {
    let offset = offset + (pages.start * page()) as u64;
    let length = pages.len() * page();
    let mut cached = vec![0; length];
    let read = read_at(file, &mut cached, offset)?;
    cached.truncate(read);
    let mut space = vec![0; length + ALIGNMENT];
    let aligned = space.as_ptr().align_offset(ALIGNMENT);
    let stored = &mut space[aligned..aligned + length];
    let read = read_at(direct, stored, offset)?.min(read);
    let pairs = cached[..read]
        .chunks(page())
        .zip(stored[..read].chunks(page()));
    Ok(pairs.map(|(cached, stored)| cached != stored).collect())
}

/// Reads until the buffer is full, or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_successive_and_no_longer_than_allowed() {
        let marked = [true, true, true, false, true, false, false, true, true];
        assert_eq!(runs(&marked, usize::MAX), [0..3, 4..5, 7..9]);
        assert_eq!(runs(&marked, 2), [0..2, 2..3, 4..5, 7..9]);
        assert!(runs(&[], 2).is_empty());
    }
}
