//! Stashes: writable snapshots of working copies.
//!
//! `stash.json` is written into the snapshot after the snapshot is taken. After a crash, a folder in `stashes/` without that
//! file is an incomplete stash, which is deleted.

use std::path::PathBuf;

use dotmesh_model::{BranchName, CommitId, DotName, StashId};
use serde::{Deserialize, Serialize};

use super::Pool;
use super::inner::{Inner, names_in};
use crate::driver::Mode;
use crate::error::{During as _, PoolError};
use crate::layout::{DATA, STASH, read_json, write_json};

/// `stash.json`: the description of a stash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StashFile {
    /// The branch that it was taken of.
    pub branch: BranchName,
    /// When it was taken.
    pub time: jiff::Timestamp,
    /// The user's message. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A stash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredStash {
    /// Its id.
    pub id: StashId,
    /// The commit that its changes are relative to.
    pub head: CommitId,
    /// Its description.
    pub file: StashFile,
}

impl Pool {
    /// The stashes of a dot, the newest first.
    pub async fn stashes(&self, dot: &DotName) -> Result<Vec<StoredStash>, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.stashes(&dot)).await
    }

    /// The folder of a stash's data. Nothing writes to it.
    pub fn stash_data(&self, dot: &DotName, stash: StashId) -> PathBuf {
        self.inner.layout.stash(dot, stash).join(DATA)
    }

    /// Takes a stash of a branch's working copy, and leaves the working copy unchanged.
    pub async fn stash(
        &self,
        dot: &DotName,
        branch: &BranchName,
        stash: &StoredStash,
    ) -> Result<(), PoolError> {
        let (dot, branch, stash) = (dot.clone(), branch.clone(), stash.clone());
        self.run(move |inner| inner.stash(&dot, &branch, &stash))
            .await
    }

    /// Moves a stash to the trash.
    pub async fn drop_stash(&self, dot: &DotName, stash: StashId) -> Result<(), PoolError> {
        let path = self.inner.layout.stash(dot, stash);
        self.run(move |inner| inner.discard(&path)).await
    }

    /// Cleans up after a crash while a stash was taken or applied.
    pub async fn tidy_stashes(&self, dot: &DotName) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let stashes = inner.layout.stashes(&dot);
            for name in names_in(&stashes)? {
                let folder = stashes.join(name);
                if !folder.join(STASH).exists() {
                    inner.throw_away(&folder);
                }
            }
            let branches = inner.layout.branches(&dot);
            for name in names_in(&branches)? {
                forget_note(&branches.join(name))?;
            }
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn stashes(&self, dot: &DotName) -> Result<Vec<StoredStash>, PoolError> {
        let folder = self.layout.stashes(dot);
        let mut stashes = Vec::new();
        for name in names_in(&folder)? {
            let Ok(id) = name.parse::<StashId>() else {
                continue;
            };
            let path = folder.join(name);
            if let Some(file) = read_json(&path.join(STASH))? {
                let head = self.head_of(dot, &path)?;
                stashes.push(StoredStash { id, head, file });
            }
        }
        stashes.sort_by_key(|stash| std::cmp::Reverse((stash.file.time, stash.id)));
        Ok(stashes)
    }

    fn stash(
        &self,
        dot: &DotName,
        branch: &BranchName,
        stash: &StoredStash,
    ) -> Result<(), PoolError> {
        let folder = self.layout.stashes(dot);
        std::fs::create_dir_all(&folder).during("create", &folder)?;
        let (working, copy) = (
            self.layout.branch(dot, branch),
            self.layout.stash(dot, stash.id),
        );
        self.driver.snapshot(&working, &copy, Mode::Writable)?;
        let done = write_json(&copy.join(STASH), &stash.file);
        if done.is_err() {
            self.throw_away(&copy);
        }
        done
    }
}

/// Deletes `stash.json` from a working copy. A missing file is not an error.
pub(super) fn forget_note(working: &std::path::Path) -> Result<(), PoolError> {
    let note = working.join(STASH);
    match std::fs::remove_file(&note) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.during("delete", &note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_str!("../../../../testdata/v1/pool/stash.json");
        let read: StashFile = serde_json::from_str(kept).expect("the file");
        let written = serde_json::to_string_pretty(&read).expect("JSON");
        assert_eq!(written, kept, "nothing is lost, nothing is unknown");
    }
}
