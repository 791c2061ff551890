//! What a dot's log says of one operation: how the pool got from before it to after it, so that the same steps lead back.

use dotmesh_model::{BranchName, CommitId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::layout::DotFile;

/// `operation.json`: an operation that changed a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its place in the log, which is the name of its folder: later operations have higher numbers.
    #[serde(skip)]
    pub number: u64,
    /// What it is, for people: `reset of branch master …`.
    pub what: String,
    /// When it was made.
    pub time: Timestamp,
    /// How far it is.
    pub state: State,
    /// When it came to that state.
    pub since: Timestamp,
    /// What it changed, in this order.
    pub steps: Vec<Step>,
}

/// How far an operation is. Three of the states are on the way to another, and end in it at the latest when the pool is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Under way for the first time. It is made, or it has never been.
    Begun,
    /// Made, or made again.
    Done,
    /// Being taken back.
    Undoing,
    /// Taken back.
    Undone,
    /// Being made again.
    Redoing,
}

/// One atomic change of the pool, which can be made in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// A branch's working copy keeps its files and gets another head.
    Head {
        branch: BranchName,
        before: CommitId,
        after: CommitId,
    },
    /// A branch's working copy is exchanged with the one that the log keeps.
    Replace {
        branch: BranchName,
        /// Which working copy the branch had before: its subvolume's id.
        copy: u64,
    },
    /// A branch gets the working copy that the log keeps.
    Create { branch: BranchName },
    /// A branch's working copy goes to the log.
    Delete { branch: BranchName },
    /// Two branches exchange their working copies.
    Swap {
        one: BranchName,
        other: BranchName,
        /// Which working copy `one` had before: its subvolume's id.
        copy: u64,
    },
    /// The dot's description is replaced.
    Describe { before: DotFile, after: DotFile },
    /// The dot is deleted with this log. Where its folder is says whether that was done.
    DeleteDot(DeletedWith),
}

/// What the node knew of a deleted dot besides its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedWith {
    /// The volumes that Docker had created of it.
    pub volumes: Vec<String>,
    /// Who made it, if anybody remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}

impl State {
    /// Whether it is on the way to another state.
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
            Step::Head { .. } | Step::Describe { .. } | Step::DeleteDot(_) => Vec::new(),
        })
    }

    /// Whether another branch is checked out after it than before.
    pub fn switches(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, Step::Describe { before, after } if before.current != after.current)
        })
    }

    /// What the node knew of the dot that it deleted, if it is that.
    pub fn deleted(&self) -> Option<&DeletedWith> {
        self.steps.iter().find_map(|step| match step {
            Step::DeleteDot(with) => Some(with),
            _ => None,
        })
    }
}

/// The operation that an undo takes back: the last one that is made.
pub fn to_undo(log: &[Operation]) -> Option<&Operation> {
    log.iter().rfind(|one| one.state == State::Done)
}

/// The operation that a redo makes again: the first one that was taken back after what is made. A later operation ends that.
pub fn to_redo(log: &[Operation]) -> Option<&Operation> {
    let made = to_undo(log).map_or(0, |one| one.number);
    let mut later = log.iter().filter(|one| one.number > made);
    later.find(|one| one.state == State::Undone)
}
