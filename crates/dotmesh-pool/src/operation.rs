//! An operation in the log of a dot: the steps that it made, which undo makes in reverse.

use std::collections::BTreeMap;

use dotmesh_model::{BranchName, CommitId, DotName, StashId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::layout::DotFile;
use crate::pool::{PathInDot, StoredTag};

/// `operation.json`: an operation that changed a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number in the log, and the name of its folder. Later operations have higher numbers.
    #[serde(skip)]
    pub number: u64,
    /// A description for people, such as `reset of branch master …`.
    pub what: String,
    /// When it began.
    pub time: Timestamp,
    /// Its state.
    pub state: State,
    /// When it reached this state.
    pub since: Timestamp,
    /// Its changes, in order.
    pub steps: Vec<Step>,
}

/// The state of an operation. `Begun`, `Undoing` and `Redoing` are transient: they end at the latest when the pool is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being done for the first time. It becomes `Done`, or the log forgets it.
    Begun,
    /// Done or redone.
    Done,
    /// Being undone.
    Undoing,
    /// Undone.
    Undone,
    /// Being redone.
    Redoing,
}

/// One atomic change of the pool, which can be made in either direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Changes the head of a branch. The files of its working copy stay the same.
    Head {
        branch: BranchName,
        before: CommitId,
        after: CommitId,
    },
    /// Swaps a branch's working copy with the one that the log keeps.
    Replace {
        branch: BranchName,
        /// The subvolume id of the branch's working copy before the step.
        copy: u64,
    },
    /// Creates a branch from the working copy that the log keeps.
    Create { branch: BranchName },
    /// Deletes a branch. The log keeps its working copy.
    Delete { branch: BranchName },
    /// Swaps the working copies of two branches.
    Swap {
        one: BranchName,
        other: BranchName,
        /// The subvolume id of the working copy of `one` before the step.
        copy: u64,
    },
    /// Replaces the dot's description.
    Describe { before: DotFile, after: DotFile },
    /// Renames a branch. Its working copy stays the same.
    RenameBranch { from: BranchName, to: BranchName },
    /// Renames the dot, with this log. The place of its folder shows whether that happened.
    RenameDot {
        from: DotName,
        to: DotName,
        /// The Docker volumes of the dot under its former name.
        volumes: Vec<String>,
    },
    /// Creates, moves or deletes a tag.
    Tag {
        name: BranchName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<StoredTag>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<StoredTag>,
    },
    /// Drops a stash. The log keeps it.
    DropStash { stash: StashId },
    /// Swaps files and folders of a branch with those that the log keeps.
    Restore {
        branch: BranchName,
        paths: Vec<PathInDot>,
    },
    /// Deletes the dot, with this log. The place of its folder shows whether that happened.
    DeleteDot(DeletedWith),
}

/// What the node knew about a deleted dot besides its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedWith {
    /// The Docker volumes of the dot.
    pub volumes: Vec<String>,
    /// Who created the dot, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

impl State {
    /// Whether the state is transient.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Self::Begun | Self::Undoing | Self::Redoing)
    }
}

impl Operation {
    /// The branches whose working copies it moves.
    pub fn moves(&self) -> impl Iterator<Item = &BranchName> {
        self.steps.iter().flat_map(|step| match step {
            Step::Replace { branch, .. } | Step::Create { branch } | Step::Delete { branch } => {
                vec![branch]
            }
            Step::Swap { one, other, .. } => vec![one, other],
            Step::Head { .. }
            | Step::Describe { .. }
            | Step::RenameBranch { .. }
            | Step::RenameDot { .. }
            | Step::Tag { .. }
            | Step::DropStash { .. }
            | Step::Restore { .. }
            | Step::DeleteDot(_) => Vec::new(),
        })
    }

