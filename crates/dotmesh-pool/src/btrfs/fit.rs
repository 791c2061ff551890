//! Fits the pool's file to the disk below it.
//!
//! The file is sparse: the disk allocates a block when the pool first writes it. So the disk can be full while the pool has
//! free space. Writes then fail with I/O errors, and a failed write of metadata makes btrfs read-only. Three rules prevent
//! that:
//!
//! - The pool is as large as the disk allows. The file grows when the disk has more space. When the disk has less, a *balloon*
//!   takes the difference: a file in the pool whose blocks are reserved and never written, so they need no space on the disk.
//!   Programs that write to the pool then get "no space left on device" from btrfs.
//! - Disk blocks for metadata chunks are allocated in advance, so metadata writes never need new blocks.
//! - Only data chunks are trimmed, to return free space to the disk. The mount option `discard` would trim metadata, too.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, StatVfsMountFlags, fallocate};
use rustix::io::Errno;

use super::chunks::{Chunk, chunks, data_ranges};
use super::image::{Image, mounted_device};
use super::ioctl;
use crate::driver::{Disk, Room};
use crate::error::{During as _, PoolError};

const MIB: u64 = 1 << 20;

/// The pool leaves 1/20 of the disk to other programs, within the two bounds below.
const RESERVE_FRACTION: u64 = 20;
const SMALLEST_RESERVE: u64 = 256 * MIB;
const LARGEST_RESERVE: u64 = 1024 * MIB;

/// The smallest step by which the file grows, in bytes.
const GROW_BYTES: u64 = 256 * MIB;
/// The file also grows by at least 1/64 of its length at once.
const GROW_FRACTION: u64 = 64;

/// The balloon is this much larger than needed, so that it does not have to grow at each check.
const BALLOON_STEP: u64 = 64 * MIB;
/// The smallest piece by which the balloon grows.
const BALLOON_PIECE: u64 = MIB;

/// The pool is trimmed when the disk has more than this many bytes allocated for free space.
const TRIM_BYTES: u64 = 16 * MIB;
/// The shortest time between two periodic trims.
const TRIM_PAUSE: Duration = Duration::from_secs(15);
/// The smallest piece of free space that is trimmed.
const TRIM_PIECE: u64 = 64 << 10;

/// After this time, blocks for metadata are allocated again, in case another program has trimmed the pool.
const BACK_AGAIN: Duration = Duration::from_secs(60);

/// The results of earlier checks.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The ranges of the file that contain metadata chunks and have allocated blocks.
    backed: HashSet<Range<u64>>,
    backed_at: Option<Instant>,
    /// Bytes of free space that a trim leaves allocated, such as those of metadata chunks. It is the minimum since the last
    /// trim.
    untrimmed: u64,
    trimmed_at: Option<Instant>,
    /// Whether to trim again: something was deleted, or the last trim freed much and may have missed some.
    again: bool,
}

/// The sizes of the pool, in bytes.
struct Sizes {
    /// The length of the file.
    length: u64,
    /// The space that the file occupies on the disk.
    allocated: u64,
    /// The most that the pool may occupy.
    given: u64,
    disk: Disk,
}

/// The size that a file in this folder may have, given that it occupies `allocated` bytes of the disk already.
pub(super) fn given(folder: &Path, allocated: u64, limit: u64) -> Result<(u64, Disk), PoolError> {
    let statvfs = rustix::fs::statvfs(folder).during("look at", folder)?;
    let size = statvfs.f_blocks * statvfs.f_frsize;
    let disk = Disk {
        free: statvfs.f_bavail * statvfs.f_frsize,
        reserve: (size / RESERVE_FRACTION).clamp(SMALLEST_RESERVE, LARGEST_RESERVE),
    };
    let given = (allocated + disk.free)
        .saturating_sub(disk.reserve)
        .min(limit);
    Ok((given / MIB * MIB, disk))
}

