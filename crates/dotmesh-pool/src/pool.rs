//! The pool in terms of dots, branches and commits.
//!
//! Every change is one atomic step of the filesystem, so a crash leaves the state before or after it, and
//! at most something in `staging/` that the next start deletes. The record of a commit is written into the working copy just
//! before the snapshot is taken, and so is part of it: no commit is without its record, and a working copy's own record says
//! what its head is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dotmesh_model::names::Namespace;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, SubdotName};
use rustix::fs::{AtFlags, CWD, Mode as Permissions, OFlags, ResolveFlags};

use crate::btrfs::{Btrfs, BtrfsPlace};
use crate::driver::{Driver, Mode, Space, Usage};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{
    DATA, DotFile, FORMAT_VERSION, FormatFile, Layout, RECORD, read_json, write_json,
};
use crate::remove::remove;

/// Working copies and snapshots on disk. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    driver: Box<dyn Driver>,
    node: String,
}

/// What a working copy is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A commit's snapshot; the root commit gives an empty one.
    Commit(CommitId),
    /// A branch as it is now, uncommitted changes included.
    WorkingCopy(BranchName),
}

/// A dot as its folder describes it.
#[derive(Debug, Clone)]
pub struct StoredDot {
    /// Its name.
    pub name: DotName,
    /// Its description.
    pub file: DotFile,
    /// Its branches and their heads.
    pub branches: Vec<(BranchName, CommitId)>,
}

/// A commit that is being received: a writable copy of its parent, not yet visible.
///
/// Dropping it gives it up.
#[must_use = "an import that is not finished is deleted"]
pub struct Import {
    inner: Arc<Inner>,
    folder: PathBuf,
}

/// A working copy that was replaced, in the trash.
#[derive(Debug)]
pub struct Replaced(PathBuf);

impl Import {
    /// The folder to bring to the commit's state.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        let (inner, folder) = (Arc::clone(&self.inner), std::mem::take(&mut self.folder));
        // A transfer that is cancelled is dropped in the middle; deleting may take a moment.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = remove(&*inner.driver, &folder) {
                tracing::warn!(%error, "an import is left for the next start to delete");
            }
        });
    }
}

impl Pool {
    /// Makes or attaches the pool. `new_id` gives the node its id when the pool is new: 16 hex digits.
    pub async fn open(place: BtrfsPlace, new_id: String) -> Result<Self, PoolError> {
        blocking(move || {
            let driver = Btrfs::open(&place)?;
            let layout = Layout::new(driver.root().to_owned());
            Ok(Self {
                inner: Arc::new(Inner::prepare(layout, Box::new(driver), new_id)?),
            })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, PoolError> + Send + 'static,
    ) -> Result<T, PoolError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }

    /// The node's id.
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// Where the registry of the pool's contents belongs.
    pub fn registry_file(&self) -> PathBuf {
        self.inner.layout.root().join("registry.db")
    }

    /// How full it is.
    pub async fn space(&self) -> Result<Space, PoolError> {
        self.run(|inner| inner.driver.space()).await
    }

    /// Grows the pool if it is nearly full and can grow. Returns whether it grew.
    pub async fn grow(&self) -> Result<bool, PoolError> {
        self.run(|inner| inner.driver.grow()).await
    }

    /// Reads all dots, with their branches, from the folders alone, and throws away what was never finished. To be called
    /// before anything else works on them.
    pub async fn dots(&self) -> Result<Vec<StoredDot>, PoolError> {
        self.run(Inner::dots).await
    }

    /// The commits of a dot whose snapshots are here.
    pub async fn commits(&self, dot: &DotName) -> Result<Vec<CommitId>, PoolError> {
        let commits = self.inner.layout.commits(dot);
        self.run(move |_| {
            Ok(names_in(&commits)?
                .iter()
                .filter_map(|id| id.parse().ok())
                .collect())
        })
        .await
    }

    /// A commit's record, as it was written.
    pub async fn record(&self, dot: &DotName, commit: CommitId) -> Result<Vec<u8>, PoolError> {
        let path = self.inner.layout.commit(dot, commit).join(RECORD);
        self.run(move |_| std::fs::read(&path).during("read", &path))
            .await
    }

    /// Makes an empty dot with one branch, in one step.
    pub async fn create_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let (dot, file) = (dot.clone(), file.clone());
        self.run(move |inner| inner.create_dot(&dot, &file)).await
    }