    /// Whether it changes which working copy is checked out. The rename of the current branch does not.
    pub fn switches(&self) -> bool {
        let is_renamed = |before: &BranchName, after: &BranchName| {
            self.renamed_branch() == Some((before, after))
        };
        self.steps.iter().any(|step| match step {
            Step::Describe { before, after } => {
                before.current != after.current && !is_renamed(&before.current, &after.current)
            }
            _ => false,
        })
    }

    /// The names of a branch before and after it.
    pub fn renamed_branch(&self) -> Option<(&BranchName, &BranchName)> {
        self.steps.iter().find_map(|step| match step {
            Step::RenameBranch { from, to } => Some((from, to)),
            _ => None,
        })
    }

    /// The names of the dot before and after it, and its Docker volumes before.
    pub fn renamed_dot(&self) -> Option<(&DotName, &DotName, &[String])> {
        self.steps.iter().find_map(|step| match step {
            Step::RenameDot { from, to, volumes } => Some((from, to, volumes.as_slice())),
            _ => None,
        })
    }

    /// The branch and the paths that it restored.
    pub fn restored(&self) -> Option<(&BranchName, &[PathInDot])> {
        self.steps.iter().find_map(|step| match step {
            Step::Restore { branch, paths } => Some((branch, paths.as_slice())),
            _ => None,
        })
    }

    /// The branch that it changed, if it changed only one, and nothing of the dot as a whole. Such operations on different
    /// branches can be undone in any order.
    pub fn only_branch(&self) -> Option<&BranchName> {
        let mut only = None;
        for step in &self.steps {
            let branch = match step {
                Step::Head { branch, .. }
                | Step::Replace { branch, .. }
                | Step::Restore { branch, .. } => branch,
                // A stash that is brought back is dropped with the change of its branch.
                Step::DropStash { .. } => continue,
                _ => return None,
            };
            if *only.get_or_insert(branch) != branch {
                return None;
            }
        }
        only
    }

    /// The branch that it made, if it did nothing else and did not check it out.
    pub fn only_made(&self) -> Option<&BranchName> {
        match &self.steps[..] {
            [Step::Create { branch }] => Some(branch),
            [Step::Create { branch }, Step::Describe { before, after }]
                if before.current == after.current =>
            {
                Some(branch)
            }
            _ => None,
        }
    }

    /// The fork to which it belongs: it changed or made only the fork's branch. Each fork has an order of its own, in which
    /// operations are undone and redone.
    pub(crate) fn fork<T>(&self, forks: &BTreeMap<BranchName, T>) -> Option<&BranchName> {
        let branch = self.only_branch().or_else(|| self.only_made())?;
        forks.contains_key(branch).then_some(branch)
    }

    /// What the node knew about the dot, if this operation deleted it.
    pub fn deleted(&self) -> Option<&DeletedWith> {
        self.steps.iter().find_map(|step| match step {
            Step::DeleteDot(with) => Some(with),
            _ => None,
        })
    }
}

/// The operation that undo reverts: the last one that is done.
pub fn to_undo(log: &[Operation]) -> Option<&Operation> {
    log.iter().rfind(|one| one.state == State::Done)
}

/// The operation that redo repeats: the first undone one after the last one that is done.
pub fn to_redo(log: &[Operation]) -> Option<&Operation> {
    let made = to_undo(log).map_or(0, |one| one.number);
    let mut later = log.iter().filter(|one| one.number > made);
    later.find(|one| one.state == State::Undone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_wrote_is_read() {
        let written = include_str!("../../../testdata/v1/pool/operation.json");
        let operation: Operation = serde_json::from_str(written).expect("an operation");
        let again = serde_json::to_value(&operation).expect("JSON");
        let whole: serde_json::Value = serde_json::from_str(written).expect("JSON");
        assert_eq!(again, whole, "nothing is lost, nothing is unknown");
        assert_eq!(operation.steps.len(), 12, "every step has an example");
        assert!(operation.switches() && operation.deleted().is_some());
    }
}
