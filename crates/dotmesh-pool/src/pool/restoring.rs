//! Restoring: swaps files and folders of a working copy with those that an operation of the log keeps.
//!
//! The log and the working copy are on different subvolumes, so no rename swaps them. What is to come is copied into a
//! folder of the working copy, outside the data that containers see, and each copy is exchanged with what is in its
//! place. The log keeps a snapshot of the working copy from before. `restore.json` says which of the two states is in
//! place: it is replaced after the last exchange. Until then it lists the exchanges, so that a crash can be undone.
//!
//! In a working copy, containers can replace any folder with a symlink at any time.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dotmesh_model::{BranchName, DotName};
use rustix::fs::{AtFlags, CWD, Mode as Permissions, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::inner::{Inner, names_in, unused_name};
use super::paths::find;
use super::{PathInDot, Pool};
use crate::driver::Mode;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DATA, read_json, write_json};
use crate::operation::Operation;

/// The prefix of the folder in a working copy. It has the files to come, and afterwards those that they replaced.
const RESTORING: &str = ".restoring-";

const STATE: &str = "restore.json";

/// `restore.json`, beside `operation.json`: where a restore stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Restoring {
    /// Whether the restored files are in place, and not those that they replaced.
    made: bool,
    /// The folder that has the files which are not in place. Before the first swap it has the name of the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    /// A swap that is under way: for each path, the inode of what is to come, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    swap: Option<Vec<Option<u64>>>,
}

impl Pool {
    /// Deletes folders of restores in a working copy that no operation knows.
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

impl Inner {
    fn restoring(&self, dot: &DotName, number: u64) -> Result<Restoring, PoolError> {
        let file = self.layout.operation(dot, number).join(STATE);
        Ok(read_json(&file)?.unwrap_or_default())
    }

    fn write_restoring(
        &self,
        dot: &DotName,
        number: u64,
        state: &Restoring,
    ) -> Result<(), PoolError> {
        write_json(&self.layout.operation(dot, number).join(STATE), state)
    }

    /// Whether an operation's files are in place.
    pub(super) fn is_restored(&self, dot: &DotName, number: u64) -> Result<bool, PoolError> {
        Ok(self.restoring(dot, number)?.made)
    }

    /// The folder in a working copy for the swaps of an operation.
    fn place(&self, dot: &DotName, number: u64, branch: &BranchName) -> PathBuf {
        let working = self.layout.branch(dot, branch);
        working.join(format!("{RESTORING}{number}"))
    }

    /// Swaps all paths, or none. No container may use the subdots meanwhile.
    pub(super) fn swap_paths(
        &self,
        dot: &DotName,
        number: u64,
        branch: &BranchName,
        paths: &[PathInDot],
    ) -> Result<(), PoolError> {
        let before = self.restoring(dot, number)?;
        let copies = self.layout.operation(dot, number).join("branches");
        let old = match &before.kept {
            Some(kept) => copies.join(kept),
            None => self.kept(dot, number, branch),
        };
        let name = unused_name();
        let (working, new) = (self.layout.branch(dot, branch), copies.join(&name));
        self.driver.snapshot(&working, &new, Mode::Frozen)?;
        let place = self.place(dot, number, branch);
        let (items, data) = (items(&place, paths), working.join(DATA));
        let swapped = bring(&place, &old.join(DATA), paths).and_then(|coming| {
            let under_way = Restoring {
                swap: Some(coming.clone()),
                ..before.clone()
            };
            self.write_restoring(dot, number, &under_way)?;
            for (item, coming) in items.iter().zip(&coming) {
                item.put(&data, coming.is_some())?;
            }
            let after = Restoring {
                made: !before.made,
                kept: Some(name.clone()),
                swap: None,
            };
            self.write_restoring(dot, number, &after)
        });
        if let Err(error) = swapped {
            self.take_swap_back(dot, number, branch, paths)?;
            self.throw_away(&new);
            return Err(error);
        }
        forget(&place);
        self.throw_away(&old);
        Ok(())
    }

    /// Takes a swap back that a crash or an error interrupted.
    fn take_swap_back(
        &self,
        dot: &DotName,
        number: u64,
        branch: &BranchName,
        paths: &[PathInDot],
    ) -> Result<(), PoolError> {
        let state = self.restoring(dot, number)?;
        let (place, working) = (
            self.place(dot, number, branch),
            self.layout.branch(dot, branch),
        );
        if let Some(coming) = &state.swap {
            for (item, coming) in items(&place, paths).iter().zip(coming).rev() {
                item.take_back(&working.join(DATA), *coming)?;
            }
            self.write_restoring(
                dot,
                number,
                &Restoring {
                    swap: None,
                    ..state
                },
            )?;
        }
        forget(&place);
        Ok(())
    }

