//! The steps of an operation: makes them in either direction, and tells from the pool whether one is made.

use std::path::PathBuf;

use dotmesh_model::{BranchName, CommitId, DotName, StashId};

use super::inner::Inner;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DotFile, RECORD, read_json, write_json};
use crate::operation::Step;
use crate::pool::{StoredTag, TagsFile};

impl Inner {
    pub(super) fn is_after(
        &self,
        dot: &DotName,
        number: u64,
        step: &Step,
    ) -> Result<bool, PoolError> {
        Ok(match step {
            Step::Head { branch, after, .. } => {
                self.layout.branch(dot, branch).exists() && self.head(dot, branch)? == *after
            }
            Step::Replace { branch, copy } => {
                self.copy_id(&self.layout.branch(dot, branch))? != *copy
            }
            Step::Swap { one, copy, .. } => self.copy_id(&self.layout.branch(dot, one))? != *copy,
            Step::Create { branch } => self.layout.branch(dot, branch).exists(),
            Step::Delete { branch } => self.kept(dot, number, branch).exists(),
            Step::Describe { before, after } => self.description(dot)?.has(before, after),
            Step::RenameBranch { from, to } => {
                self.layout.branch(dot, to).exists() && !self.layout.branch(dot, from).exists()
            }
            Step::RenameDot { to, .. } => dot == to,
            Step::Tag { name, after, .. } => self.tags(dot)?.tags.get(name) == after.as_ref(),
            Step::DropStash { stash } => self.kept_stash(dot, number, *stash).exists(),
            Step::Restore { .. } => self.is_restored(dot, number)?,
            // If the dot was deleted, its log would not be here.
            Step::DeleteDot(_) => false,
        })
    }

    pub(super) fn make(&self, dot: &DotName, number: u64, step: &Step) -> Result<(), PoolError> {
        let working = |branch: &BranchName| self.layout.branch(dot, branch);
        let kept = |branch: &BranchName| self.kept(dot, number, branch);
        match step {
            Step::Head { branch, after, .. } => self.set_head(dot, branch, *after),
            Step::Replace { branch, .. } => durable::exchange(&kept(branch), &working(branch)),
            Step::Create { branch } => durable::rename_new(&kept(branch), &working(branch)),
            Step::Delete { branch } => durable::rename_new(&working(branch), &kept(branch)),
            Step::Swap { one, other, .. } => durable::exchange(&working(other), &working(one)),
            Step::Describe { before, after } => self.describe(dot, before, after),
            Step::RenameBranch { from, to } => durable::rename_new(&working(from), &working(to)),
            Step::Tag { name, after, .. } => self.set_tag(dot, name, after.as_ref()),
            Step::DropStash { stash } => {
                let kept = self.kept_stash(dot, number, *stash);
                let folder = kept.parent().expect("it is in its operation's folder");
                std::fs::create_dir_all(folder).during("create", folder)?;
                durable::rename_new(&self.layout.stash(dot, *stash), &kept)
            }
            Step::Restore { branch, paths } => self.swap_paths(dot, number, branch, paths),
            // The whole folder of the dot moves, with its log.
            Step::RenameDot { .. } | Step::DeleteDot(_) => Ok(()),
        }
    }

    pub(super) fn unmake(&self, dot: &DotName, number: u64, step: &Step) -> Result<(), PoolError> {
        match step {
            Step::Head { branch, before, .. } => self.set_head(dot, branch, *before),
            // A swap is its own inverse.
            Step::Replace { .. } | Step::Swap { .. } | Step::Restore { .. } => {
                self.make(dot, number, step)
            }
            Step::Create { branch } => {
                let kept = self.kept(dot, number, branch);
                durable::rename_new(&self.layout.branch(dot, branch), &kept)
            }
            Step::Delete { branch } => {
                let kept = self.kept(dot, number, branch);
                durable::rename_new(&kept, &self.layout.branch(dot, branch))
            }
            Step::Describe { before, after } => self.describe(dot, after, before),
            Step::RenameBranch { from, to } => {
                durable::rename_new(&self.layout.branch(dot, to), &self.layout.branch(dot, from))
            }
            Step::Tag { name, before, .. } => self.set_tag(dot, name, before.as_ref()),
            Step::DropStash { stash } => {
                let kept = self.kept_stash(dot, number, *stash);
                durable::rename_new(&kept, &self.layout.stash(dot, *stash))
            }
            Step::RenameDot { .. } | Step::DeleteDot(_) => Ok(()),
        }
    }

    /// The path at which the log keeps a dropped stash.
    fn kept_stash(&self, dot: &DotName, number: u64, stash: StashId) -> PathBuf {
        let folder = self.layout.operation(dot, number).join("stashes");
        folder.join(stash.to_string())
    }

    fn tags(&self, dot: &DotName) -> Result<TagsFile, PoolError> {
        Ok(read_json(&self.layout.tags(dot))?.unwrap_or_default())
    }

    fn set_tag(
        &self,
        dot: &DotName,
        name: &BranchName,
        tag: Option<&StoredTag>,
    ) -> Result<(), PoolError> {
        let mut file = self.tags(dot)?;
        match tag {
            Some(tag) => file.tags.insert(name.clone(), tag.clone()),
            None => file.tags.remove(name),
        };
        write_json(&self.layout.tags(dot), &file)
    }

    /// Makes the change from one description to another. Other operations may have changed other parts of it.
    fn describe(&self, dot: &DotName, from: &DotFile, to: &DotFile) -> Result<(), PoolError> {
        let mut description = self.description(dot)?;
        description.apply(from, to);
        write_json(&self.layout.dot_file(dot), &description)
    }

    /// Changes the head in a working copy's record. The files stay the same.
    fn set_head(
        &self,
        dot: &DotName,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<(), PoolError> {
        let path = self.layout.branch(dot, branch).join(RECORD);
        if head == CommitId::ROOT {
            return durable::remove(&path);
        }
        let record = self.layout.commit(dot, head).join(RECORD);
        let record = std::fs::read(&record).during("read", &record)?;
        durable::replace(&path, &record)
    }
}
