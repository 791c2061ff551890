//! The pool's work on folders, all of it blocking.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dotmesh_model::names::Namespace;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, SubdotName};
use rustix::fs::{AtFlags, CWD, Mode as Permissions, OFlags, ResolveFlags};

use super::StoredDot;
use crate::driver::{Driver, Mode, Usage};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{
    DATA, DotFile, FORMAT_VERSION, FormatFile, Layout, RECORD, read_json, write_json,
};
use crate::remove::remove;

/// How long what is left of a clone that ended early waits for the next attempt.
const DRAFT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) struct Inner {
    pub(super) layout: Layout,
    pub(super) driver: Box<dyn Driver>,
    pub(super) node: String,
    /// Imports under way.
    receiving: Mutex<HashSet<PathBuf>>,
}

impl Inner {
    pub(super) fn prepare(
        layout: Layout,
        driver: Box<dyn Driver>,
        new_id: String,
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
            receiving: Mutex::default(),
        })
    }

    pub(super) fn receiving(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of an import, opened, and whether it is one that was begun before.
    pub(super) fn begin_import(
        &self,
        dot: &DotName,
        base: CommitId,
        commit: CommitId,
    ) -> Result<(PathBuf, File, bool), PoolError> {
        let mut folder = self.layout.incoming().join(format!("{commit}-{base}"));
        if !self.receiving().insert(folder.clone()) {
            // Another transfer receives the same; this one cannot be resumed.
            folder = self.temporary(&self.layout.staging());
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
            // Held, so that no import begins with it meanwhile.
            let receiving = self.receiving();
            if !receiving.contains(&folder) && is_older(&folder, age) {
                remove(&*self.driver, &folder)?;
            }
        }
        Ok(())
    }

    pub(super) fn dots(&self) -> Result<Vec<StoredDot>, PoolError> {
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
                    // A clone that ended early, and may be gone on with.
                    let draft = self.layout.dot(&name);
                    if is_older(&self.layout.commits(&name), DRAFT_AGE) {
                        self.discard(&draft)?;
                    }
                    continue;
                };
                let mut branches = Vec::new();
                for branch in names_in(&self.layout.branches(&name))? {
                    let Ok(branch) = BranchName::from_spelling(&branch) else {
                        continue;
                    };
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

    pub(super) fn clear_draft(&self, dot: &DotName, keep: &[CommitId]) -> Result<(), PoolError> {
        let remove_others = |folder: PathBuf, keep: &dyn Fn(&str) -> bool| {
            for name in names_in(&folder)?.iter().filter(|name| !keep(name)) {
                remove(&*self.driver, &folder.join(name))?;
            }
            Ok(())
        };
        remove_others(self.layout.branches(dot), &|_| false)?;
        remove_others(self.layout.commits(dot), &|name| {
            name.parse().is_ok_and(|id| keep.contains(&id))
        })
    }

    pub(super) fn create_dot(&self, dot: &DotName, file: &DotFile) -> Result<(), PoolError> {
        let making = self.temporary(&self.layout.staging());
        for folder in ["branches", "commits"] {
            let folder = making.join(folder);
            std::fs::create_dir_all(&folder).during("create", &folder)?;
        }
        let branch = making.join("branches").join(&*file.current.spelling());
        self.driver
            .snapshot(&self.layout.empty(), &branch, Mode::Writable)?;
        write_json(&making.join("dot.json"), file)?;
        let path = self.layout.dot(dot);
        if path.exists() && !self.layout.dot_file(dot).exists() {
            // What a clone left that ended early.
            self.discard(&path)?;
        }
        let namespace = path.parent().expect("a dot's folder is in its namespace's");
        std::fs::create_dir_all(namespace).during("create", namespace)?;
        durable::rename(&making, &path)
    }

    /// The head is the commit whose record the working copy holds; its parent, if the record was written but the
    /// snapshot then not taken.
    pub(super) fn head(&self, dot: &DotName, branch: &BranchName) -> Result<CommitId, PoolError> {
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

    pub(super) fn usage(
        &self,
        dot: &DotName,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<Usage, PoolError> {
        let base = self.layout.commit(dot, head);
        self.driver
            .usage(&self.layout.branch(dot, branch), &base, RECORD)
    }

    /// The record needs no sync of its own: a snapshot takes along all that was written before it.
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

    /// A path that is not in use, in a folder of the pool.
    pub(super) fn temporary(&self, folder: &Path) -> PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        folder.join(format!("{}-{count}", now.as_nanos()))
    }

    /// Moves something to the trash and returns where it is there.
    pub(super) fn discard(&self, path: &Path) -> Result<PathBuf, PoolError> {
        let to = self.temporary(&self.layout.trash());
        durable::rename(path, &to)?;
        Ok(to)
    }
}

fn is_older(folder: &Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(folder).and_then(|folder| folder.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|past| past >= age))
}

/// Opens a folder, and notes on it that it is used now.
fn touch(folder: &Path) -> Result<File, PoolError> {
    let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
    let opened = File::open(folder).during("open", folder)?;
    opened.set_times(now).during("write", folder)?;
    Ok(opened)
}

/// When something was moved to the trash, as its name there says.
pub(super) fn discarded_at(path: &Path) -> SystemTime {
    let nanos = path
        .file_name()
        .and_then(|name| name.to_str()?.split('-').next()?.parse::<u64>().ok())
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// Containers own the folder above, so a subdot may have become anything: it is only ever opened as a folder.
pub(super) fn prepare_subdot(path: &Path, subdot: &SubdotName) -> Result<(), PoolError> {
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
