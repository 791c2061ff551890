//! Single files and folders of a dot: finds them in a state, and restores them from a commit.
//!
//! A commit's snapshot is read-only, so a path without symlinks stays without. In a working copy, containers can replace
//! any folder with a symlink at any time.

use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dotmesh_model::{BranchName, CommitId, DotName, SubdotName};
use rustix::fs::{AtFlags, CWD, Mode as Permissions, OFlags, RenameFlags, ResolveFlags};

use super::inner::{Inner, names_in, temporary};
use super::{Pool, blocking};
use crate::driver::Mode;
use crate::error::{During as _, PoolError};
use crate::layout::DATA;

/// The prefix of a folder in a working copy, outside the data that containers see. It contains the files to restore, and
/// afterwards the files that they replaced.
const RESTORING: &str = ".restoring-";

/// A path in a dot: `SUBDOT/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DotPath {
    subdot: SubdotName,
    below: PathBuf,
}

impl DotPath {
    /// Parses a path. `None` if it has no valid subdot, or contains `..` or another special component.
    pub fn parse(text: &str) -> Option<Self> {
        let (subdot, below) = text.split_once('/').unwrap_or((text, ""));
        let names = Path::new(below).components();
        let is_plain = names
            .clone()
            .all(|name| matches!(name, Component::Normal(_)));
        is_plain.then_some(())?;
        Some(Self {
            subdot: subdot.parse().ok()?,
            below: names.collect(),
        })
    }

    /// The subdot that contains it.
    pub fn subdot(&self) -> &SubdotName {
        &self.subdot
    }

    /// Whether `other` is this path, or below it.
    pub fn has(&self, other: &Self) -> bool {
        other.path().starts_with(self.path())
    }

    fn path(&self) -> PathBuf {
        let subdot = PathBuf::from(self.subdot.as_str());
        match self.below.as_os_str().is_empty() {
            true => subdot,
            false => subdot.join(&self.below),
        }
    }
}

impl std::fmt::Display for DotPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

/// A snapshot of a working copy. Dropping it deletes it.
pub struct Peek {
    inner: Arc<Inner>,
    folder: PathBuf,
}

impl Peek {
    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }
}

impl Drop for Peek {
    fn drop(&mut self) {
        self.inner.throw_away(&self.folder);
    }
}

/// Files to restore: already copied from a commit, but not in their places yet.
#[must_use = "nothing is in its place before Pool::put_back"]
pub struct Restore {
    folder: PathBuf,
    data: PathBuf,
    items: Vec<Item>,
}

struct Item {
    path: PathBuf,
    copy: PathBuf,
    done: Option<RenameFlags>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        forget(&self.folder);
    }
}

/// Deletes such a folder. Containers created the files in it, and the rest of an incomplete deletion stays there, invisible to
/// them, until the working copy is deleted.
fn forget(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && folder.exists()
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot delete replaced files yet");
    }
}

impl Pool {
    /// Takes a temporary snapshot of a branch's working copy.
    pub async fn peek(&self, dot: &DotName, branch: &BranchName) -> Result<Peek, PoolError> {
        let (dot, branch, inner) = (dot.clone(), branch.clone(), Arc::clone(&self.inner));
        blocking(move || {
            let folder = temporary(&inner.layout.staging());
            let working = inner.layout.branch(&dot, &branch);
            inner.driver.snapshot(&working, &folder, Mode::Frozen)?;
            Ok(Peek { inner, folder })
        })
        .await
    }

    /// Finds a path in read-only data. `None` if it does not exist, or leads through a symlink.
    pub async fn find_in(&self, data: PathBuf, path: &DotPath) -> Option<PathBuf> {
        let path = path.clone();
        let found = self.run(move |_| Ok(find(&data, &path))).await;
        found.ok().flatten()
    }

    /// Copies files and folders of a commit for [`Self::put_back`]. All paths must exist in the commit. The copies are reflinks, so
    /// they take no space.
    pub async fn prepare_restore(
        &self,
        dot: &DotName,
        branch: &BranchName,
        commit: CommitId,
        paths: &[DotPath],
    ) -> Result<Restore, PoolError> {
        let (from, working) = (
            self.commit_data(dot, commit),
            self.inner.layout.branch(dot, branch),
        );
        let paths = paths.to_vec();
        self.run(move |_| {
            let name = temporary(&working);
            let name = name.file_name().unwrap_or_default().to_string_lossy();
            let folder = working.join(format!("{RESTORING}{name}"));
            std::fs::create_dir(&folder).during("create", &folder)?;
            let mut restore = Restore {
                data: working.join(DATA),
                items: Vec::new(),
                folder,
            };
            for (number, path) in paths.iter().enumerate() {
                let copy = restore.folder.join(number.to_string());
                copy_as_it_is(&from.join(path.path()), &copy)?;
                restore.items.push(Item {
                    path: path.path(),
                    copy,
                    done: None,
                });
            }
            Ok(restore)
        })
        .await
    }

