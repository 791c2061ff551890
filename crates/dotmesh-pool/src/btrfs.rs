//! The btrfs driver: a snapshot is one ioctl, whatever the size of the data.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::driver::{Difference, Driver, Mode, Space, Usage};
use crate::error::{During as _, PoolError};

mod deletion;
mod difference;
pub(crate) mod image;
mod ioctl;
mod items;
mod usage;

use image::{Image, ImageSize};

/// Where the pool is.
#[derive(Debug, Clone)]
pub enum BtrfsPlace {
    /// In a sparse file that is made when there is none, and grown before it is full.
    Image {
        /// The file.
        file: PathBuf,
        /// Where its filesystem is mounted.
        mountpoint: PathBuf,
        /// How large it is and may become.
        size: ImageSize,
    },
    /// On a block device of the user's. Formatted if it is blank.
    Device {
        /// The device.
        device: PathBuf,
        /// Where its filesystem is mounted.
        mountpoint: PathBuf,
    },
    /// In a folder of a btrfs filesystem of the user's.
    Folder(PathBuf),
}

/// The inode number of the top folder of every subvolume.
const SUBVOLUME_INODE: u64 = 256;

pub(crate) struct Btrfs {
    root: PathBuf,
    image: Option<Image>,
    sizes: usage::SizeCache,
}

impl Btrfs {
    /// Makes or attaches the filesystem.
    pub(crate) fn open(place: &BtrfsPlace) -> Result<Self, PoolError> {
        let (root, image) = match place {
            BtrfsPlace::Image {
                file,
                mountpoint,
                size,
            } => (
                mountpoint.clone(),
                Some(Image::attach(file, mountpoint, *size)?),
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
        Ok(Self {
            root,
            image,
            sizes: usage::SizeCache::default(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
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

impl Driver for Btrfs {
    fn create(&self, path: &Path) -> Result<(), PoolError> {
        let (parent, name) = split(path);
        ioctl::create_subvolume(open(parent)?.as_fd(), name).during("create", path)
    }

    fn snapshot(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), PoolError> {
        let (parent, name) = split(to);
        let from_folder = open(from)?;
        let parent = open(parent)?;
        if mode == Mode::Frozen {
            // The snapshot writes out what is still in memory before its instant; what is written meanwhile may be
            // caught or not. The less there is to write out, the shorter that while.
            rustix::fs::syncfs(&from_folder).during("flush", from)?;
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

    fn usage(&self, path: &Path, base: &Path, ignored: &str) -> Result<Usage, PoolError> {
        let frozen_at = ioctl::subvolume_info(open(base)?.as_fd())
            .during("look at", base)?
            .created;
        self.sizes.usage(path, frozen_at, ignored)
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
        Ok(Space {
            total: statfs.f_blocks * statfs.f_frsize,
            free: statfs.f_bavail * statfs.f_frsize,
        })
    }

    fn grow(&self) -> Result<bool, PoolError> {
        match &self.image {
            Some(image) => image.grow_if_needed(self.space()?),
            None => Ok(false),
        }
    }
}
