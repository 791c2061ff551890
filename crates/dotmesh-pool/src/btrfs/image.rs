//! The sparse file that contains the pool: creates it, attaches it to a loop device, and mounts it.
//!
//! The setup uses the programs of the system (`mkfs.btrfs`, `losetup`, `blkid`). They handle more cases than this code
//! could, and the setup runs only once.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags, UnmountFlags};

use super::fit::{Done, given};
use super::ioctl;
use crate::error::{During as _, PoolError};
use crate::mount_table::{MountEntry, read_mount_table};

/// The smallest size for which `mkfs.btrfs` leaves space for data, in bytes.
const SMALLEST: u64 = 128 << 20;

/// The size of a metadata chunk, in bytes. Each chunk is allocated on the disk below as a whole. The default in large pools
/// is 1 GiB.
const METADATA_CHUNK: u64 = 256 << 20;

pub(crate) struct Image {
    pub(super) file: PathBuf,
    pub(super) mountpoint: PathBuf,
    /// The maximum size of the file, in bytes.
    pub(super) limit: u64,
    pub(super) done: Mutex<Done>,
}

impl Image {
    /// Creates the file if it does not exist, mounts it unless it is mounted, and fits it to the disk below.
    pub(crate) fn attach(file: &Path, mountpoint: &Path, limit: u64) -> Result<Self, PoolError> {
        let image = Self {
            file: file.to_owned(),
            mountpoint: mountpoint.to_owned(),
            limit,
            done: Mutex::default(),
        };
        if mounted_device(mountpoint)?.is_some() {
            // Earlier versions mounted the pool with `discard`.
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
        if self.mount_again()? {
            return Ok(());
        }
        let device = run("losetup", &["--direct-io=on", "--find", "--show"], file)
            // Not every filesystem below supports direct I/O.
            .or_else(|_| run("losetup", &["--find", "--show"], file))?;
        let device = Path::new(device.trim());
        let mounted = mount(device, &self.mountpoint, IMAGE_OPTIONS);
        // The kernel detaches the device only once its last user, the mount, is gone. So no loop device is left behind.
        run("losetup", &["--detach"], device)?;
        mounted
    }

    /// Mounts the loop device that the file still has, if any. Containers keep it when the mount namespace of an earlier
    /// daemon, such as a managed plugin's, is gone. A second device for the same file would destroy the filesystem.
    fn mount_again(&self) -> Result<bool, PoolError> {
        while let Some(device) = loop_devices(&self.file)?.first() {
            match mount(device, &self.mountpoint, IMAGE_OPTIONS) {
                Ok(()) => {
                    run("losetup", &["--detach"], device)?;
                    return Ok(true);
                }
                Err(error) if loop_devices(&self.file)?.contains(device) => return Err(error),
                // Its last user was just gone.
                Err(_) => {}
            }
        }
        Ok(false)
    }
}

/// Mounts a device that the user provides. Formats it first if it is blank.
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
        // blkid fails on a blank device.
        _ => format(device)?,
    }
    mount(device, mountpoint, DEVICE_OPTIONS)
}

/// Creates the image under a temporary name, so that an incomplete one is never attached.
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
    // It contains the data of all dots, so only its owner may read it.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let sparse = options.open(&partial).during("create", &partial)?;
    // If the disk below is btrfs too, it must not copy each overwritten block. Other filesystems refuse the flag.
    if let Ok(flags) = rustix::fs::ioctl_getflags(&sparse) {
        let _ = rustix::fs::ioctl_setflags(&sparse, flags | IFlags::NOCOW);
    }
    sparse.set_len(size).during("create", &partial)?;
    format(&partial)?;
    sparse.sync_all().during("create", &partial)?;
    crate::durable::rename(&partial, file)
}

/// Formats a pool. Databases write fastest with small tree nodes and a single copy of metadata.
fn format(target: &Path) -> Result<(), PoolError> {
    run(
        "mkfs.btrfs",
        &["--quiet", "--metadata", "single", "--nodesize", "4096"],
        target,
    )
    .map(drop)
}

