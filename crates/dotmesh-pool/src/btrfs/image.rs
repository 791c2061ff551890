//! The sparse file that holds the pool: made, attached to a loop device, mounted.
//!
//! Setting up is left to the system's own tools (`mkfs.btrfs`, `losetup`, `blkid`): they know more cases than we do,
//! and it happens once.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::fit::{Done, given};
use super::ioctl;
use crate::error::{During as _, PoolError};
use crate::mount_table::{MountEntry, read_mount_table};

/// The smallest size that `mkfs.btrfs` takes with room for data.
const SMALLEST: u64 = 128 << 20;

/// How much metadata btrfs allocates at once, in bytes. All of it is allocated on the disk below; without this, large pools would
/// take 1 GiB.
const METADATA_CHUNK: u64 = 256 << 20;

pub(crate) struct Image {
    pub(super) file: PathBuf,
    pub(super) mountpoint: PathBuf,
    /// How large the file may become, in bytes.
    pub(super) limit: u64,
    pub(super) done: Mutex<Done>,
}

impl Image {
    /// Makes the file if there is none, mounts it unless it is mounted already, and fits it to the disk below.
    pub(crate) fn attach(file: &Path, mountpoint: &Path, limit: u64) -> Result<Self, PoolError> {
        let image = Self {
            file: file.to_owned(),
            mountpoint: mountpoint.to_owned(),
            limit,
            done: Mutex::default(),
        };
        if mounted_device(mountpoint)?.is_some() {
            // Earlier versions mounted it with `discard`.
            let remounted = rustix::mount::mount_remount(mountpoint, MOUNT_FLAGS, IMAGE_OPTIONS);
            if let Err(error) = remounted {
                tracing::warn!(%error, "cannot change the pool's mount options");
            }
        } else {
            image.mount()?;
        }
        limit_metadata_chunks(mountpoint);
        image.fit()?;
        Ok(image)
    }