    /// Moves all files to their places, or none. No container may use the subdots meanwhile.
    pub async fn put_back(&self, mut restore: Restore) -> Result<Restore, PoolError> {
        self.run(move |_| {
            exchange_all(&mut restore)?;
            Ok(restore)
        })
        .await
    }

    /// Reverts [`Self::put_back`].
    pub async fn take_restore_back(&self, mut restore: Restore) -> Result<(), PoolError> {
        self.run(move |_| undo(&mut restore)).await
    }

    /// Deletes the remains of restores that a crash interrupted.
    pub async fn forget_restores(
        &self,
        dot: &DotName,
        branch: &BranchName,
    ) -> Result<(), PoolError> {
        let working = self.inner.layout.branch(dot, branch);
        self.run(move |_| {
            for name in names_in(&working)? {
                if name.starts_with(RESTORING) {
                    forget(&working.join(name));
                }
            }
            Ok(())
        })
        .await
    }
}

fn find(data: &Path, path: &DotPath) -> Option<PathBuf> {
    let mut at = data.to_owned();
    let whole = path.path();
    let mut names = whole.components().peekable();
    while let Some(name) = names.next() {
        at.push(name);
        let found = std::fs::symlink_metadata(&at).ok()?;
        let is_on_the_way = names.peek().is_some() || path.below.as_os_str().is_empty();
        if is_on_the_way && !found.is_dir() {
            return None;
        }
    }
    Some(at)
}

/// Copies with owners, times and attributes, and without following symlinks.
fn copy_as_it_is(from: &Path, to: &Path) -> Result<(), PoolError> {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto", "--no-target-directory", "--"]);
    let output = copy.arg(from).arg(to).output().during("copy", from)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PoolError::io("copy", from)(std::io::Error::other(said)))
}

fn exchange_all(restore: &mut Restore) -> Result<(), PoolError> {
    for at in 0..restore.items.len() {
        let item = &mut restore.items[at];
        if let Err(error) = put_in_place(&restore.data, item) {
            undo(restore)?;
            return Err(error);
        }
    }
    Ok(())
}

fn put_in_place(data: &Path, item: &mut Item) -> Result<(), PoolError> {
    let place = data.join(&item.path);
    let (parent, name) = open_parent(data, item)?;
    let there = rustix::fs::statat(&parent, name.as_path(), AtFlags::SYMLINK_NOFOLLOW);
    let flags = match there {
        Ok(_) => RenameFlags::EXCHANGE,
        Err(rustix::io::Errno::NOENT) => RenameFlags::NOREPLACE,
        Err(error) => return Err(PoolError::io("look at", &place)(error.into())),
    };
    rustix::fs::renameat_with(CWD, &item.copy, &parent, name.as_path(), flags)
        .during("replace", &place)?;
    item.done = Some(flags);
    rustix::fs::fsync(&parent).during("sync", &place)
}

/// Reverts all completed items, the last one first.
fn undo(restore: &mut Restore) -> Result<(), PoolError> {
    for at in (0..restore.items.len()).rev() {
        let item = &mut restore.items[at];
        let Some(flags) = item.done.take() else {
            continue;
        };
        let place = restore.data.join(&item.path);
        let (parent, name) = open_parent(&restore.data, item)?;
        rustix::fs::renameat_with(&parent, name.as_path(), CWD, &item.copy, flags)
            .during("replace", &place)?;
    }
    Ok(())
}

/// The opened parent folder of an item's place, and the item's name in it.
fn open_parent(data: &Path, item: &Item) -> Result<(rustix::fd::OwnedFd, PathBuf), PoolError> {
    let folder = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let none = Permissions::empty();
    let top = rustix::fs::openat(CWD, data, folder, none).during("open", data)?;
    let name = item.path.file_name().unwrap_or_default().into();
    let Some(parent) = item.path.parent().filter(|path| path != &Path::new("")) else {
        return Ok((top, name));
    };
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened = rustix::fs::openat2(top.as_fd(), parent, folder, none, beneath);
    Ok((opened.during("open", &data.join(parent))?, name))
}
