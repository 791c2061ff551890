//! A dot's log of operations, and taking them back.

use dotmesh_model::DotName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Wait;

/// `POST /v1/dots/{namespace}/{dot}/undo` and `…/redo`. Both answer as a checkout does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// For an undo: bring back this deleted dot, by its id or the first digits of that. Without it, an undo of a dot that
    /// is not here brings back the last one that was deleted under its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
    /// How to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `GET /v1/dots/{namespace}/{dot}/operations`. Of a dot that is deleted, it is the log of the last one of that name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// The dot.
    pub dot: DotName,
    /// Whether it is here now.
    pub is_here: bool,
    /// The operations, the last one first. Pushes, clones and new dots are not among them.
    pub operations: Vec<Operation>,
    /// The deleted dots that had this name, the last one first.
    pub deleted: Vec<DeletedDot>,
    /// How long operations can be taken back.
    pub budget: UndoBudget,
}

/// An operation of a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Later operations have higher numbers.
    pub number: u64,
    /// What it is: `reset of branch master from 1a2b3c4d to 5e6f7a8b`.
    pub what: String,
    /// When it was made.
    pub time: Timestamp,
    /// What became of it.
    pub state: OperationState,
    /// About how many bytes are kept for it.
    pub bytes: u64,
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It, or taking it back, is under way.
    UnderWay,
    /// It is made.
    Done,
    /// It was taken back, and can be made again.
    Undone,
}

/// A dot that was deleted and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedDot {
    /// Its id on this node.
    pub id: String,
    /// When it was deleted.
    pub time: Timestamp,
    /// About how many bytes are kept for it.
    pub bytes: u64,
}

/// What a node keeps of the past, over all its dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoBudget {
    /// At most for so many seconds.
    pub seconds: u64,
    /// At most about so many bytes.
    pub bytes: u64,
    /// About so many bytes are kept now.
    pub used: u64,
}
