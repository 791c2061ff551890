//! The btrfs driver. A snapshot is one ioctl, whatever the size of the data.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use crate::driver::{Difference, Disk, Driver, FolderUsage, Mode, Room, Space};
use crate::error::{During as _, PoolError};

mod chunks;
mod deletion;
mod difference;
mod fit;
mod image;
mod ioctl;
mod items;
mod lost_writes;
mod mapping;
mod usage;

use image::Image;
use lost_writes::Flush;

/// Where the pool is.
#[derive(Debug, Clone)]
pub enum BtrfsPlace {
    /// In a sparse file, which is created if it does not exist. Its size follows the free space of the disk below.
    Image {
        /// The file.
        file: PathBuf,
        /// The mount point of its filesystem.
        mountpoint: PathBuf,
        /// The maximum size, in bytes.
        limit: u64,
    },
    /// On a block device that the user provides. It is formatted if it is blank.
    Device {
        /// The device.
        device: PathBuf,
        /// The mount point of its filesystem.
        mountpoint: PathBuf,
    },
    /// In a folder of a btrfs filesystem that the user provides.
    Folder(PathBuf),
}

/// The inode number of the top directory of every subvolume.
const SUBVOLUME_INODE: u64 = 256;

pub(crate) struct Btrfs {
    root: PathBuf,
    image: Option<Image>,
    sizes: usage::SizeCache,
    flush: Flush,
}

impl BtrfsPlace {
    /// The disk that contains the pool's file, if the pool is in a file.
    pub fn disk(&self) -> Result<Option<Disk>, PoolError> {
        let Self::Image { file, limit, .. } = self else {
            return Ok(None);
        };
        let folder = file.parent().expect("the image is in a folder");
        Ok(Some(fit::given(folder, 0, *limit)?.1))
    }

    /// Unmounts a pool everywhere in this process's mount namespace. Returns whether the kernel has shut down the filesystem.
    /// It has not if another process still has it mounted, or has a file in it open.
    pub fn unmount(&self) -> Result<bool, PoolError> {
        match self {
            Self::Image {
                file, mountpoint, ..
            } => {
                image::unmount(mountpoint)?;
                Ok(!image::has_loop_device(file)?)
            }
            Self::Device { device, mountpoint } => {
                image::unmount(mountpoint)?;
                Ok(!image::is_in_use(device)?)
            }
            // The filesystem belongs to the user, so the daemon must not unmount it.
            Self::Folder(folder) => Err(PoolError::ReadOnly {
                path: folder.clone(),
            }),
        }
    }

    /// Whether the daemon mounts the pool's filesystem itself.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Folder(_))
    }

    /// The device number of the pool's filesystem, as `MAJOR:MINOR`, if it is mounted.
    pub fn filesystem(&self) -> Result<Option<String>, PoolError> {
        let (Self::Image { mountpoint, .. } | Self::Device { mountpoint, .. }) = self else {
            return Ok(None);
        };
        Ok(image::mounted(mountpoint)?.map(|mount| mount.filesystem))
    }
}

impl Btrfs {
    /// Opens the filesystem. Creates, formats and mounts it as needed.
    pub(crate) fn open(place: &BtrfsPlace) -> Result<Self, PoolError> {
        if !image::kernel_has_btrfs() {
            return Err(PoolError::NoBtrfs);
        }
        let (root, image) = match place {
            BtrfsPlace::Image {
                file,
                mountpoint,
                limit,
            } => (
                mountpoint.clone(),
                Some(Image::attach(file, mountpoint, *limit)?),
            ),
            BtrfsPlace::Device { device, mountpoint } => {
                image::attach_device(device, mountpoint)?;
                (mountpoint.clone(), None)
            }
            BtrfsPlace::Folder(folder) => {
                std::fs::create_dir_all(folder).during("create", folder)?;
                (folder.clone(), None)
            }
        };
        let statfs = rustix::fs::statfs(&root).during("look at", &root)?;
        if statfs.f_type as u64 != BTRFS_MAGIC {
            return Err(PoolError::UnusablePlace {
                path: root,
                problem: "it is not on a btrfs filesystem".to_owned(),
            });
        }
        let pool = Self {
            flush: Flush::new(&root)?,
            root,
            image,
            sizes: usage::SizeCache::default(),
        };
        if pool.is_read_only()? {
            return Err(PoolError::ReadOnly { path: pool.root });
        }
        Ok(pool)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn is_read_only(&self) -> Result<bool, PoolError> {
        let statvfs = rustix::fs::statvfs(&self.root).during("look at", &self.root)?;
        Ok(statvfs.f_flag.contains(StatVfsMountFlags::RDONLY))
    }
}

const BTRFS_MAGIC: u64 = 0x9123_683e;

fn split(path: &Path) -> (&Path, &std::ffi::OsStr) {
    (
        path.parent().expect("a subvolume is in a folder"),
        path.file_name().expect("a subvolume has a name"),
    )
}

fn open(path: &Path) -> Result<File, PoolError> {
    File::open(path).during("open", path)
}

/// The number of the transaction that created a snapshot.
fn frozen_at(snapshot: &Path) -> Result<u64, PoolError> {
    let info = ioctl::subvolume_info(open(snapshot)?.as_fd());
    Ok(info.during("look at", snapshot)?.created)
}

impl Driver for Btrfs {
    fn create(&self, path: &Path) -> Result<(), PoolError> {
        let (parent, name) = split(path);
        ioctl::create_subvolume(open(parent)?.as_fd(), name).during("create", path)
    }

