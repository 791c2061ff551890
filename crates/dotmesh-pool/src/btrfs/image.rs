//! The sparse file that holds the pool: made, attached to a loop device, mounted, grown.
//!
//! Setting up is left to the system's own tools (`mkfs.btrfs`, `losetup`, `blkid`): they know more cases than we do,
//! and it happens once.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::MountFlags;

use super::ioctl;
use crate::driver::Space;
use crate::error::{During as _, PoolError};

/// How large the image is made, and may become, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// When it is made.
    pub initial: u64,
    /// It never grows beyond this.
    pub limit: u64,
}

/// The smallest size that `mkfs.btrfs` takes with room for data.
const SMALLEST: u64 = 128 << 20;

/// Grown when less than this share of it is free …
const LOW_FRACTION: u64 = 4;
/// … or less than this many bytes.
const LOW_BYTES: u64 = 2 << 30;
/// What is left to others on the disk below.
const HOST_RESERVE: u64 = 1 << 30;

pub(crate) struct Image {
    file: PathBuf,
    mountpoint: PathBuf,
    limit: u64,
}

impl Image {
    /// Makes the file if there is none, and mounts it unless it is mounted already.
    pub(crate) fn attach(
        file: &Path,
        mountpoint: &Path,
        size: ImageSize,
    ) -> Result<Self, PoolError> {
        let image = Self {
            file: file.to_owned(),
            mountpoint: mountpoint.to_owned(),
            limit: size.limit.max(size.initial),
        };
        if mounted_device(mountpoint)?.is_some() {
            return Ok(image);
        }
        if !file.exists() {
            make(file, size.initial)?;
        }
        let device = run("losetup", &["--direct-io=on", "--find", "--show"], file)
            // Not every filesystem below can read and write around the page cache.
            .or_else(|_| run("losetup", &["--find", "--show"], file))?;
        let device = Path::new(device.trim());
        let mounted = mount(device, mountpoint);
        // A device in use is detached when its last user, the mount, is gone: nothing is left behind.
        run("losetup", &["--detach"], device)?;
        mounted.map(|()| image)
    }

    /// Extends the file, the loop device and the filesystem when little is free.
    pub(crate) fn grow_if_needed(&self, space: Space) -> Result<bool, PoolError> {
        let low = LOW_BYTES
            .min(self.limit / LOW_FRACTION)
            .max(space.total / LOW_FRACTION);
        let length = std::fs::metadata(&self.file)
            .during("look at", &self.file)?
            .len();
        if space.free >= low || length >= self.limit {
            return Ok(false);
        }
        let folder = self.file.parent().expect("the image is in a folder");
        let host = rustix::fs::statvfs(folder).during("look at", folder)?;
        let host_free = (host.f_bavail * host.f_frsize).saturating_sub(HOST_RESERVE);
        // A filesystem that is larger than what can be written below it fails in the worst way.
        let wanted = (length / 2).max(LOW_BYTES).min(self.limit - length);
        let extra = wanted.min(host_free.saturating_sub(space.free)) & !0xf_ffff;
        if extra == 0 {
            return Ok(false);
        }
        let file = File::options()
            .write(true)
            .open(&self.file)
            .during("open", &self.file)?;
        file.set_len(length + extra).during("grow", &self.file)?;
        if let Some(device) = mounted_device(&self.mountpoint)? {
            let device = File::open(&device).during("open", &device)?;
            ioctl::reread_loop_size(&device).during("grow", &self.file)?;
        }
        let root = File::open(&self.mountpoint).during("open", &self.mountpoint)?;
        ioctl::resize_to_device(root.as_fd()).during("grow", &self.mountpoint)?;
        tracing::info!(from = length, to = length + extra, "the pool has grown");
        Ok(true)
    }
}

/// Mounts a device of the user's; formats it first if it is blank.
pub(crate) fn attach_device(device: &Path, mountpoint: &Path) -> Result<(), PoolError> {
    if mounted_device(mountpoint)?.is_some() {
        return Ok(());
    }
    match run(
        "blkid",
        &["--probe", "--match-tag", "TYPE", "--output", "value"],
        device,
    ) {
        Ok(kind) if kind.trim() == "btrfs" => {}
        Ok(kind) if !kind.trim().is_empty() => {
            return Err(PoolError::UnusablePlace {
                path: device.to_owned(),
                problem: format!("it holds a filesystem of type {}", kind.trim()),
            });
        }
        // blkid fails on a device on which it finds nothing.
        _ => format(device)?,
    }
    mount(device, mountpoint)
}

/// Makes the image under another name first: a half-made one is never attached.
fn make(file: &Path, size: u64) -> Result<(), PoolError> {
    if size < SMALLEST {
        return Err(PoolError::UnusablePlace {
            path: file.to_owned(),
            problem: format!("a pool needs at least {} MiB", SMALLEST >> 20),
        });
    }
    let folder = file.parent().expect("the image is in a folder");
    std::fs::create_dir_all(folder).during("create", folder)?;
    let partial = file.with_extension("partial");
    let sparse = File::create(&partial).during("create", &partial)?;
    sparse.set_len(size).during("create", &partial)?;
    format(&partial)?;
    sparse.sync_all().during("create", &partial)?;
    crate::durable::rename(&partial, file)
}

/// Small nodes and single metadata are what databases write fastest on.
fn format(target: &Path) -> Result<(), PoolError> {
    run(
        "mkfs.btrfs",
        &["--quiet", "--metadata", "single", "--nodesize", "4096"],
        target,
    )
    .map(drop)
}

fn mount(device: &Path, mountpoint: &Path) -> Result<(), PoolError> {
    std::fs::create_dir_all(mountpoint).during("create", mountpoint)?;
    let flags = MountFlags::NOATIME | MountFlags::NODEV;
    // Freed space goes back to the disk below in the background. A snapshot catches what was written before it, synced
    // or not.
    rustix::mount::mount(
        device,
        mountpoint,
        "btrfs",
        flags,
        Some(c"discard=async,flushoncommit"),
    )
    .during("mount the pool at", mountpoint)
}

/// The device that is mounted at a folder, if any.
fn mounted_device(mountpoint: &Path) -> Result<Option<PathBuf>, PoolError> {
    let table = Path::new("/proc/self/mountinfo");
    // The paths of others' mounts need not be UTF-8.
    let mounts = std::fs::read(table).during("read", table)?;
    let mounts = String::from_utf8_lossy(&mounts);
    let mountpoint = mountpoint
        .canonicalize()
        .unwrap_or_else(|_| mountpoint.to_owned());
    Ok(mounts.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let at = before.split(' ').nth(4)?;
        let device = after.split(' ').nth(1)?;
        (Path::new(&unescape(at)) == mountpoint).then(|| PathBuf::from(device))
    }))
}

/// The kernel writes white space in paths as octal escapes.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

fn run(program: &'static str, arguments: &[&str], target: &Path) -> Result<String, PoolError> {
    let output = Command::new(program)
        .args(arguments)
        .arg(target)
        .output()
        .map_err(|error| {
            let output = match error.kind() {
                std::io::ErrorKind::NotFound => "it is not installed".to_owned(),
                _ => error.to_string(),
            };
            PoolError::Program { program, output }
        })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PoolError::Program { program, output })
    }
}
