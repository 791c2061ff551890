//! Data from elsewhere becomes subdots, all of them at once or none.
//!
//! A new dot is made in `staging/` with its first commit, and moved to its place. In an existing dot, the subdots are made in a
//! folder of the working copy that no container sees. The rename of that folder decides. The subdots are then moved out of it,
//! if need be at the next start.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dotmesh_model::{BranchName, CommitId, DotName, SubdotName};
use rustix::fs::{CWD, Mode as Permissions, OFlags, RenameFlags};

use super::inner::{Inner, names_in, temporary, unused_name};
use super::volumes::FILLING;
use super::{Pool, blocking};
use crate::driver::Mode;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DATA, DotFile, write_json};

/// The prefix of a folder with subdots that are whole, and not all in their places yet.
const FILLED: &str = ".filled-";

/// Subdots that are being filled, for a new dot or for an existing one. Dropping it deletes them.
#[must_use = "the subdots become visible with Pool::finish_new_dot or Pool::finish_subdots"]
pub struct NewSubdots {
    inner: Arc<Inner>,
    /// What is deleted at the end.
    folder: PathBuf,
    /// The folder of the subdots.
    data: PathBuf,
    /// Opened before the first write, so that a sync reports every write error since then.
    opened: File,
    names: Vec<SubdotName>,
}

impl NewSubdots {
    /// Creates an empty subdot, and opens it.
    pub fn add(&mut self, subdot: &SubdotName) -> Result<OwnedFd, PoolError> {
        let path = self.data.join(subdot.as_str());
        rustix::fs::mkdir(&path, Permissions::from_raw_mode(0o777)).during("create", &path)?;
        self.names.push(subdot.clone());
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(CWD, &path, flags, Permissions::empty()).during("open", &path)
    }

    fn sync(&self) -> Result<(), PoolError> {
        rustix::fs::syncfs(&self.opened).during("flush", &self.folder)
    }
}

impl Drop for NewSubdots {
    fn drop(&mut self) {
        if self.folder.exists() {
            self.inner.throw_away(&self.folder);
        }
    }
}

impl Pool {
    /// Begins to make a dot with one branch, whose subdots come from elsewhere.
    pub async fn begin_new_dot(&self, branch: &BranchName) -> Result<NewSubdots, PoolError> {
        let (inner, branch) = (Arc::clone(&self.inner), branch.clone());
        blocking(move || {
            let folder = temporary(&inner.layout.staging());
            for name in ["branches", "commits"] {
                let name = folder.join(name);
                std::fs::create_dir_all(&name).during("create", &name)?;
            }
            let working = working_in(&folder, &branch);
            let empty = inner.layout.empty();
            inner.driver.snapshot(&empty, &working, Mode::Writable)?;
            Ok(NewSubdots {
                opened: File::open(&working).during("open", &working)?,
                data: working.join(DATA),
                names: Vec::new(),
                inner,
                folder,
            })
        })
        .await
    }

    /// Makes the new dot visible with its first commit, in one step.
    pub async fn finish_new_dot(
        &self,
        dot: &DotName,
        new: NewSubdots,
        file: &DotFile,
        commit: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let (dot, file) = (dot.clone(), file.clone());
        self.run(move |inner| {
            durable::step(&new.folder)?;
            new.sync()?;
            let working = working_in(&new.folder, &file.current);
            let snapshot = new.folder.join("commits").join(commit.to_string());
            inner.freeze(&working, &snapshot, &record)?;
            write_json(&new.folder.join("dot.json"), &file)?;
            new.sync()?;
            durable::rename(&new.folder, &inner.make_way(&dot)?)
        })
        .await
    }

    /// Begins to make subdots of a branch. The caller holds the dot's lock until the end.
    pub async fn begin_subdots(
        &self,
        dot: &DotName,
        branch: &BranchName,
    ) -> Result<NewSubdots, PoolError> {
        let inner = Arc::clone(&self.inner);
        let working = inner.layout.branch(dot, branch);
        blocking(move || {
            let folder = working.join(format!("{FILLING}{}", unused_name()));
            std::fs::create_dir(&folder).during("create", &folder)?;
            Ok(NewSubdots {
                opened: File::open(&folder).during("open", &folder)?,
                data: folder.clone(),
                names: Vec::new(),
                inner,
                folder,
            })
        })
        .await
    }

    /// Makes the new subdots visible, all of them or none. Fails with the name of one that exists by now. No container may be
    /// given a folder of the branch meanwhile.
    pub async fn finish_subdots(
        &self,
        dot: &DotName,
        branch: &BranchName,
        new: NewSubdots,
    ) -> Result<(), PoolError> {
        let working = self.inner.layout.branch(dot, branch);
        self.run(move |_| {
            new.sync()?;
            let data = working.join(DATA);
            for name in &new.names {
                let place = data.join(name.as_str());
                if std::fs::symlink_metadata(&place).is_ok() {
                    let exists = std::io::ErrorKind::AlreadyExists.into();
                    return Err(PoolError::io("create", &place)(exists));
                }
            }
            let filled = working.join(format!("{FILLED}{}", unused_name()));
            durable::rename(&new.folder, &filled)?;
            let moved = move_out(&filled, &data);
            if let Err(error) = &moved {
                // The caller is told that nothing was imported.
                let problem = error.with_causes();
                tracing::warn!(problem, "taking new subdots back");
                take_back(&new.names, &filled, &data, &new.folder)?;
            }
            moved
        })
        .await
    }
}

impl Inner {
    /// Moves the subdots to their places that a crash left on their way.
    pub(super) fn complete_subdots(&self, working: &Path) -> Result<(), PoolError> {
        for name in names_in(working)? {
            if name.starts_with(FILLED) {
                move_out(&working.join(name), &working.join(DATA))?;
            }
        }
        Ok(())
    }
}

fn working_in(folder: &Path, branch: &BranchName) -> PathBuf {
    folder.join("branches").join(&*branch.spelling())
}

/// Moves all subdots out of a folder, and deletes it.
fn move_out(filled: &Path, data: &Path) -> Result<(), PoolError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let parent = rustix::fs::openat(CWD, data, flags, Permissions::empty()).during("open", data)?;
    for name in names_in(filled)? {
        durable::step(filled)?;
        let (from, to) = (filled.join(&name), data.join(&name));
        rustix::fs::renameat_with(CWD, &from, &parent, &*name, RenameFlags::NOREPLACE)
            .during("create", &to)?;
    }
    rustix::fs::fsync(&parent).during("sync", data)?;
    durable::step(filled)?;
    std::fs::remove_dir(filled).during("delete", filled)
}

/// Moves the subdots back into their folder, which is then one that is being filled.
fn take_back(
    names: &[SubdotName],
    filled: &Path,
    data: &Path,
    folder: &Path,
) -> Result<(), PoolError> {
    for name in names {
        let (from, to) = (data.join(name.as_str()), filled.join(name.as_str()));
        // What is still there was not moved. What a container made stays.
        if !to.exists() {
            durable::step(&from)?;
            std::fs::rename(&from, &to).during("take back", &from)?;
        }
    }
    durable::rename(filled, folder)
}
