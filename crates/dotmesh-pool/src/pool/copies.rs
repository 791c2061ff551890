//! Writable copies of states that are thrown away, so that programs can open what nobody may change.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use dotmesh_model::{BranchName, CommitId, DotName};

use super::inner::{Inner, temporary};
use super::volumes::OpenFolder;
use super::{Pool, blocking};
use crate::driver::Mode;
use crate::error::PoolError;
use crate::layout::DATA;

/// A copy of a state. Dropping it deletes it.
pub struct Copy {
    inner: Arc<Inner>,
    folder: PathBuf,
}

impl Copy {
    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Opens a folder of it, `SUBDOT` or `SUBDOT/PATH`. No symlink is followed.
    pub fn open(&self, path: &str) -> Result<OpenFolder, PoolError> {
        self.inner.open_path(&self.data(), path)
    }
}

impl Copy {
    /// The ranges in which a file of two copies may differ, ascending and disjoint. What was written is seen after
    /// [`Pool::flush`]. `None` if it can only be found by reading.
    pub fn differing(&self, other: &Self, path: &str) -> Option<Vec<Range<u64>>> {
        let path = format!("{DATA}/{path}");
        let driver = &self.inner.driver;
        driver
            .differing(&self.folder, &other.folder, &path)
            .ok()
            .flatten()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.inner.throw_away(&self.folder);
    }
}

impl Pool {
    /// Copies a commit.
    pub async fn copy_commit(&self, dot: &DotName, commit: CommitId) -> Result<Copy, PoolError> {
        let from = self.inner.layout.commit(dot, commit);
        self.copy(from).await
    }

    /// Copies a branch's working copy as it is at one instant.
    pub async fn copy_branch(&self, dot: &DotName, branch: &BranchName) -> Result<Copy, PoolError> {
        let from = self.inner.layout.branch(dot, branch);
        self.copy(from).await
    }

    async fn copy(&self, from: PathBuf) -> Result<Copy, PoolError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let folder = temporary(&inner.layout.staging());
            inner.driver.snapshot(&from, &folder, Mode::Writable)?;
            Ok(Copy { inner, folder })
        })
        .await
    }
}