    fn snapshot(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), PoolError> {
        let (parent, name) = split(to);
        let from_folder = open(from)?;
        let parent = open(parent)?;
        if !ioctl::is_read_only(from_folder.as_fd()).during("look at", from)? {
            // Taking a snapshot first flushes dirty data. Writes during that time may or may not be in the snapshot. A
            // flush in advance makes that time short, and notices what the disk refuses.
            self.flush.flush()?;
        }
        ioctl::create_snapshot(
            parent.as_fd(),
            name,
            from_folder.as_fd(),
            mode == Mode::Frozen,
        )
        .during("take a snapshot at", to)
    }

    fn delete(&self, path: &Path) -> Result<(), PoolError> {
        deletion::delete(path)
    }

    fn reclaim(&self) -> Result<(), PoolError> {
        if let Some(image) = &self.image {
            image.trim_soon();
        }
        ioctl::sync(open(&self.root)?.as_fd()).during("reclaim space in", &self.root)
    }

    fn is_snapshotted(&self, path: &Path) -> Result<bool, PoolError> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::symlink_metadata(path).during("look at", path)?;
        Ok(metadata.is_dir() && metadata.ino() == SUBVOLUME_INODE)
    }

    fn subvolume(&self, folder: BorrowedFd<'_>) -> std::io::Result<u64> {
        Ok(ioctl::subvolume_info(folder)?.id)
    }

    fn usage(&self, path: &Path, base: &Path, ignored: &str) -> Result<FolderUsage, PoolError> {
        self.sizes.usage(path, frozen_at(base)?, ignored)
    }

    fn dirty(&self, path: &Path, base: &Path, ignored: &str) -> Result<u64, PoolError> {
        usage::dirty(path, frozen_at(base)?, ignored)
    }

    fn differing(
        &self,
        one: &Path,
        two: &Path,
        path: &str,
    ) -> Result<Option<Vec<std::ops::Range<u64>>>, PoolError> {
        difference::differing(one, two, path)
            .during("compare", Path::new("a file"))
            .map(Some)
    }

    fn difference(
        &self,
        base: &Path,
        snapshot: &Path,
        folder: &str,
        base_links: bool,
    ) -> Result<Box<dyn Difference>, PoolError> {
        difference::Difference::new(base, snapshot, folder, base_links)
            .map(|difference| Box::new(difference) as Box<dyn Difference>)
    }

    fn space(&self) -> Result<Space, PoolError> {
        let statfs = rustix::fs::statvfs(&self.root).during("look at", &self.root)?;
        let balloon = self.image.as_ref().map_or(0, Image::balloon_size);
        Ok(Space {
            total: (statfs.f_blocks * statfs.f_frsize).saturating_sub(balloon),
            free: statfs.f_bavail * statfs.f_frsize,
        })
    }

    fn fit(&self) -> Result<Room, PoolError> {
        if let Some(image) = &self.image {
            let room = image.fit()?;
            if let Some(disk) = &room.disk {
                self.flush.disk_has(disk.free);
            }
            return Ok(room);
        }
        Ok(Room {
            read_only: self.is_read_only()?,
            disk: None,
        })
    }
}
