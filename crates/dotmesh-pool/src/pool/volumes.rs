//! The folders behind volumes. Containers can change them at any time, so this code works on file descriptors. A container
//! could replace a path between its check and its use.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, DotName, SubdotName};
use rustix::fs::{CWD, Mode as Permissions, OFlags, RenameFlags, ResolveFlags};

use super::Pool;
use super::inner::{Inner, names_in, temporary};
use crate::error::{During as _, PoolError};
use crate::layout::DATA;
use crate::mount_table::MountEntry;

/// The id of a folder, independent of its path. An id is never used again in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId {
    /// The subvolume id of the working copy. The filesystem never uses an id again.
    pub subvolume: u64,
    /// The inode number of the folder.
    pub inode: u64,
}

/// An open folder of a working copy.
#[derive(Debug)]
pub struct OpenFolder {
    descriptor: OwnedFd,
    id: FolderId,
}

impl OpenFolder {
    /// The id of the folder.
    pub fn id(&self) -> FolderId {
        self.id
    }
}

impl AsFd for OpenFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A subdot that is being filled and is not visible yet.
#[must_use = "a subdot becomes visible with Pool::finish_subdot"]
pub struct NewSubdot {
    folder: PathBuf,
    place: PathBuf,
}

impl NewSubdot {
    /// The folder to fill.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for NewSubdot {
    fn drop(&mut self) {
        // Only root can reach this folder. It may be gone, since a subdot that became visible was moved.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The prefix of the folder of a [`NewSubdot`]. It is in the working copy, outside the data that containers see.
pub(super) const FILLING: &str = ".filling-";

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

impl Pool {
    /// The path of a volume's folder, to show to users. To work on the folder, use [`Self::open_volume`].
    pub fn volume_path(&self, dot: &DotName, branch: &BranchName, folder: &Folder) -> PathBuf {
        let data = self.inner.layout.branch(dot, branch).join(DATA);
        match folder {
            Folder::Root => data,
            Folder::Subdot(subdot) => data.join(subdot.as_str()),
        }
    }

    /// Opens a volume's folder. `None` if the branch has no such subdot.
    pub async fn open_volume(
        &self,
        dot: &DotName,
        branch: &BranchName,
        folder: &Folder,
    ) -> Result<Option<OpenFolder>, PoolError> {
        let (data, folder) = (self.volume_path(dot, branch, &Folder::Root), folder.clone());
        self.run(move |inner| inner.open_folder(&data, &folder))
            .await
    }

    /// Opens a volume's folder. A missing subdot is created, empty and writable for all users.
    pub async fn prepare_volume(
        &self,
        dot: &DotName,
        branch: &BranchName,
        folder: &Folder,
    ) -> Result<OpenFolder, PoolError> {
        let (data, folder) = (self.volume_path(dot, branch, &Folder::Root), folder.clone());
        self.run(move |inner| {
            if let Folder::Subdot(subdot) = &folder {
                make_subdot(&data, subdot)?;
            }
            let opened = inner.open_folder(&data, &folder)?;
            opened.ok_or(PoolError::NotAFolder { path: data })
        })
        .await
    }

    /// Begins to create a subdot, which stays invisible until it is filled.
    pub async fn begin_subdot(
        &self,
        dot: &DotName,
        branch: &BranchName,
        subdot: &SubdotName,
    ) -> Result<NewSubdot, PoolError> {
        let working = self.inner.layout.branch(dot, branch);
        let subdot = subdot.clone();
        self.run(move |_| {
            let folder = temporary(&working);
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let folder = working.join(format!("{FILLING}{name}"));
            std::fs::create_dir(&folder).during("create", &folder)?;
            let place = working.join(DATA).join(subdot.as_str());
            Ok(NewSubdot { folder, place })
        })
        .await
    }

    /// Makes a filled subdot visible, in one step. `content` is the path of its data in its folder. Returns `false` if the
    /// subdot exists by now. The existing one is kept.
    pub async fn finish_subdot(&self, new: NewSubdot, content: &Path) -> Result<bool, PoolError> {
        // Removes `.` from the path, since a path that ends in it cannot be renamed.
        let content: PathBuf = new
            .folder
            .components()
            .chain(content.components())
            .collect();
        self.run(move |_| {
            let data = new.place.parent().expect("a subdot is in the data folder");
            let name = new.place.file_name().expect("a subdot has a name");
            let parent = rustix::fs::openat(CWD, data, DIRECTORY, Permissions::empty())
                .during("open", data)?;
            let renamed =
                rustix::fs::renameat_with(CWD, &content, &parent, name, RenameFlags::NOREPLACE);
            match renamed {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::EXIST) => Ok(false),
                Err(error) => Err(PoolError::io("create", &new.place)(error.into())),
            }
        })
        .await
    }

    /// Completes or deletes what a crash left of new subdots.
    pub async fn forget_new_subdots(
        &self,
        dot: &DotName,
        branch: &BranchName,
    ) -> Result<(), PoolError> {
        let working = self.inner.layout.branch(dot, branch);
        self.run(move |inner| {
            inner.complete_subdots(&working)?;
            for name in names_in(&working)? {
                if name.starts_with(FILLING) {
                    let folder = working.join(name);
                    std::fs::remove_dir_all(&folder).during("delete", &folder)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The folders of this pool that mounts show, in any mount namespace. `None` for a mount of something else, or of a deleted
    /// folder.
    pub async fn identify(
        &self,
        mounts: Vec<MountEntry>,
    ) -> Result<Vec<Option<FolderId>>, PoolError> {
        self.run(move |inner| Ok(mounts.iter().map(|mount| inner.identify(mount)).collect()))
            .await
    }

    /// Whether a mount shows something in this folder of the pool, even if it was deleted since.
    pub fn is_within(&self, mount: &MountEntry, folder: &Path) -> bool {
        let below = folder.strip_prefix(self.inner.layout.root()).ok();
        let shown = self.inner.in_pool(mount);
        shown
            .zip(below)
            .is_some_and(|(shown, below)| shown.starts_with(below))
    }

    /// The entry in a mount table if the folder at `shown` were mounted at `point`.
    #[cfg(feature = "testing")]
    pub fn mount_entry(&self, shown: &Path, point: &Path) -> MountEntry {
        let (filesystem, root) = &self.inner.mounted;
        let below = shown.strip_prefix(self.inner.layout.root());
        MountEntry {
            filesystem: filesystem.clone(),
            root: root.join(below.unwrap_or(shown)),
            point: point.to_owned(),
            source: PathBuf::new(),
            peers: Vec::new(),
        }
    }

    /// Whether a mount shows a folder of this pool's dots, and not the whole pool.
    pub fn shows_dots(&self, mount: &MountEntry) -> bool {
        self.inner.in_pool(mount).is_some()
    }
}

impl Inner {
    fn open_folder(&self, data: &Path, folder: &Folder) -> Result<Option<OpenFolder>, PoolError> {
        let data_folder =
            rustix::fs::openat(CWD, data, DIRECTORY, Permissions::empty()).during("open", data)?;
        let descriptor = match folder {
            Folder::Root => data_folder,
            Folder::Subdot(subdot) => {
                let path = data.join(subdot.as_str());
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                match rustix::fs::openat2(
                    &data_folder,
                    subdot.as_str(),
                    DIRECTORY,
                    Permissions::empty(),
                    beneath,
                ) {
                    Ok(opened) => opened,
                    Err(rustix::io::Errno::NOENT) => return Ok(None),
                    Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                        return Err(PoolError::NotAFolder { path });
                    }
                    Err(error) => return Err(PoolError::io("open", &path)(error.into())),
                }
            }
        };
        let id = self.id_of(descriptor.as_fd()).during("look at", data)?;
        Ok(Some(OpenFolder { descriptor, id }))
    }

    /// Opens a folder of data that no container has, and follows no symlink.
    pub(super) fn open_path(&self, data: &Path, path: &str) -> Result<OpenFolder, PoolError> {
        let data_folder =
            rustix::fs::openat(CWD, data, DIRECTORY, Permissions::empty()).during("open", data)?;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let descriptor =
            rustix::fs::openat2(&data_folder, path, DIRECTORY, Permissions::empty(), beneath)
                .during("open", &data.join(path))?;
        let id = self.id_of(descriptor.as_fd()).during("look at", data)?;
        Ok(OpenFolder { descriptor, id })
    }

    fn id_of(&self, folder: BorrowedFd<'_>) -> std::io::Result<FolderId> {
        Ok(FolderId {
            subvolume: self.driver.subvolume(folder)?,
            inode: rustix::fs::fstat(folder)?.st_ino,
        })
    }

    /// The path in the pool that a mount shows, if it belongs to a dot.
    fn in_pool(&self, mount: &MountEntry) -> Option<PathBuf> {
        let (filesystem, root) = &self.mounted;
        if mount.filesystem != *filesystem {
            return None;
        }
        let below = mount.root.strip_prefix(root).ok()?;
        let top = below.components().next()?.as_os_str();
        // Deleted folders count, too: a container may still use them.
        let ours = ["dots", "deleted", "trash", "staging"];
        ours.iter()
            .any(|ours| top == *ours)
            .then(|| below.to_owned())
    }

    fn identify(&self, mount: &MountEntry) -> Option<FolderId> {
        let below = self.in_pool(mount)?;
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let root = self.layout.root();
        let pool = rustix::fs::openat(CWD, root, DIRECTORY, Permissions::empty()).ok()?;
        let folder = rustix::fs::openat2(&pool, &below, DIRECTORY, Permissions::empty(), flags);
        self.id_of(folder.ok()?.as_fd()).ok()
    }
}

/// Creates a subdot if it is missing. A container can replace a subdot with anything, so this only opens it as a folder.
fn make_subdot(data: &Path, subdot: &SubdotName) -> Result<(), PoolError> {
    let path = data.join(subdot.as_str());
    let parent =
        rustix::fs::openat(CWD, data, DIRECTORY, Permissions::empty()).during("open", data)?;
    let everybody = Permissions::from_raw_mode(0o777);
    match rustix::fs::mkdirat(&parent, subdot.as_str(), everybody) {
        // The umask limits the mode of the call above, but databases run as their own users. No symlink is followed here. If
        // a container replaces the new folder at once, this fails or changes the mode of the container's own folder.
        Ok(()) => {
            let made =
                rustix::fs::openat(&parent, subdot.as_str(), DIRECTORY, Permissions::empty())
                    .during("create", &path)?;
            rustix::fs::fchmod(&made, everybody).during("create", &path)
        }
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(PoolError::io("create", &path)(error.into())),
    }
}