impl Image {
    /// Checks the disk below once, and adapts the pool. It must be called often: programs write gigabytes within seconds.
    pub(super) fn fit(&self) -> Result<Room, PoolError> {
        let root = File::open(&self.mountpoint).during("open", &self.mountpoint)?;
        let statvfs = rustix::fs::fstatvfs(&root).during("look at", &self.mountpoint)?;
        let mut sizes = self.sizes()?;
        let read_only = statvfs.f_flag.contains(StatVfsMountFlags::RDONLY);
        if !read_only {
            let chunks = chunks(root.as_fd()).during("read the chunks of", &self.mountpoint)?;
            // If one fails, the others still run.
            let backed = self.back_metadata(&chunks);
            let grown = self.grow(&root, &mut sizes);
            let pressed = self.set_balloon(&root, &chunks, &sizes);
            let trimmed = self.trim_if_due(&root, &chunks, &sizes);
            backed.and(grown).and(pressed).and(trimmed)?;
        }
        Ok(Room {
            read_only,
            disk: Some(sizes.disk),
        })
    }

    /// Makes the next check trim the pool, since something was deleted.
    pub(super) fn trim_soon(&self) {
        let mut done = self.done();
        done.trimmed_at = None;
        done.again = true;
    }

    /// The size of the balloon, in bytes.
    pub(super) fn balloon_size(&self) -> u64 {
        std::fs::metadata(self.balloon()).map_or(0, |file| file.len())
    }

    fn balloon(&self) -> PathBuf {
        self.mountpoint.join("balloon")
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sizes(&self) -> Result<Sizes, PoolError> {
        let file = std::fs::metadata(&self.file).during("look at", &self.file)?;
        let allocated = file.blocks() * 512;
        let folder = self.file.parent().expect("the image is in a folder");
        let (given, disk) = given(folder, allocated, self.limit)?;
        Ok(Sizes {
            length: file.len(),
            allocated,
            given,
            disk,
        })
    }

    fn open_file(&self) -> Result<File, PoolError> {
        let opened = File::options().write(true).open(&self.file);
        opened.during("open", &self.file)
    }

    /// Allocates disk blocks for all metadata chunks.
    fn back_metadata(&self, chunks: &[Chunk]) -> Result<(), PoolError> {
        let mut done = self.done();
        if done.backed_at.is_none_or(|at| at.elapsed() > BACK_AGAIN) {
            done.backed.clear();
            done.backed_at = Some(Instant::now());
        }
        let metadata = chunks.iter().filter(|chunk| !chunk.is_data);
        let ranges = metadata.flat_map(|chunk| &chunk.device);
        let new: Vec<&Range<u64>> = ranges
            .filter(|range| !done.backed.contains(*range))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let file = self.open_file()?;
        for range in new {
            let length = range.end - range.start;
            match fallocate(&file, FallocateFlags::KEEP_SIZE, range.start, length) {
                // The disk does not support it, or is full. The next check tries again.
                Err(Errno::OPNOTSUPP | Errno::NOSPC | Errno::INTR) => {}
                allocated => {
                    allocated.during("allocate blocks for", &self.file)?;
                    done.backed.insert(range.clone());
                }
            }
        }
        Ok(())
    }

    /// Extends the file, the loop device and the filesystem when the disk has more space.
    fn grow(&self, root: &File, sizes: &mut Sizes) -> Result<(), PoolError> {
        let step = GROW_BYTES
            .max(sizes.length / GROW_FRACTION)
            .min(self.limit.saturating_sub(sizes.length));
        if step == 0 || sizes.given < sizes.length + step {
            return Ok(());
        }
        let file = self.open_file()?;
        match file.set_len(sizes.given) {
            // The filesystem below does not support larger files.
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => return Ok(()),
            grown => grown.during("grow", &self.file)?,
        }
        if let Some(device) = mounted_device(&self.mountpoint)? {
            let device = File::open(&device).during("open", &device)?;
            ioctl::reread_loop_size(&device).during("grow", &self.file)?;
        }
        ioctl::resize_to_device(root.as_fd()).during("grow", &self.mountpoint)?;
        tracing::info!(from = sizes.length, to = sizes.given, "the pool has grown");
        sizes.length = sizes.given;
        Ok(())
    }

    /// Makes the balloon as large as the part of the file that the disk cannot provide.
    fn set_balloon(&self, root: &File, chunks: &[Chunk], sizes: &Sizes) -> Result<(), PoolError> {
        let needed = sizes.length.saturating_sub(sizes.given);
        let now = self.balloon_size();
        if needed > now {
            // Trim first: allocated blocks of the disk are of no use in the balloon.
            if self.trimmable(root, sizes)? > TRIM_BYTES {
                self.trim(root, chunks)?;
            }
            let reached = self.inflate(now, needed + BALLOON_STEP)?;
            if reached < needed && reached > now {
                // Unwritten data may need more space than the disk has left. Write it out while it still fits.
                if let Err(error) = rustix::fs::syncfs(root) {
                    tracing::warn!(%error, "data that was not synced may be lost");
                }
            }
        } else if now > 0 && (needed == 0 || now - needed > 2 * BALLOON_STEP) {
            let target = if needed == 0 {
                0
            } else {
                needed + BALLOON_STEP
            };
            let opened = File::options().write(true).open(self.balloon());
            let balloon = opened.during("open", &self.balloon())?;
            balloon.set_len(target).during("shrink", &self.balloon())?;
            // The space becomes free with the next transaction, which may otherwise be 30 s away.
            ioctl::sync(root.as_fd()).during("flush", &self.mountpoint)?;
            tracing::info!(
                from = now,
                to = target,
                "the disk below the pool has space again"
            );
        }
        Ok(())
    }

    /// Grows the balloon as far as the pool has free space. Returns its new size.
    fn inflate(&self, from: u64, to: u64) -> Result<u64, PoolError> {
        let path = self.balloon();
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let balloon = match options.open(&path) {
            // There is no space even for an empty file.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(from),
            opened => opened.during("open", &path)?,
        };
        let (mut reached, mut piece) = (from, to - from);
        while reached < to && piece >= BALLOON_PIECE {
            match fallocate(&balloon, FallocateFlags::empty(), reached, piece) {
                Ok(()) => {
                    reached += piece;
                    piece = piece.min(to - reached);
                }
                Err(Errno::NOSPC) => piece /= 2,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).during("grow", &path),
            }
        }
        if reached > from {
            tracing::warn!(
                from,
                to = reached,
                "the disk below the pool is short of space, so the pool has become smaller"
            );
        }
        Ok(reached)
    }

