//! The blocking operations on the pool's folders.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dotmesh_model::ambient::Clock;
use dotmesh_model::names::Namespace;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName};

use super::kept::KeptSizes;
use super::trash::Leftovers;
use super::{DamagedDot, Dots, StoredDot};
use crate::driver::{Driver, FolderUsage, Mode};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{
    DATA, DotFile, FORMAT_VERSION, FormatFile, Layout, RECORD, read_json, write_json,
};
use crate::mount_table::mount_of;
use crate::remove::remove;

/// How long the data of an interrupted clone is kept for the next attempt.
const DRAFT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) struct Inner {
    pub(super) layout: Layout,
    pub(super) driver: Box<dyn Driver>,
    pub(super) node: String,
    pub(super) clock: Clock,
    /// The pool's filesystem and the pool's folder in it, as in mount tables.
    pub(super) mounted: (String, PathBuf),
    /// The folders of running imports.
    receiving: Mutex<HashSet<PathBuf>>,
    pub(super) leftovers: Leftovers,
    pub(super) kept_sizes: KeptSizes,
    #[cfg(feature = "testing")]
    pub(super) fuse: crate::fuse::Fuse,
}

impl Inner {
    pub(super) fn prepare(
        layout: Layout,
        driver: Box<dyn Driver>,
        new_id: String,
        clock: Clock,
    ) -> Result<Self, PoolError> {
        for folder in [
            layout.dots(),
            layout.staging(),
            layout.incoming(),
            layout.trash(),
        ] {
            std::fs::create_dir_all(&folder).during("create", &folder)?;
        }
        if !layout.empty().exists() {
            let making = temporary(&layout.staging());
            driver.create(&making)?;
            let data = making.join(DATA);
            std::fs::create_dir(&data).during("create", &data)?;
            // Other users read this folder, so its permissions must not depend on the umask.
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&data, everybody).during("set the permissions of", &data)?;
            driver.snapshot(&making, &layout.empty(), Mode::Frozen)?;
            remove(&*driver, &making)?;
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
        // Other users must not enter, or they could run a set-user-ID program that a container has created.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(layout.root(), owner_only)
            .during("set the permissions of", layout.root())?;
        let (mount, below) = mount_of(layout.root())?.unwrap_or_default();
        let inner = Self {
            mounted: (mount.filesystem, mount.root.join(below)),
            layout,
            driver,
            node: format.node,
            clock,
            receiving: Mutex::default(),
            leftovers: Leftovers::default(),
            kept_sizes: KeptSizes::default(),
            #[cfg(feature = "testing")]
            fuse: crate::fuse::Fuse::default(),
        };
        // Everything in `staging/` is unfinished work of an earlier run, and was never visible.
        for name in names_in(&inner.layout.staging())? {
            inner.throw_away(&inner.layout.staging().join(name));
        }
        Ok(inner)
    }