    /// Makes the folders of a dot that is not to be seen before [`Self::write_dot`] describes it. A dot that was left
    /// without a description is deleted at the next start.
    pub async fn begin_dot(&self, dot: &DotName) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            for folder in [inner.layout.branches(&dot), inner.layout.commits(&dot)] {
                std::fs::create_dir_all(&folder).during("create", &folder)?;
            }
            Ok(())
        })
        .await
    }

    /// Replaces a dot's description durably.
    pub async fn write_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let (dot, file) = (dot.clone(), file.clone());
        self.run(move |inner| write_json(&inner.layout.dot_file(&dot), &file))
            .await
    }

    /// Moves a dot to the trash. Its name is free at once.
    pub async fn delete_dot(&self, dot: &DotName) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.discard(&inner.layout.dot(&dot)).map(drop))
            .await
    }

    /// Makes a branch's working copy. Fails if there is one.
    pub async fn create_branch(
        &self,
        dot: &DotName,
        branch: &BranchName,
        start: Start,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let from = match &start {
                Start::Commit(id) => inner.layout.commit(&dot, *id),
                Start::WorkingCopy(other) => inner.layout.branch(&dot, other),
            };
            inner
                .driver
                .snapshot(&from, &inner.layout.branch(&dot, &branch), Mode::Writable)
        })
        .await
    }

    /// Gives a branch a new working copy from a commit, in one step. The old one goes to the trash, from where
    /// [`Self::restore_branch`] can fetch it.
    pub async fn replace_branch(
        &self,
        dot: &DotName,
        branch: &BranchName,
        commit: CommitId,
    ) -> Result<Replaced, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let fresh = inner.temporary(&inner.layout.staging());
            let from = inner.layout.commit(&dot, commit);
            inner.driver.snapshot(&from, &fresh, Mode::Writable)?;
            durable::exchange(&fresh, &inner.layout.branch(&dot, &branch))?;
            inner.discard(&fresh).map(Replaced)
        })
        .await
    }

    /// Takes a replacement back, in one step.
    pub async fn restore_branch(
        &self,
        dot: &DotName,
        branch: &BranchName,
        replaced: Replaced,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| durable::exchange(&replaced.0, &inner.layout.branch(&dot, &branch)))
            .await
    }

    /// Swaps the working copies of two branches, in one step.
    pub async fn exchange_branches(
        &self,
        dot: &DotName,
        one: &BranchName,
        other: &BranchName,
    ) -> Result<(), PoolError> {
        let (dot, one, other) = (dot.clone(), one.clone(), other.clone());
        self.run(move |inner| {
            durable::exchange(
                &inner.layout.branch(&dot, &one),
                &inner.layout.branch(&dot, &other),
            )
        })
        .await
    }

    /// Moves a branch's working copy to the trash.
    pub async fn delete_branch(&self, dot: &DotName, branch: &BranchName) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.discard(&inner.layout.branch(&dot, &branch)).map(drop))
            .await
    }

    /// Whether a branch has a working copy.
    pub async fn has_branch(&self, dot: &DotName, branch: &BranchName) -> Result<bool, PoolError> {
        let path = self.inner.layout.branch(dot, branch);
        self.run(move |_| path.try_exists().during("look at", &path))
            .await
    }

    /// Freezes all subdots of a branch at one instant, whatever is writing to them.
    pub async fn commit(
        &self,
        dot: &DotName,
        branch: &BranchName,
        id: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let working = inner.layout.branch(&dot, &branch);
            inner.freeze(&working, &inner.layout.commit(&dot, id), &record)
        })
        .await
    }

    /// The head of a branch, as its working copy says.
    pub async fn head(&self, dot: &DotName, branch: &BranchName) -> Result<CommitId, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| inner.head(&dot, &branch)).await
    }

    /// The folder of a commit's frozen data.
    pub fn commit_data(&self, dot: &DotName, commit: CommitId) -> PathBuf {
        self.inner.layout.commit(dot, commit).join(DATA)
    }

    /// Begins to receive a commit on top of its parent, which must be here.
    pub async fn begin_import(&self, dot: &DotName, parent: CommitId) -> Result<Import, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let folder = inner.temporary(&inner.layout.staging());
            let from = inner.layout.commit(&dot, parent);
            inner.driver.snapshot(&from, &folder, Mode::Writable)?;
            Ok(folder)
        })
        .await
        .map(|folder| Import {
            inner: Arc::clone(&self.inner),
            folder,
        })
    }

    /// Makes a received commit visible: frozen, durable, in one step.
    pub async fn finish_import(
        &self,
        dot: &DotName,
        import: Import,
        id: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let snapshot = inner.layout.commit(&dot, id);
            if snapshot.exists() {
                // Another transfer was faster.
                return Ok(());
            }
            inner.freeze(&import.folder, &snapshot, &record)
        })
        .await
    }

    /// How much a branch holds, and how much of it no commit holds. `head` is the branch's head.
    pub async fn usage(
        &self,
        dot: &DotName,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<Usage, PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let base = inner.layout.commit(&dot, head);
            inner
                .driver
                .usage(&inner.layout.branch(&dot, &branch), &base, RECORD)
        })
        .await
    }

    /// Writes out what the kernel still holds in memory, so that [`Self::usage`] sees it.
    pub async fn flush(&self) -> Result<(), PoolError> {
        self.run(|inner| {
            let root = inner.layout.root();
            let folder = std::fs::File::open(root).during("open", root)?;
            rustix::fs::syncfs(&folder).during("flush", root)
        })
        .await
    }

    /// The folder that a volume shows, whether it exists or not.
    pub fn volume_path(&self, dot: &DotName, branch: &BranchName, folder: &Folder) -> PathBuf {
        let data = self.inner.layout.branch(dot, branch).join(DATA);
        match folder {
            Folder::Root => data,
            Folder::Subdot(subdot) => data.join(subdot.as_str()),
        }
    }

    /// Makes sure that the folder of a volume is there, and a folder.
    pub async fn prepare_volume(
        &self,
        dot: &DotName,
        branch: &BranchName,
        folder: &Folder,
    ) -> Result<PathBuf, PoolError> {
        let path = self.volume_path(dot, branch, folder);
        let subdot = match folder {
            Folder::Root => None,
            Folder::Subdot(subdot) => Some(subdot.clone()),
        };
        self.run(move |_| {
            if let Some(subdot) = subdot {
                prepare_subdot(&path, &subdot)?;
            }
            Ok(path)
        })
        .await
    }

    /// The subdots of a branch.
    pub async fn subdots(
        &self,
        dot: &DotName,
        branch: &BranchName,
    ) -> Result<Vec<SubdotName>, PoolError> {
        let data = self.volume_path(dot, branch, &Folder::Root);
        self.run(move |_| {
            let mut names = names_in(&data)?;
            names.retain(|name| data.join(name).is_dir());
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    /// Deletes for good what has been in the trash for longer than `grace`.
    pub async fn empty_trash(&self, grace: Duration) -> Result<(), PoolError> {
        self.run(move |inner| {
            let trash = inner.layout.trash();
            for name in names_in(&trash)? {
                let path = trash.join(name);
                let moved = discarded_at(&path);
                if moved.elapsed().is_ok_and(|age| age >= grace) {
                    remove(&*inner.driver, &path)?;
                }
            }
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn prepare(layout: Layout, driver: Box<dyn Driver>, new_id: String) -> Result<Self, PoolError> {
        for folder in [layout.dots(), layout.staging(), layout.trash()] {
            std::fs::create_dir_all(&folder).during("create", &folder)?;
        }
        if !layout.empty().exists() {
            let making = layout.staging().join("empty");
            if making.exists() {
                remove(&*driver, &making)?;
            }
            driver.create(&making)?;
            let data = making.join(DATA);
            std::fs::create_dir(&data).during("create", &data)?;
            driver.snapshot(&making, &layout.empty(), Mode::Frozen)?;
        }
        let format = match read_json::<FormatFile>(&layout.format())? {
            Some(format) if format.version == FORMAT_VERSION => format,
            Some(format) => {
                return Err(PoolError::NewerFormat {
                    path: layout.root().to_owned(),
                    version: format.version,
                    known: FORMAT_VERSION,
                });
            }
            None => {
                let format = FormatFile {
                    version: FORMAT_VERSION,
                    node: new_id,
                };
                write_json(&layout.format(), &format)?;
                format
            }
        };
        // What was being made when the last run ended was never visible.
        for name in names_in(&layout.staging())? {
            remove(&*driver, &layout.staging().join(name))?;
        }
        Ok(Self {
            layout,
            driver,
            node: format.node,
        })
    }

    fn dots(&self) -> Result<Vec<StoredDot>, PoolError> {
        let mut dots = Vec::new();
        for namespace in names_in(&self.layout.dots())? {
            let Ok(namespace) = namespace.parse::<Namespace>() else {
                continue;
            };
            for name in names_in(&self.layout.dots().join(namespace.as_str()))? {
                let Ok(name) = DotName::new(namespace.clone(), &name) else {
                    continue;
                };
                let Some(file) = read_json(&self.layout.dot_file(&name))? else {
                    continue;
                };
                let mut branches = Vec::new();
                for branch in names_in(&self.layout.branches(&name))? {
                    let Ok(branch) = branch.parse() else { continue };
                    let head = self.head(&name, &branch)?;
                    branches.push((branch, head));
                }
                dots.push(StoredDot {
                    name,
                    file,
                    branches,
                });
            }
        }
        Ok(dots)
    }

    fn create_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let making = self.temporary(&self.layout.staging());
        for folder in ["branches", "commits"] {
            let folder = making.join(folder);
            std::fs::create_dir_all(&folder).during("create", &folder)?;
        }
        let branch = making.join("branches").join(file.current.as_str());
        self.driver
            .snapshot(&self.layout.empty(), &branch, Mode::Writable)?;
        write_json(&making.join("dot.json"), file)?;
        let path = self.layout.dot(dot);
        let namespace = path.parent().expect("a dot's folder is in its namespace's");
        std::fs::create_dir_all(namespace).during("create", namespace)?;
        durable::rename(&making, &path)
    }

    /// The head is the commit whose record the working copy holds; its parent, if the record was written but the
    /// snapshot then not taken.
    fn head(&self, dot: &DotName, branch: &BranchName) -> Result<CommitId, PoolError> {
        let path = self.layout.branch(dot, branch).join(RECORD);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(CommitId::ROOT);
            }
            read => read.during("read", &path)?,
        };
        let record = CommitRecord::decode(&bytes).map_err(|error| PoolError::Damaged {
            path,
            problem: error.to_string(),
        })?;
        if self.layout.commit(dot, record.id).exists() {
            Ok(record.id)
        } else {
            Ok(record.parent)
        }
    }

    /// The record needs no sync of its own: a snapshot takes along all that was written before it.
    fn freeze(&self, working: &Path, snapshot: &Path, record: &[u8]) -> Result<(), PoolError> {
        let path = working.join(RECORD);
        let new = working.join(".commit.json.new");
        std::fs::write(&new, record).during("write", &path)?;
        std::fs::rename(&new, &path).during("write", &path)?;
        self.driver.snapshot(working, snapshot, Mode::Frozen)
    }

    /// A path that is not in use, in a folder of the pool.
    fn temporary(&self, folder: &Path) -> PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        folder.join(format!("{}-{count}", now.as_nanos()))
    }

    /// Moves something to the trash and returns where it is there.
    fn discard(&self, path: &Path) -> Result<PathBuf, PoolError> {
        let to = self.temporary(&self.layout.trash());
        durable::rename(path, &to)?;
        Ok(to)
    }
}

/// When something was moved to the trash, as its name there says.
fn discarded_at(path: &Path) -> SystemTime {
    let nanos = path
        .file_name()
        .and_then(|name| name.to_str()?.split('-').next()?.parse::<u64>().ok())
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// Containers own the folder above, so a subdot may have become anything: it is only ever opened as a folder.
fn prepare_subdot(path: &Path, subdot: &SubdotName) -> Result<(), PoolError> {
    let data = path.parent().expect("a subdot is in the data folder");
    let folder = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let parent =
        rustix::fs::openat(CWD, data, folder, Permissions::empty()).during("open", data)?;
    let everybody = Permissions::from_raw_mode(0o777);
    match rustix::fs::mkdirat(&parent, subdot.as_str(), everybody) {
        // The umask applies to the call above. Databases run as users of their own.
        Ok(()) => rustix::fs::chmodat(&parent, subdot.as_str(), everybody, AtFlags::empty())
            .during("create", path)?,
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(PoolError::io("create", path)(error.into())),
    }
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(
        &parent,
        subdot.as_str(),
        folder,
        Permissions::empty(),
        beneath,
    ) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Err(PoolError::NotAFolder {
            path: path.to_owned(),
        }),
        Err(error) => Err(PoolError::io("open", path)(error.into())),
    }
}

/// The names in a folder, sorted; none when it does not exist. Names that are not text are not ours.
fn names_in(folder: &Path) -> Result<Vec<String>, PoolError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.during("read", folder)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.during("read", folder)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PoolError> + Send + 'static,
) -> Result<T, PoolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            // A cancelled task would mean that the runtime is going down, and then nobody is here to see it.
            std::panic::resume_unwind(error.into_panic())
        })
}