    /// The number of bytes that a trim would return to the disk.
    fn trimmable(&self, root: &File, sizes: &Sizes) -> Result<u64, PoolError> {
        let untrimmed = self.untrimmed(root, sizes)?;
        let mut done = self.done();
        // Keep the minimum: data that is being written is allocated before the pool counts it as used.
        done.untrimmed = done.untrimmed.min(untrimmed);
        Ok(untrimmed - done.untrimmed)
    }

    /// The number of bytes that are free in the pool, but allocated on the disk.
    fn untrimmed(&self, root: &File, sizes: &Sizes) -> Result<u64, PoolError> {
        let statvfs = rustix::fs::fstatvfs(root).during("look at", &self.mountpoint)?;
        let used = (statvfs.f_blocks - statvfs.f_bfree) * statvfs.f_frsize;
        let used = used.saturating_sub(self.balloon_size());
        Ok(sizes.allocated.saturating_sub(used))
    }

    fn trim_if_due(&self, root: &File, chunks: &[Chunk], sizes: &Sizes) -> Result<(), PoolError> {
        let trimmable = self.trimmable(root, sizes)?;
        let is_due = {
            let done = self.done();
            let pause_is_over = done.trimmed_at.is_none_or(|at| at.elapsed() >= TRIM_PAUSE);
            (trimmable > TRIM_BYTES || done.again) && pause_is_over
        };
        match is_due {
            true => self.trim(root, chunks),
            false => Ok(()),
        }
    }

    /// Returns the pool's free space to the disk.
    fn trim(&self, root: &File, chunks: &[Chunk]) -> Result<(), PoolError> {
        // Deleted data becomes free with the next transaction. If this sync fails, the trim only returns less.
        if let Err(error) = ioctl::sync(root.as_fd()) {
            tracing::debug!(%error, "cannot flush the pool before trimming it");
        }
        let before = self.sizes()?.allocated;
        for range in data_ranges(chunks) {
            match ioctl::trim(root.as_fd(), range, TRIM_PIECE) {
                // The filesystem below does not support holes.
                Err(Errno::OPNOTSUPP) => break,
                trimmed => trimmed.during("trim", &self.mountpoint)?,
            }
        }
        let sizes = self.sizes()?;
        let untrimmed = self.untrimmed(root, &sizes)?;
        let mut done = self.done();
        done.again = before.saturating_sub(sizes.allocated) > TRIM_BYTES;
        done.untrimmed = untrimmed;
        done.trimmed_at = Some(Instant::now());
        Ok(())
    }
}
