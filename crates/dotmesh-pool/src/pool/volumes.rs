//! The folders that volumes show. Containers own what is in them, so they are opened by descriptor, never by a path that
//! a container could change between a look and its use.

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

/// Which folder it is, whatever its path: no two folders of a pool have had the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId {
    /// The working copy: its subvolume's id, which the filesystem never gives to another.
    pub subvolume: u64,
    /// The folder in it.
    pub inode: u64,
}

/// An open folder of a working copy.
#[derive(Debug)]
pub struct OpenFolder {
    descriptor: OwnedFd,
    id: FolderId,
}

impl OpenFolder {
    /// Which folder it is.
    pub fn id(&self) -> FolderId {
        self.id
    }
}

impl AsFd for OpenFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A subdot that is being filled, not yet visible.
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
        // Only root gets here, and it is gone already when the subdot has become visible.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The beginning of the name of a [`NewSubdot`]'s folder, in the working copy, beside what containers see.
const FILLING: &str = ".filling-";

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

impl Pool {
    /// The path of a volume's folder, for people: whoever works on the folder opens it with [`Self::open_volume`].
    pub fn volume_path(&self, dot: &DotName, branch: &BranchName, folder: &Folder) -> PathBuf {
        let data = self.inner.layout.branch(dot, branch).join(DATA);
        match folder {
            Folder::Root => data,
            Folder::Subdot(subdot) => data.join(subdot.as_str()),
        }
    }

    /// Opens a volume's folder; `None` when the branch has no such subdot.
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

    /// Opens a volume's folder. A subdot that is not there is made, empty and open to every user.
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

    /// Begins a subdot that is filled before anybody sees it.
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

    /// Makes a filled subdot visible, in one step: what is at the path `content` in its folder. Returns whether it did:
    /// another may have been made meanwhile, which stays.
    pub async fn finish_subdot(&self, new: NewSubdot, content: &Path) -> Result<bool, PoolError> {
        // A path without `.`, which can't be renamed.
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

    /// Removes from a branch what a crash left of subdots that were being filled.
    pub async fn forget_new_subdots(
        &self,
        dot: &DotName,
        branch: &BranchName,
    ) -> Result<(), PoolError> {
        let working = self.inner.layout.branch(dot, branch);
        self.run(move |_| {
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

    /// Which folder of this pool a mount shows, of whatever namespace; `None` when it is none, or one that was deleted.
    pub async fn identify(
        &self,
        mounts: Vec<MountEntry>,
    ) -> Result<Vec<Option<FolderId>>, PoolError> {
        self.run(move |inner| Ok(mounts.iter().map(|mount| inner.identify(mount)).collect()))
            .await
    }

    /// Whether what a mount shows is, or was before it was deleted, in a folder of this pool.
    pub fn is_within(&self, mount: &MountEntry, folder: &Path) -> bool {
        let below = folder.strip_prefix(self.inner.layout.root()).ok();
        let shown = self.inner.in_pool(mount);
        shown
            .zip(below)
            .is_some_and(|(shown, below)| shown.starts_with(below))
    }

    /// What a table of mounts would say of a folder of this pool that is mounted; `shown` is its path now.
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

    /// Whether a mount is of this pool's dots: of one of its folders, not of the whole.
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

    fn id_of(&self, folder: BorrowedFd<'_>) -> std::io::Result<FolderId> {
        Ok(FolderId {
            subvolume: self.driver.subvolume(folder)?,
            inode: rustix::fs::fstat(folder)?.st_ino,
        })
    }

    /// The path in the pool of what a mount shows, if it is below the dots.
    fn in_pool(&self, mount: &MountEntry) -> Option<PathBuf> {
        let (filesystem, root) = &self.mounted;
        if mount.filesystem != *filesystem {
            return None;
        }
        let below = mount.root.strip_prefix(root).ok()?;
        let top = below.components().next()?.as_os_str();
        // What was deleted, too: a container may still have it.
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

/// Containers own the folder above, so a subdot may have become anything: it is only ever opened as a folder.
fn make_subdot(data: &Path, subdot: &SubdotName) -> Result<(), PoolError> {
    let path = data.join(subdot.as_str());
    let parent =
        rustix::fs::openat(CWD, data, DIRECTORY, Permissions::empty()).during("open", data)?;
    let everybody = Permissions::from_raw_mode(0o777);
    match rustix::fs::mkdirat(&parent, subdot.as_str(), everybody) {
        // The umask applies to the call above. Databases run as users of their own. Nothing is followed here: a container
        // that replaces the new folder at once gets an error, or its own folder's permissions changed.
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
