//! Tells what databases write by themselves, at each start and stop, from changes of what is in them.
//!
//! What people change in PostgreSQL is in its write-ahead log, so the log tells. MariaDB and MySQL write their rows into other
//! files than their logs, once they are stopped, so the names of the files tell. Redis and SQLite write the same data in
//! another way, so their data is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dotmesh_model::BranchName;
use dotmesh_model::volume::Folder;
use dotmesh_sync::{DiskError, Look, PathChange, What, compare};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

use super::blocking;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

mod mysql;
mod postgres;
mod rdb;
mod redis;
mod sqlite;

/// How deep below the dot's folder databases are looked for: `SUBDOT` or `SUBDOT/data`, for example.
const DEPTH: usize = 3;

/// Files that end with this beside an SQLite database.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How thoroughly it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// For a display: reads no large files.
    Glance,
    /// For a decision.
    Decision,
}

impl Effort {
    /// The largest file that is read. A change of a larger one counts as a change.
    fn most(self) -> u64 {
        match self {
            Self::Glance => 16 << 20,
            Self::Decision => 1 << 30,
        }
    }

    /// A file that was written with the same bytes is nothing that a command would lose.
    fn look(self) -> Look {
        match self {
            Self::Glance => Look::AtTimes,
            Self::Decision => Look::AtBytes,
        }
    }
}

/// The changes of a branch since its head.
pub(super) struct Changes {
    /// All of them, each with whether a database made it by itself.
    pub(super) all: Vec<(PathChange, bool)>,
}

impl Changes {
    /// Whether there are some, and all of them are bookkeeping.
    pub(super) fn only_database_files(&self) -> bool {
        !self.all.is_empty() && self.all.iter().all(|(_, is_bookkeeping)| *is_bookkeeping)
    }
}

/// Compares a working copy with its head.
pub(super) async fn changes(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    effort: Effort,
) -> Result<Changes, NodeError> {
    let (old, new) = places(node, dot, branch)?;
    let found = blocking(move || {
        let changes = compare(&old, &new, effort.look())?;
        Ok::<_, DiskError>(judge(&old, &new, changes, effort))
    });
    Ok(found.await?)
}

/// Whether a branch has changes, and all of them are bookkeeping. Without any database in it, nothing is compared.
pub(super) async fn is_all(node: &Node, dot: &Dot, branch: &BranchName, effort: Effort) -> bool {
    let Ok((old, _)) = places(node, dot, branch) else {
        return false;
    };
    let has_databases = blocking(move || has_databases(&old)).await;
    has_databases
        && changes(node, dot, branch, effort)
            .await
            .is_ok_and(|changes| changes.only_database_files())
}

/// The folders of the head's data and of the working copy's.
fn places(node: &Node, dot: &Dot, branch: &BranchName) -> Result<(PathBuf, PathBuf), NodeError> {
    let head = dot.branch(branch)?.head;
    let new = node.pool.volume_path(&dot.name, branch, &Folder::Root);
    Ok((node.pool.commit_data(&dot.name, head), new))
}

/// Whether a snapshot has a database, by the names of its files.
fn has_databases(top: &Path) -> bool {
    fn look(folder: &Path, depth: usize) -> bool {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return false;
        };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.as_bytes();
            let is_mark = |mark: &str| mark.as_bytes() == name;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            is_mark(postgres::MARK)
                || mysql::MARKS.into_iter().any(is_mark)
                || redis::folder(name).is_some()
                || [".db", ".db3", ".sqlite", ".sqlite3"]
                    .iter()
                    .any(|end| name.ends_with(end.as_bytes()))
                || (is_directory && depth > 0 && look(&folder.join(entry.file_name()), depth - 1))
        })
    }
    look(top, DEPTH)
}

/// What may have made a change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Suspect {
    /// The server of a folder.
    Redis(Vec<u8>),
    /// The database of a file.
    Sqlite(Vec<u8>),
}

/// Tells of each change whether a database made it by itself.
fn judge(old: &Path, new: &Path, changes: Vec<PathChange>, effort: Effort) -> Changes {
    let mut clusters = marked(old, &changes, postgres::MARK);
    clusters.retain(|folder| {
        let sides = Side::of(old, folder, effort).zip(Side::of(new, folder, effort));
        sides.is_some_and(|(old, new)| postgres::is_unchanged(&old, &new))
    });
    let marks = mysql::MARKS.into_iter();
    let servers: BTreeSet<Vec<u8>> = marks.flat_map(|mark| marked(old, &changes, mark)).collect();
    let by_name = |change: &PathChange| {
        let is_of = |folder: &Vec<u8>, is: &dyn Fn(&[u8]) -> bool| {
            let is = |path: &[u8]| below(path, folder).is_some_and(is);
            match &change.what {
                What::Moved { from } => is(from) && is(&change.path),
                What::Added | What::Removed | What::Modified => is(&change.path),
            }
        };
        let by_mysql = |path: &[u8]| mysql::is_bookkeeping(path, change.kind);
        clusters
            .iter()
            .any(|folder| is_of(folder, &postgres::is_own))
            || servers.iter().any(|folder| is_of(folder, &by_mysql))
    };
    let mut answers: BTreeMap<Suspect, bool> = BTreeMap::new();
    let mut by_content = |change: &PathChange| {
        let is_own = |path: &[u8]| {
            let Some(suspect) = suspect(old, new, path, effort) else {
                return false;
            };
            let known = answers.get(&suspect).copied();
            known.unwrap_or_else(|| {
                let is_same = suspect.is_same(old, new, effort);
                answers.insert(suspect, is_same);
                is_same
            })
        };
        let mut is_own = is_own;
        match &change.what {
            What::Moved { from } => is_own(from) && is_own(&change.path),
            What::Added | What::Removed | What::Modified => is_own(&change.path),
        }
    };
    let judged = changes.into_iter().map(|change| {
        let is_bookkeeping = by_name(&change) || by_content(&change);
        (change, is_bookkeeping)
    });
    Changes {
        all: judged.collect(),
    }
}

