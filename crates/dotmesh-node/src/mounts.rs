//! Folders handed out to Docker. Each is mounted at its own place, which only root can enter.
//!
//! Docker gets the place's path and mounts it into the container. The folder is mounted by its descriptor, so a
//! container cannot redirect the mount by changing the dot's folders. A handed-out mount counts as a use of its working
//! copy until a running container is seen to have it, or Docker gives it back.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dotmesh_model::{BranchName, DotName, VolumeName};
use dotmesh_pool::{FolderId, OpenFolder, read_mount_table};
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use tokio::sync::Mutex;

use crate::engine::Inspected;
use crate::error::NodeError;
use crate::registry::Registry;
use crate::rootless::Rootless;

/// Mounts folders. Tests without root replace it.
pub(crate) trait Attach: Send + Sync {
    /// Mounts an open folder at a place, which is an empty folder.
    fn attach(&self, folder: &OpenFolder, place: &Path) -> std::io::Result<()>;
    /// Mounts an open folder at a user's place, without set-user-ID bits and devices. `by_way_of` is an empty folder
    /// that nobody else can see.
    fn attach_for_user(
        &self,
        folder: &OpenFolder,
        place: &Path,
        by_way_of: &Path,
    ) -> std::io::Result<()>;
    /// Mounts an open folder for an Engine without root.
    fn attach_for_rootless(
        &self,
        folder: &OpenFolder,
        place: &Path,
        engine: &Rootless,
    ) -> std::io::Result<()>;
    /// Unmounts the place. Succeeds if nothing is mounted there.
    fn detach(&self, place: &Path) -> std::io::Result<()>;
    /// All mount points.
    fn attached(&self) -> std::io::Result<Vec<PathBuf>>;
    /// The peer groups that propagate these mounts to other mount namespaces.
    fn peers(&self) -> std::io::Result<Vec<u64>>;
}

/// Mounts with system calls.
pub(crate) struct Kernel;

impl Attach for Kernel {
    fn attach(&self, folder: &OpenFolder, place: &Path) -> std::io::Result<()> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(folder.as_fd(), "", clone)?;
        let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", CWD, place, from_descriptor)?;
        Ok(())
    }

    fn attach_for_user(
        &self,
        folder: &OpenFolder,
        place: &Path,
        by_way_of: &Path,
    ) -> std::io::Result<()> {
        // Cloning a mount copies its flags.
        self.attach(folder, by_way_of)?;
        let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
        let shown = rustix::mount::mount_remount(by_way_of, flags, "").and_then(|()| {
            let nothing_followed =
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = rustix::fs::openat(CWD, place, nothing_followed, Mode::empty())?;
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = rustix::mount::open_tree(CWD, by_way_of, clone)?;
            let by_descriptors =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            rustix::mount::move_mount(&tree, "", &place, "", by_descriptors)
        });
        self.detach(by_way_of)?;
        Ok(shown?)
    }

    fn attach_for_rootless(
        &self,
        folder: &OpenFolder,
        place: &Path,
        engine: &Rootless,
    ) -> std::io::Result<()> {
        engine.attach(folder, place)
    }

    fn detach(&self, place: &Path) -> std::io::Result<()> {
        // Processes that have it open, and copies of the mount, keep it.
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(place, flags) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    fn attached(&self) -> std::io::Result<Vec<PathBuf>> {
        let table = read_mount_table("self").map_err(std::io::Error::other)?;
        Ok(table.into_iter().map(|mount| mount.point).collect())
    }

    fn peers(&self) -> std::io::Result<Vec<u64>> {
        let table = read_mount_table("self").map_err(std::io::Error::other)?;
        Ok(table.into_iter().flat_map(|mount| mount.peers).collect())
    }
}

/// A mount that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandedOut {
    /// The number of its place.
    pub(crate) place: i64,
    /// Docker's id of the request. Docker gives the mount back under this id.
    pub(crate) caller: String,
    pub(crate) volume: VolumeName,
    /// The mounted branch.
    pub(crate) branch: BranchName,
    pub(crate) folder: FolderId,
    pub(crate) at: Timestamp,
    /// Docker was about to start a container with it, but has been down since, so that container will not start.
    pub(crate) void: bool,
}

/// The handed-out mounts. The list is in memory, so that Docker can get and give back volumes while the pool is full.
/// The registry has a copy for the next start.
#[derive(Debug, Default)]
struct List {
    /// Oldest first.
    mounts: Vec<HandedOut>,
    /// The last place number that was used. None is used twice.
    last: i64,
    /// Whether the list has changes that the registry lacks.
    is_unsaved: bool,
}