    pub(super) fn receiving(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of an import, that folder opened, and whether it resumes an earlier import.
    pub(super) fn begin_import(
        &self,
        dot: &DotName,
        base: CommitId,
        commit: CommitId,
    ) -> Result<(PathBuf, File, bool), PoolError> {
        let mut folder = self.layout.incoming().join(format!("{commit}-{base}"));
        if !self.receiving().insert(folder.clone()) {
            // Another transfer receives the same commit, so this one uses a folder that cannot be resumed.
            folder = temporary(&self.layout.staging());
            self.receiving().insert(folder.clone());
        }
        let begin = || {
            let resumed = folder.exists();
            if !resumed {
                let from = self.layout.commit(dot, base);
                self.driver.snapshot(&from, &folder, Mode::Writable)?;
            }
            Ok((touch(&folder)?, resumed))
        };
        match begin() {
            Ok((opened, resumed)) => Ok((folder, opened, resumed)),
            Err(error) => {
                self.receiving().remove(&folder);
                Err(error)
            }
        }
    }

    pub(super) fn forget_incoming(&self, age: Duration) -> Result<(), PoolError> {
        for name in names_in(&self.layout.incoming())? {
            let folder = self.layout.incoming().join(name);
            // The lock prevents an import from resuming it during the deletion.
            let receiving = self.receiving();
            if !receiving.contains(&folder) && is_older(&folder, age) {
                self.throw_away(&folder);
            }
        }
        Ok(())
    }

    /// Reads all dots. A damaged one does not prevent the others from being read.
    pub(super) fn dots(&self) -> Result<Dots, PoolError> {
        let mut dots = Dots::default();
        for namespace in names_in(&self.layout.dots())? {
            let Ok(namespace) = namespace.parse::<Namespace>() else {
                continue;
            };
            let folder = self.layout.dots().join(namespace.as_str());
            let names = names_in(&folder).unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a namespace's folder cannot be read");
                Vec::new()
            });
            for name in names {
                let Ok(name) = DotName::new(namespace.clone(), &name) else {
                    continue;
                };
                match self.settle(&name).and_then(|()| self.read_dot(&name)) {
                    Ok(dot) => dots.whole.extend(dot),
                    Err(error) => {
                        let problem = error.with_causes();
                        tracing::error!(dot = %name, problem, "skipped a dot that cannot be read");
                        dots.damaged.push(DamagedDot { name, problem });
                    }
                }
            }
        }
        Ok(dots)
    }

    pub(super) fn read_dot(&self, name: &DotName) -> Result<Option<StoredDot>, PoolError> {
        let Some(mut file) = read_json(&self.layout.dot_file(name))? else {
            // An interrupted clone, which may be resumed.
            if is_older(&self.layout.commits(name), DRAFT_AGE) {
                self.throw_away(&self.layout.dot(name));
            }
            return Ok(None);
        };
        self.finish_renaming(name, &mut file)?;
        let mut branches = Vec::new();
        for branch in names_in(&self.layout.branches(name))? {
            let Ok(branch) = BranchName::from_spelling(&branch) else {
                continue;
            };
            let head = self.head(name, &branch)?;
            branches.push((branch, head));
        }
        Ok(Some(StoredDot {
            name: name.clone(),
            file,
            branches,
        }))
    }

    /// Fails if a commit cannot be deleted, since a later transfer would take it for the commit with that id.
    pub(super) fn clear_draft(&self, dot: &DotName, keep: &[CommitId]) -> Result<(), PoolError> {
        let branches = self.layout.branches(dot);
        for name in names_in(&branches)? {
            self.throw_away(&branches.join(name));
        }
        let commits = self.layout.commits(dot);
        let mut done = Ok(());
        for name in names_in(&commits)? {
            if !name.parse().is_ok_and(|id| keep.contains(&id)) {
                done = done.and(remove(&*self.driver, &commits.join(name)));
            }
        }
        done
    }

    pub(super) fn create_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let making = temporary(&self.layout.staging());
        for folder in ["branches", "commits"] {
            let folder = making.join(folder);
            std::fs::create_dir_all(&folder).during("create", &folder)?;
        }
        let branch = making.join("branches").join(&*file.current.spelling());
        self.driver
            .snapshot(&self.layout.empty(), &branch, Mode::Writable)?;
        write_json(&making.join("dot.json"), file)?;
        durable::rename(&making, &self.make_way(dot)?)
    }

    /// The path of a new dot. Moves the remains of an interrupted clone there to the trash.
    pub(super) fn make_way(&self, dot: &DotName) -> Result<PathBuf, PoolError> {
        let path = self.layout.dot(dot);
        if path.exists() {
            if self.layout.dot_file(dot).exists() {
                return Err(PoolError::Damaged {
                    path,
                    problem: "it exists, but the registry does not list it".to_owned(),
                });
            }
            // The remains of an interrupted clone.
            self.discard(&path)?;
        }
        let namespace = path.parent().expect("a dot's folder is in its namespace's");
        std::fs::create_dir_all(namespace).during("create", namespace)?;
        Ok(path)
    }

    /// The head is the commit whose record is in the working copy. If the record was written but the snapshot was never
    /// taken, the head is the commit before it.
    pub(super) fn head(&self, dot: &DotName, branch: &BranchName) -> Result<CommitId, PoolError> {
        self.head_of(dot, &self.layout.branch(dot, branch))
    }

    /// The head of a working copy at any path.
    pub(super) fn head_of(&self, dot: &DotName, working: &Path) -> Result<CommitId, PoolError> {
        let path = working.join(RECORD);
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
            let amended = self.amended(dot, record.id)?;
            Ok(amended.unwrap_or(record.parent))
        }
    }

    pub(super) fn usage(
        &self,
        dot: &DotName,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<FolderUsage, PoolError> {
        let base = self.layout.commit(dot, head);
        self.driver
            .usage(&self.layout.branch(dot, branch), &base, RECORD)
    }

    /// The record needs no fsync, since a snapshot contains and makes durable all earlier writes.
    pub(super) fn freeze(
        &self,
        working: &Path,
        snapshot: &Path,
        record: &[u8],
    ) -> Result<(), PoolError> {
        let path = working.join(RECORD);
        let new = working.join(".commit.json.new");
        std::fs::write(&new, record).during("write", &path)?;
        std::fs::rename(&new, &path).during("write", &path)?;
        self.driver.snapshot(working, snapshot, Mode::Frozen)
    }
}

/// An unused path in a folder of the pool.
pub(super) fn temporary(folder: &Path) -> PathBuf {
    folder.join(unused_name())
}

/// A unique name, which begins with the time in nanoseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing reads the time in a name"
)]
pub(super) fn unused_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}", now.as_nanos())
}

fn is_older(folder: &Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(folder).and_then(|folder| folder.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|past| past >= age))
}

/// Opens a folder, and sets its modification time to now.
#[expect(
    clippy::disallowed_methods,
    reason = "it is compared with times that the kernel sets"
)]
fn touch(folder: &Path) -> Result<File, PoolError> {
    let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
    let opened = File::open(folder).during("open", folder)?;
    opened.set_times(now).during("write", folder)?;
    Ok(opened)
}

/// The names in a folder, sorted. Empty if the folder does not exist. Skips names that are not UTF-8, which the pool never
/// uses.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, PoolError> {
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