/// The topmost folders above changed paths that have the file `mark`, at most [`DEPTH`] below the top. A walk through the whole
/// tree would cost as much as the tree has folders, whatever has changed.
fn marked(old: &Path, changes: &[PathChange], mark: &str) -> BTreeSet<Vec<u8>> {
    let Some(top) = Side::of(old, b"", Effort::Glance) else {
        return BTreeSet::new();
    };
    let mut looked: BTreeMap<&[u8], bool> = BTreeMap::new();
    let mut has_mark = |folder| {
        *looked.entry(folder).or_insert_with(|| {
            let path = [folder, b"/", mark.as_bytes()].concat();
            top.is_file(path.strip_prefix(b"/").unwrap_or(&path))
        })
    };
    let paths = changes.iter().flat_map(|change| match &change.what {
        What::Moved { from } => vec![&change.path, from],
        What::Added | What::Removed | What::Modified => vec![&change.path],
    });
    let topmost = paths.filter_map(|path| {
        let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        let mut folders = std::iter::once(0).chain(slashes).take(DEPTH + 1);
        folders.find_map(|end| has_mark(&path[..end]).then(|| path[..end].to_vec()))
    });
    topmost.collect()
}

/// The rest of a path below a folder. Empty for the folder itself.
fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    if folder.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(folder)?;
    match rest.is_empty() {
        true => Some(rest),
        false => rest.strip_prefix(b"/"),
    }
}

/// The database whose data a change of this path may not have changed.
fn suspect(old: &Path, new: &Path, path: &[u8], effort: Effort) -> Option<Suspect> {
    if let Some(folder) = redis::folder(path) {
        return Some(Suspect::Redis(folder.to_vec()));
    }
    let name = SIDE_FILES
        .iter()
        .find_map(|end| path.strip_suffix(end.as_bytes()))
        .unwrap_or(path);
    let is_database = |top: &Path| {
        let side = Side::of(top, b"", effort);
        let file = side.and_then(|side| side.open(name));
        file.is_some_and(|file| sqlite::is_database(&file))
    };
    (is_database(old) && is_database(new)).then(|| Suspect::Sqlite(name.to_vec()))
}

impl Suspect {
    fn is_same(&self, old: &Path, new: &Path, effort: Effort) -> bool {
        let (Self::Redis(folder) | Self::Sqlite(folder)) = self;
        let folder = match self {
            Self::Redis(_) => folder.as_slice(),
            Self::Sqlite(_) => b"",
        };
        let (Some(old), Some(new)) = (Side::of(old, folder, effort), Side::of(new, folder, effort))
        else {
            return false;
        };
        match self {
            Self::Redis(_) => redis::same(&old, &new),
            Self::Sqlite(path) => {
                let files = |side: &Side<'_>| {
                    let beside = |end: &str| [path.as_slice(), end.as_bytes()].concat();
                    sqlite::Files {
                        database: side.open(path),
                        log: side.open(beside("-wal")),
                        journal: side.open(beside("-journal")),
                    }
                };
                sqlite::same(&files(&old), &files(&new))
            }
        }
    }
}

/// A folder in one of the two states. Containers can change a working copy at any time, so nothing in it is followed.
struct Side<'a> {
    folder: OwnedFd,
    path: &'a [u8],
    effort: Effort,
}

impl<'a> Side<'a> {
    fn of(top: &Path, path: &'a [u8], effort: Effort) -> Option<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = rustix::fs::openat(CWD, top, flags, Mode::empty()).ok()?;
        Some(Self {
            folder,
            path,
            effort,
        })
    }

    fn path(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        match self.path.is_empty() {
            true => name.as_ref().to_vec(),
            false => [self.path, b"/", name.as_ref()].concat(),
        }
    }

    /// Opens a regular file that is not too large. `None` if there is none.
    fn open(&self, name: impl AsRef<[u8]>) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let path = self.path(name);
        let opened =
            rustix::fs::openat2(self.folder.as_fd(), &*path, flags, Mode::empty(), beneath);
        let file = File::from(opened.ok()?);
        let found = file.metadata().ok()?;
        (found.is_file() && found.len() <= self.effort.most()).then_some(file)
    }

    /// Whether there is a regular file with this name, of any size.
    fn is_file(&self, name: &[u8]) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let path = self.path(name);
        let opened =
            rustix::fs::openat2(self.folder.as_fd(), &*path, flags, Mode::empty(), beneath);
        opened.is_ok_and(|file| {
            let found = rustix::fs::fstat(&file);
            found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
        })
    }

    /// Whether there is anything with this name.
    fn exists(&self, name: &str) -> bool {
        let path = self.path(name);
        rustix::fs::statat(self.folder.as_fd(), &*path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

#[cfg(test)]
mod tests;