    fn mount(&self) -> Result<(), PoolError> {
        let file = &self.file;
        if !file.exists() {
            make(file, self.limit)?;
        }
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(file, owner_only).during("set the permissions of", file)?;
        let device = run("losetup", &["--direct-io=on", "--find", "--show"], file)
            // Not every filesystem below can read and write around the page cache.
            .or_else(|_| run("losetup", &["--find", "--show"], file))?;
        let device = Path::new(device.trim());
        let mounted = mount(device, &self.mountpoint, IMAGE_OPTIONS);
        // A device in use is detached when its last user, the mount, is gone: nothing is left behind.
        run("losetup", &["--detach"], device)?;
        mounted
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
    mount(device, mountpoint, DEVICE_OPTIONS)
}

/// Makes the image under another name first: a half-made one is never attached.
fn make(file: &Path, limit: u64) -> Result<(), PoolError> {
    let folder = file.parent().expect("the image is in a folder");
    std::fs::create_dir_all(folder).during("create", folder)?;
    let (size, disk) = given(folder, 0, limit)?;
    if size < SMALLEST {
        let problem = if limit < SMALLEST {
            format!("a pool needs at least {} MiB", SMALLEST >> 20)
        } else {
            format!(
                "a pool needs at least {} MiB; {} MiB are free on the disk, of which {} MiB stay reserved for other programs",
                SMALLEST >> 20,
                disk.free >> 20,
                disk.reserve >> 20
            )
        };
        return Err(PoolError::UnusablePlace {
            path: file.to_owned(),
            problem,
        });
    }
    let partial = file.with_extension("partial");
    // All data is in it: nobody else may read it.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let sparse = options.open(&partial).during("create", &partial)?;
    // Below btrfs, each overwritten block would go to a new place. Other filesystems refuse the flag, and need none.
    if let Ok(flags) = rustix::fs::ioctl_getflags(&sparse) {
        let _ = rustix::fs::ioctl_setflags(&sparse, flags | IFlags::NOCOW);
    }
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

const MOUNT_FLAGS: MountFlags = MountFlags::NOATIME.union(MountFlags::NODEV);

/// A snapshot catches what was written before it, synced or not. How space goes back to the disk below is in `fit.rs`.
const IMAGE_OPTIONS: &CStr = c"nodiscard,flushoncommit";
/// Free blocks are trimmed in the background.
const DEVICE_OPTIONS: &CStr = c"discard=async,flushoncommit";

fn mount(device: &Path, mountpoint: &Path, options: &CStr) -> Result<(), PoolError> {
    std::fs::create_dir_all(mountpoint).during("create", mountpoint)?;
    rustix::mount::mount(device, mountpoint, "btrfs", MOUNT_FLAGS, Some(options))
        .during("mount the pool at", mountpoint)
}

/// Kernels before 6.0 can't be told, and where `/sys` is read-only none can: their pools take more space below.
fn limit_metadata_chunks(mountpoint: &Path) {
    let Ok(root) = File::open(mountpoint) else {
        return;
    };
    if let Ok(id) = ioctl::filesystem_id(root.as_fd()) {
        let setting = format!("/sys/fs/btrfs/{id}/allocation/metadata/chunk_size");
        let _ = std::fs::write(setting, METADATA_CHUNK.to_string());
    }
}

/// The device that is mounted at a folder, if any.
pub(super) fn mounted_device(mountpoint: &Path) -> Result<Option<PathBuf>, PoolError> {
    Ok(mounted(mountpoint)?.map(|mount| mount.source))
}

/// What is mounted at a folder, if anything.
pub(super) fn mounted(mountpoint: &Path) -> Result<Option<MountEntry>, PoolError> {
    let mountpoint = mountpoint
        .canonicalize()
        .unwrap_or_else(|_| mountpoint.to_owned());
    let mut mounts = read_mount_table("self")?.into_iter().rev();
    Ok(mounts.find(|mount| mount.point == mountpoint))
}

/// Unmounts all of a filesystem that this process sees.
pub(super) fn unmount(mountpoint: &Path) -> Result<(), PoolError> {
    if let Some(pool) = mounted(mountpoint)? {
        for mount in read_mount_table("self")?.into_iter().rev() {
            if mount.filesystem == pool.filesystem {
                // A shell may be in it.
                let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
                rustix::mount::unmount(&mount.point, flags).during("unmount", &mount.point)?;
            }
        }
    }
    Ok(())
}

/// Whether a file has a loop device, which goes with the filesystem in it.
pub(super) fn has_loop_device(file: &Path) -> Result<bool, PoolError> {
    let devices = run("losetup", &["--noheadings", "--associated"], file)?;
    Ok(!devices.trim().is_empty())
}

/// Whether a filesystem uses a device: then nobody else opens it exclusively.
pub(super) fn is_in_use(device: &Path) -> Result<bool, PoolError> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(device, flags, Mode::empty()) {
        Err(Errno::BUSY) => Ok(true),
        opened => opened.map(|_| false).during("open", device),
    }
}

/// Loads the module, if it is one.
pub(super) fn kernel_has_btrfs() -> bool {
    let is_known = || {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        knows_btrfs(&known)
    };
    if !is_known() {
        // Where there is no such program, the kernel has loaded it already or never will.
        let _ = Command::new("modprobe").arg("btrfs").output();
    }
    is_known()
}

/// Whether `/proc/filesystems` has it.
fn knows_btrfs(filesystems: &str) -> bool {
    let mut names = filesystems
        .lines()
        .filter_map(|line| line.split_whitespace().last());
    names.any(|name| name == "btrfs")
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

#[cfg(test)]
mod tests {
    use super::knows_btrfs;

    #[test]
    fn the_kernel_of_the_red_hat_family_has_no_btrfs() {
        let rhel = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n\txfs\n";
        assert!(!knows_btrfs(rhel));
        assert!(knows_btrfs(&format!("{rhel}\tbtrfs\n")));
    }
}