/// All handed-out mounts.
#[derive(Clone)]
pub(crate) struct Mounts {
    places: PathBuf,
    /// The folder with the places of Engines without root, which cannot enter the others.
    rootless: PathBuf,
    attach: Arc<dyn Attach>,
    registry: Registry,
    list: Arc<Mutex<List>>,
    /// Held while something is mounted for a user, since all such mounts go by way of the same place.
    for_users: Arc<Mutex<()>>,
}

impl Mounts {
    /// Loads the list. Mounts of an earlier run still exist, unless the machine was restarted.
    pub(crate) async fn open(
        places: PathBuf,
        rootless: PathBuf,
        attach: Arc<dyn Attach>,
        registry: Registry,
    ) -> Result<Self, NodeError> {
        let mounts = Self {
            places,
            rootless,
            attach,
            registry,
            list: Arc::default(),
            for_users: Arc::default(),
        };
        mounts.tidy().await?;
        Ok(mounts)
    }

    /// Removes places that are not in the list, and list entries that are not mounted.
    async fn tidy(&self) -> Result<(), NodeError> {
        std::fs::create_dir_all(&self.places).map_err(|error| self.failed("create", error))?;
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&self.places, owner_only)
            .map_err(|error| self.failed("close", error))?;
        let attached = self
            .attach
            .attached()
            .map_err(|error| self.failed("read", error))?;
        // Mount tables show paths without symlinks.
        let places = self
            .places
            .canonicalize()
            .unwrap_or_else(|_| self.places.clone());
        let (mut mounts, last) = self.registry.mounts().await?;
        mounts.retain(|mount| attached.contains(&places.join(mount.place.to_string())));
        let entries =
            std::fs::read_dir(&self.places).map_err(|error| self.failed("read", error))?;
        let mut last = last;
        let of_rootless = self.places_of_rootless().into_iter();
        let entries = entries.flatten().map(|entry| entry.path());
        for path in entries.chain(of_rootless) {
            let name = path.file_name().and_then(|name| name.to_str());
            let place = name.and_then(|name| name.parse().ok());
            last = last.max(place.unwrap_or(0));
            if !mounts.iter().any(|mount| Some(mount.place) == place) {
                self.remove_one(&path);
            }
        }
        *self.list.lock().await = List {
            mounts,
            last,
            is_unsaved: true,
        };
        self.save().await;
        Ok(())
    }

    /// Mounts a folder for a request of Docker's. Returns the path.
    pub(crate) async fn hand_out(
        &self,
        caller: &str,
        volume: &VolumeName,
        branch: &BranchName,
        folder: OpenFolder,
        engine: Option<Rootless>,
    ) -> Result<PathBuf, NodeError> {
        // List it before mounting, so that no check misses it.
        let place = self
            .change(|list| {
                list.last += 1;
                list.mounts.push(HandedOut {
                    place: list.last,
                    caller: caller.to_owned(),
                    volume: volume.clone(),
                    branch: branch.clone(),
                    folder: folder.id(),
                    at: crate::node::now(),
                    void: false,
                });
                list.last
            })
            .await;
        let path = self.places.join(place.to_string());
        match self.attach_at(path.clone(), Arc::new(folder), engine).await {
            Ok(shown) => Ok(shown),
            Err(error) => {
                self.remove_place(&path);
                self.forget(place).await;
                Err(self.failed("mount a volume in", error))
            }
        }
    }

    /// Mounts a folder at a new place. An Engine without root gets one of its own beside it, whose path is returned.
    async fn attach_at(
        &self,
        place: PathBuf,
        folder: Arc<OpenFolder>,
        engine: Option<Rootless>,
    ) -> std::io::Result<PathBuf> {
        let (attach, rootless) = (Arc::clone(&self.attach), self.rootless.clone());
        blocking(move || {
            // Each place is new. A mount on top of another one would also appear on all copies of that, such as the
            // pool's folders.
            std::fs::create_dir(&place)?;
            attach.attach(&folder, &place)?;
            let Some(engine) = engine else {
                return Ok(place);
            };
            let number = place.file_name().unwrap_or_default().to_string_lossy();
            let shown = engine.place(&rootless, &number);
            engine.make_place(&shown)?;
            attach.attach_for_rootless(&folder, &shown, &engine)?;
            Ok(shown)
        })
        .await
    }

    /// Mounts a folder of a copy, which is no working copy. It is not listed: the next start removes its place.
    pub(crate) async fn show_copy(
        &self,
        folder: Arc<OpenFolder>,
        engine: Option<Rootless>,
    ) -> Result<PathBuf, NodeError> {
        let place = self.change(|list| {
            list.last += 1;
            list.last
        });
        let path = self.places.join(place.await.to_string());
        let shown = self.attach_at(path.clone(), folder, engine).await;
        shown.map_err(|error| {
            self.remove_place(&path);
            self.failed("mount a copy in", error)
        })
    }

    /// Unmounts a copy's folder.
    pub(crate) fn hide_copy(&self, place: &Path) {
        let number = place.file_name().unwrap_or_default();
        self.remove_place(&self.places.join(number));
    }

    /// Unmounts what was handed out to a caller. Succeeds if it is not known any more.
    pub(crate) async fn take_back(&self, caller: &str, volume: &str) -> Result<(), NodeError> {
        // Docker may spell a volume's name differently.
        let volume: VolumeName = volume.parse()?;
        let mut mounts = self.all().await.into_iter().rev();
        let handed_out = mounts.find(|mount| mount.caller == caller && mount.volume == volume);
        let Some(HandedOut { place, .. }) = handed_out else {
            return Ok(());
        };
        let (mounts, path) = (self.clone(), self.places.join(place.to_string()));
        let removed = blocking(move || {
            mounts.remove_place(&path);
            Ok(())
        });
        removed
            .await
            .map_err(|error| self.failed("unmount a volume in", error))?;
        self.forget(place).await;
        Ok(())
    }

    async fn forget(&self, place: i64) {
        self.change(|list| list.mounts.retain(|mount| mount.place != place))
            .await;
    }

    /// Changes the list, and saves it.
    async fn change<T>(&self, change: impl FnOnce(&mut List) -> T) -> T {
        let changed = {
            let mut list = self.list.lock().await;
            list.is_unsaved = true;
            change(&mut list)
        };
        self.save().await;
        changed
    }

    /// Updates the registry's copy. If the pool is full, the next change or housekeeping tries again.
    pub(crate) async fn save(&self) {
        let mut list = self.list.lock().await;
        if list.is_unsaved {
            match self.registry.save_mounts(&list.mounts).await {
                Ok(()) => list.is_unsaved = false,
                Err(error) => tracing::warn!(%error, "cannot save the list of Docker's mounts"),
            }
        }
    }

    /// Mounts a folder at a user's place, instead of what was mounted there.
    pub(crate) async fn show_at(
        &self,
        place: &Path,
        volume: &VolumeName,
        folder: OpenFolder,
    ) -> Result<(), NodeError> {
        let refuse = |problem: &str| {
            Err(NodeError::Place {
                place: place.to_owned(),
                problem: problem.to_owned(),
            })
        };
        let _alone = self.for_users.lock().await;
        self.hide_for_now(place).await?;
        match std::fs::symlink_metadata(place) {
            Err(error) => return refuse(&error.to_string()),
            Ok(found) if !found.is_dir() => return refuse("it is not a folder"),
            Ok(_) => {}
        }
        if std::fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some()) {
            return refuse("it is not empty");
        }
        // List it before mounting, so that it is never counted as a container's mount.
        self.registry.add_shown_at(place, volume).await?;
        let (attach, at) = (Arc::clone(&self.attach), place.to_owned());
        let by_way_of = self.places.join("user");
        let shown = blocking(move || {
            std::fs::create_dir_all(&by_way_of)?;
            attach.attach_for_user(&folder, &at, &by_way_of)
        });
        if let Err(error) = shown.await {
            self.registry.forget_shown_at(place).await?;
            return refuse(&error.to_string());
        }
        Ok(())
    }

    /// Unmounts a user's place for good.
    pub(crate) async fn hide_at(&self, place: &Path) -> Result<(), NodeError> {
        if !self.is_shown_at(place).await? {
            return Err(NodeError::Place {
                place: place.to_owned(),
                problem: "no Dotmesh volume is mounted there".to_owned(),
            });
        }
        self.hide_for_now(place).await?;
        self.registry.forget_shown_at(place).await
    }

    /// Unmounts a user's place until there is something to mount again.
    pub(crate) async fn hide_for_now(&self, place: &Path) -> Result<(), NodeError> {
        if !self.is_shown_at(place).await? {
            return Ok(());
        }
        let (attach, at) = (Arc::clone(&self.attach), place.to_owned());
        blocking(move || match attach.attached()?.contains(&at) {
            true => attach.detach(&at),
            false => Ok(()),
        })
        .await
        .map_err(|error| self.failed("unmount from a place of", error))
    }

    async fn is_shown_at(&self, place: &Path) -> Result<bool, NodeError> {
        let shown = self.registry.shown_at().await?;
        Ok(shown.iter().any(|(known, _)| known == place))
    }

    /// Renames a branch in the lists of mounts.
    pub(crate) async fn rename_branch(
        &self,
        dot: &DotName,
        from: &BranchName,
        to: &BranchName,
    ) -> Result<(), NodeError> {
        self.change(|list| {
            for mount in &mut list.mounts {
                if mount.volume.dot == *dot && mount.branch == *from {
                    mount.branch = to.clone();
                }
            }
        })
        .await;
        for (place, mut volume) in self.registry.shown_at().await? {
            if volume.dot == *dot && volume.pinned.as_ref() == Some(from) {
                volume.pinned = Some(to.clone());
                self.registry.add_shown_at(&place, &volume).await?;
            }
        }
        Ok(())
    }

    /// The mount points of this process's mount namespace.
    pub(crate) fn attached(&self) -> Vec<PathBuf> {
        self.attach.attached().unwrap_or_default()
    }

    /// The mount points of this daemon: its own places, and those of users.
    pub(crate) async fn own(&self) -> Result<Vec<PathBuf>, NodeError> {
        // Mount tables show paths without symlinks.
        let real = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let folders = [&self.places, &self.rootless].map(real);
        let mut own = self.attached();
        own.retain(|point| folders.iter().any(|folder| point.starts_with(folder)));
        let shown = self.registry.shown_at().await?;
        own.extend(shown.into_iter().map(|(place, _)| place));
        Ok(own)
    }

    /// The peer groups that propagate these mounts to other mount namespaces.
    pub(crate) fn own_peers(&self) -> Vec<u64> {
        self.attach.peers().unwrap_or_default()
    }

    /// The mounts that were handed out and not given back.
    pub(crate) async fn all(&self) -> Vec<HandedOut> {
        self.list.lock().await.mounts.clone()
    }

    /// The handed-out mounts of a dot that belong to none of the running containers. Their containers are being
    /// started, or cannot be seen.
    pub(crate) async fn in_flight(&self, dot: &DotName, running: &[Inspected]) -> Vec<HandedOut> {
        let mut mounts = self.all().await;
        mounts.retain(|mount| mount.volume.dot == *dot);
        let mut uses: Vec<(Timestamp, &VolumeName)> = running
            .iter()
            .flat_map(|one| one.uses.iter().map(|used| (one.started, &used.volume)))
            .collect();
        uses.sort_unstable_by_key(|(started, _)| std::cmp::Reverse(*started));
        // A container has the newest mount that was handed out before it started.
        for (started, volume) in uses {
            let mut mounts_before = mounts.iter().rev();
            let had = mounts_before.find(|mount| mount.volume == *volume && mount.at <= started);
            let place = had.map(|mount| mount.place);
            mounts.retain(|mount| Some(mount.place) != place);
        }
        mounts.retain(|mount| !mount.void);
        mounts
    }

    /// Marks all mounts before `time` as void. Docker was down until then, and will not start what it was about to
    /// start.
    pub(crate) async fn void_before(&self, time: Timestamp) {
        self.change(|list| {
            let before = list.mounts.iter_mut().filter(|mount| mount.at < time);
            before.for_each(|mount| mount.void = true);
        })
        .await;
    }

    /// The places of Engines without root.
    fn places_of_rootless(&self) -> Vec<PathBuf> {
        let entries = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let users = entries(&self.rootless).into_iter();
        users.flat_map(|user| entries(&user)).collect()
    }

    /// Removes a place, and that of an Engine without root beside it.
    fn remove_place(&self, place: &Path) {
        let mut beside = self.places_of_rootless();
        beside.retain(|other| other.file_name() == place.file_name());
        for place in beside.iter().map(PathBuf::as_path).chain([place]) {
            self.remove_one(place);
        }
    }

    fn remove_one(&self, place: &Path) {
        let removed = self
            .attach
            .detach(place)
            .and_then(|()| match std::fs::remove_dir(place) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            });
        if let Err(error) = removed {
            // The next start tries again.
            tracing::warn!(place = %place.display(), %error, "cannot remove a mount");
        }
    }

    fn failed(&self, doing: &'static str, source: std::io::Error) -> NodeError {
        NodeError::Pool(dotmesh_pool::PoolError::Io {
            doing,
            path: self.places.clone(),
            source,
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
