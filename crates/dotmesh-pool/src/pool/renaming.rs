//! Renames dots and branches. To rename a dot, its folder is renamed. To rename a branch, its folder and `dot.json` change.
//!
//! `renaming.json` exists during the renaming of a branch, so that the next start can complete it after a crash.

use std::path::Path;

use dotmesh_model::{BranchName, DotName};
use serde::{Deserialize, Serialize};

use super::Pool;
use super::inner::Inner;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DotFile, read_json, write_json};

/// `renaming.json`: exists while a branch is renamed.
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
    /// Renames a branch to an unused name. Its mounts stay.
    pub async fn rename_branch(
        &self,
        dot: &DotName,
        from: &BranchName,
        to: &BranchName,
    ) -> Result<(), PoolError> {
        let (dot, from, to) = (dot.clone(), from.clone(), to.clone());
        self.run(move |inner| inner.rename_branch(&dot, &Renaming { from, to }))
            .await
    }

    /// Renames a dot to an unused name, in one step.
    pub async fn rename_dot(&self, from: &DotName, to: &DotName) -> Result<(), PoolError> {
        let (from, to) = (from.clone(), to.clone());
        self.run(move |inner| {
            let path = inner.make_way(&to)?;
            durable::rename(&inner.layout.dot(&from), &path)
        })
        .await
    }
}

impl Inner {
    fn rename_branch(&self, dot: &DotName, renaming: &Renaming) -> Result<(), PoolError> {
        let (from, to) = (
            self.layout.branch(dot, &renaming.from),
            self.layout.branch(dot, &renaming.to),
        );
        let (file, intent) = (self.layout.dot_file(dot), self.layout.renaming(dot));
        let before: DotFile = read_json(&file)?.ok_or_else(|| PoolError::Damaged {
            path: file.clone(),
            problem: "it is missing".to_owned(),
        })?;
        let mut after = before.clone();
        after.rename_branch(&renaming.from, &renaming.to);
        write_json(&intent, renaming)?;
        let renamed = durable::rename(&from, &to).and_then(|()| write_json(&file, &after));
        if renamed.is_err() {
            // If this fails too, the next start completes the renaming.
            if !from.exists() {
                durable::rename(&to, &from)?;
            }
            write_json(&file, &before)?;
        }
        remove(&intent)?;
        renamed
    }

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