    /// Takes the swap of an operation back if a crash interrupted it, and deletes what it left.
    pub(super) fn finish_swap(
        &self,
        dot: &DotName,
        operation: &Operation,
    ) -> Result<(), PoolError> {
        let Some((branch, paths)) = operation.restored() else {
            return Ok(());
        };
        let number = operation.number;
        self.take_swap_back(dot, number, branch, paths)?;
        let kept = self.restoring(dot, number)?.kept;
        let kept = kept.unwrap_or_else(|| branch.spelling().into_owned());
        let copies = self.layout.operation(dot, number).join("branches");
        for name in names_in(&copies)? {
            if name != kept {
                self.throw_away(&copies.join(name));
            }
        }
        Ok(())
    }
}

/// A path, and the place of its copy outside the data.
struct Item {
    path: PathBuf,
    copy: PathBuf,
}

fn items(place: &Path, paths: &[PathInDot]) -> Vec<Item> {
    let item = |(number, path): (usize, &PathInDot)| Item {
        path: path.path(),
        copy: place.join(number.to_string()),
    };
    paths.iter().enumerate().map(item).collect()
}

/// Copies what is to come, and returns the inodes of the copies. The copies are reflinks, so they take no space.
fn bring(place: &Path, from: &Path, paths: &[PathInDot]) -> Result<Vec<Option<u64>>, PoolError> {
    forget(place);
    std::fs::create_dir(place).during("create", place)?;
    let mut coming = Vec::with_capacity(paths.len());
    for (item, path) in items(place, paths).iter().zip(paths) {
        coming.push(match find(from, path) {
            None => None,
            Some(found) => {
                copy_as_it_is(&found, &item.copy)?;
                let copied = std::fs::symlink_metadata(&item.copy);
                Some(copied.during("look at", &item.copy)?.ino())
            }
        });
    }
    Ok(coming)
}

impl Item {
    /// Moves the copy to its place, and what is there to the place of the copy.
    fn put(&self, data: &Path, is_coming: bool) -> Result<(), PoolError> {
        let place = data.join(&self.path);
        durable::step(&place)?;
        let Some((parent, name)) = self.open_parent(data, is_coming)? else {
            return Ok(());
        };
        let there = rustix::fs::statat(&parent, name.as_path(), AtFlags::SYMLINK_NOFOLLOW);
        let is_there = match there {
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(PoolError::io("look at", &place)(error.into())),
        };
        match (is_coming, is_there) {
            (true, true) => rename(CWD, &self.copy, &parent, &name, RenameFlags::EXCHANGE),
            (true, false) => rename(CWD, &self.copy, &parent, &name, RenameFlags::NOREPLACE),
            (false, true) => rename(&parent, &name, CWD, &self.copy, RenameFlags::NOREPLACE),
            (false, false) => Ok(()),
        }
        .during("replace", &place)?;
        rustix::fs::fsync(&parent).during("sync", &place)
    }

    /// Undoes [`Self::put`], if it was done. `coming` is the inode of the copy.
    fn take_back(&self, data: &Path, coming: Option<u64>) -> Result<(), PoolError> {
        let copy = std::fs::symlink_metadata(&self.copy).ok();
        let copy = copy.map(|copy| copy.ino());
        let is_done = match coming {
            Some(_) => copy != coming,
            None => copy.is_some(),
        };
        if !is_done {
            return Ok(());
        }
        let place = data.join(&self.path);
        let Some((parent, name)) = self.open_parent(data, true)? else {
            return Ok(());
        };
        match (coming, copy) {
            (Some(_), Some(_)) => rename(CWD, &self.copy, &parent, &name, RenameFlags::EXCHANGE),
            (Some(_), None) => rename(&parent, &name, CWD, &self.copy, RenameFlags::NOREPLACE),
            (None, _) => rename(CWD, &self.copy, &parent, &name, RenameFlags::NOREPLACE),
        }
        .during("replace", &place)?;
        rustix::fs::fsync(&parent).during("sync", &place)
    }

    /// The opened parent folder of the place, and the name in it. If it need not exist, it may be missing.
    fn open_parent(
        &self,
        data: &Path,
        must_exist: bool,
    ) -> Result<Option<(OwnedFd, PathBuf)>, PoolError> {
        let folder = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let none = Permissions::empty();
        let top = rustix::fs::openat(CWD, data, folder, none).during("open", data)?;
        let name = self.path.file_name().unwrap_or_default().into();
        let Some(parent) = self.path.parent().filter(|path| path != &Path::new("")) else {
            return Ok(Some((top, name)));
        };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(top.as_fd(), parent, folder, none, beneath) {
            Err(Errno::NOENT) if !must_exist => Ok(None),
            opened => Ok(Some((opened.during("open", &data.join(parent))?, name))),
        }
    }
}

fn rename(
    from: impl std::os::fd::AsFd,
    old: &Path,
    to: impl std::os::fd::AsFd,
    new: &Path,
    flags: RenameFlags,
) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(from, old, to, new, flags)
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

/// Deletes such a folder. Containers created the files in it, and the rest of an incomplete deletion stays there, invisible to
/// them, until the working copy is deleted.
fn forget(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && folder.exists()
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot delete replaced files yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_str!("../../../../testdata/v1/pool/restore.json");
        let read: Restoring = serde_json::from_str(kept).expect("the file");
        let written = serde_json::to_string_pretty(&read).expect("JSON");
        assert_eq!(written, kept, "nothing is lost, nothing is unknown");
    }
}
