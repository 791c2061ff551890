//! Amending: a new commit replaces the head of a branch.
//!
//! A commit's record is written before its snapshot is taken. If the snapshot was never taken, the head is the record's
//! parent. But if `amending.json` names the commit, the head is the commit that it should have replaced.

use dotmesh_model::{BranchName, CommitId, DotName};
use serde::{Deserialize, Serialize};

use super::Pool;
use super::inner::Inner;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{RECORD, read_json, write_json};

/// `amending.json`: exists while a commit is amended.
#[derive(Debug, Serialize, Deserialize)]
struct Amending {
    id: CommitId,
    /// The head before.
    was: CommitId,
}

impl Pool {
    /// Like [`Self::commit`], but replaces the head `was`. That commit can still be named by its id.
    pub async fn amend(
        &self,
        dot: &DotName,
        branch: &BranchName,
        was: CommitId,
        id: CommitId,
        record: Vec<u8>,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let intent = inner.layout.amending(&dot);
            write_json(&intent, &Amending { id, was })?;
            let working = inner.layout.branch(&dot, &branch);
            inner.freeze(&working, &inner.layout.commit(&dot, id), &record)?;
            std::fs::remove_file(&intent).during("delete", &intent)
        })
        .await
    }

    /// Reverts [`Self::amend`].
    pub async fn take_amend_back(
        &self,
        dot: &DotName,
        branch: &BranchName,
        was: CommitId,
        id: CommitId,
    ) -> Result<(), PoolError> {
        let (dot, branch) = (dot.clone(), branch.clone());
        self.run(move |inner| {
            let before = inner.layout.commit(&dot, was).join(RECORD);
            let record = std::fs::read(&before).during("read", &before)?;
            durable::replace(&inner.layout.branch(&dot, &branch).join(RECORD), &record)?;
            inner.driver.delete(&inner.layout.commit(&dot, id))
        })
        .await
    }
}

impl Inner {
    /// The head that a commit without a snapshot should have replaced.
    pub(super) fn amended(
        &self,
        dot: &DotName,
        id: CommitId,
    ) -> Result<Option<CommitId>, PoolError> {
        let amending: Option<Amending> = read_json(&self.layout.amending(dot))?;
        Ok(amending.filter(|one| one.id == id).map(|one| one.was))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_str!("../../../../testdata/v1/pool/amending.json");
        let read: Amending = serde_json::from_str(kept).expect("the file");
        let written = serde_json::to_string_pretty(&read).expect("JSON");
        assert_eq!(written, kept, "nothing is lost, nothing is unknown");
    }
}