const MOUNT_FLAGS: MountFlags = MountFlags::NOATIME.union(MountFlags::NODEV);

/// With `flushoncommit`, a snapshot contains all earlier writes, fsynced or not. `fit.rs` trims instead of `discard`.
const IMAGE_OPTIONS: &CStr = c"nodiscard,flushoncommit";
/// As above, but btrfs trims free blocks in the background.
const DEVICE_OPTIONS: &CStr = c"discard=async,flushoncommit";

fn mount(device: &Path, mountpoint: &Path, options: &CStr) -> Result<(), PoolError> {
    std::fs::create_dir_all(mountpoint).during("create", mountpoint)?;
    rustix::mount::mount(device, mountpoint, "btrfs", MOUNT_FLAGS, Some(options))
        .during("mount the pool at", mountpoint)
}

/// Sets the size of metadata chunks. Kernels before 6.0 lack this setting, and `/sys` may be read-only. Pools then occupy
/// more space on the disk below.
fn limit_metadata_chunks(mountpoint: &Path) {
    let Ok(root) = File::open(mountpoint) else {
        return;
    };
    if let Ok(id) = ioctl::filesystem_id(root.as_fd()) {
        let setting = format!("/sys/fs/btrfs/{id}/allocation/metadata/chunk_size");
        let _ = std::fs::write(setting, METADATA_CHUNK.to_string());
    }
}

/// The device mounted at a folder, if any.
pub(super) fn mounted_device(mountpoint: &Path) -> Result<Option<PathBuf>, PoolError> {
    Ok(mounted(mountpoint)?.map(|mount| mount.source))
}

/// The mount at a folder, if any.
pub(super) fn mounted(mountpoint: &Path) -> Result<Option<MountEntry>, PoolError> {
    let mountpoint = mountpoint
        .canonicalize()
        .unwrap_or_else(|_| mountpoint.to_owned());
    let mut mounts = read_mount_table("self")?.into_iter().rev();
    Ok(mounts.find(|mount| mount.point == mountpoint))
}

/// Unmounts a filesystem at all places that this process sees.
pub(super) fn unmount(mountpoint: &Path) -> Result<(), PoolError> {
    if let Some(pool) = mounted(mountpoint)? {
        for mount in read_mount_table("self")?.into_iter().rev() {
            if mount.filesystem == pool.filesystem {
                // Detach, since a shell may have its working directory there.
                let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
                rustix::mount::unmount(&mount.point, flags).during("unmount", &mount.point)?;
            }
        }
    }
    Ok(())
}

/// Whether a file has a loop device. It is detached when its filesystem is shut down.
pub(super) fn has_loop_device(file: &Path) -> Result<bool, PoolError> {
    Ok(!loop_devices(file)?.is_empty())
}

/// The loop devices of a file, found by its inode.
fn loop_devices(file: &Path) -> Result<Vec<PathBuf>, PoolError> {
    let arguments = ["--noheadings", "--output", "NAME", "--associated"];
    let devices = run("losetup", &arguments, file)?;
    Ok(devices.split_whitespace().map(PathBuf::from).collect())
}

/// Whether a mounted filesystem uses a device. An exclusive open then fails.
pub(super) fn is_in_use(device: &Path) -> Result<bool, PoolError> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(device, flags, Mode::empty()) {
        Err(Errno::BUSY) => Ok(true),
        opened => opened.map(|_| false).during("open", device),
    }
}

/// Whether the kernel supports btrfs. The kernel itself loads the module, so this also works in a container without
/// modules and `modprobe`.
pub(super) fn kernel_has_btrfs() -> bool {
    kernel_has("btrfs")
}

fn kernel_has(filesystem: &str) -> bool {
    let opened = rustix::mount::fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC);
    !matches!(opened, Err(Errno::NODEV))
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
    use super::kernel_has;

    #[test]
    fn a_kernel_without_a_filesystem_is_told_apart() {
        assert!(!kernel_has("nosuchfs"));
        assert!(kernel_has("btrfs"));
    }
}
