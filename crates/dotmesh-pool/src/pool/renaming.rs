//! Renames dots: their folders are renamed. The renaming of a branch is a step of an operation.
//!
//! An earlier version renamed branches without the log. `renaming.json` existed meanwhile, so that the next start can
//! complete such a renaming after a crash.

use std::path::Path;

use dotmesh_model::{BranchName, DotName};
use serde::{Deserialize, Serialize};

use super::Pool;
use super::inner::Inner;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DotFile, read_json, write_json};

/// `renaming.json`: a branch that an earlier version was renaming.
#[derive(Debug, Serialize, Deserialize)]
struct Renaming {
    from: BranchName,
    to: BranchName,
}

impl DotFile {
    /// Replaces the name of a branch everywhere in the description.
    fn rename_branch(&mut self, from: &BranchName, to: &BranchName) {
        if self.current == *from {
            self.current = to.clone();
        }
        if let Some(origin) = self.origins.remove(from) {
            self.origins.insert(to.clone(), origin);
        }
        for origin in self.origins.values_mut() {
            if origin.branch == *from {
                origin.branch = to.clone();
            }
        }
    }
}

impl Pool {
    /// Renames a dot to an unused name, in one step, with its log.
    pub async fn rename_dot(&self, from: &DotName, to: &DotName) -> Result<(), PoolError> {
        let (from, to) = (from.clone(), to.clone());
        self.run(move |inner| {
            let path = inner.make_way(&to)?;
            durable::rename(&inner.layout.dot(&from), &path)
        })
        .await
    }

    /// Renames a dot for the undo or the redo of an operation of its log. Fails and changes nothing if the dot has changed
    /// since the operation.
    pub async fn rename_dot_again(
        &self,
        from: &DotName,
        to: &DotName,
        number: u64,
    ) -> Result<(), PoolError> {
        let (from, to) = (from.clone(), to.clone());
        self.run(move |inner| {
            inner.mark_rename(&from, number)?;
            let path = inner.make_way(&to)?;
            durable::rename(&inner.layout.dot(&from), &path)
        })
        .await
    }
}

impl Inner {
    /// Completes a renaming that a crash interrupted. If the folder still has its old name, the description does, too.
    pub(super) fn finish_renaming(
        &self,
        dot: &DotName,
        file: &mut DotFile,
    ) -> Result<(), PoolError> {
        let intent = self.layout.renaming(dot);
        let Some(Renaming { from, to }) = read_json(&intent)? else {
            return Ok(());
        };
        if !self.layout.branch(dot, &from).exists() {
            file.rename_branch(&from, &to);
            write_json(&self.layout.dot_file(dot), file)?;
        }
        remove(&intent)
    }
}

fn remove(intent: &Path) -> Result<(), PoolError> {
    std::fs::remove_file(intent).during("delete", intent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_str!("../../../../testdata/v1/pool/renaming.json");
        let read: Renaming = serde_json::from_str(kept).expect("the file");
        let written = serde_json::to_string_pretty(&read).expect("JSON");
        assert_eq!(written, kept, "nothing is lost, nothing is unknown");
    }
}
