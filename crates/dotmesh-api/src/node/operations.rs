//! A dot's log of operations, with undo and redo.

use dotmesh_model::DotName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Wait;

/// `POST /v1/dots/{namespace}/{dot}/undo` and `…/redo`. The answers are like that of a checkout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Undo {
    /// For an undo: restores this deleted dot, by its id or the first digits of the id. Without it, an undo of a missing dot
    /// restores the last one that was deleted under its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
    /// The way to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// `GET /v1/dots/{namespace}/{dot}/operations`. If the dot is deleted, it is the log of the last one
/// with that name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operations {
    /// The dot.
    pub dot: DotName,
    /// Whether it exists now.
    pub is_here: bool,
    /// The operations, newest first, without pushes, clones and the creation of dots.
    pub operations: Vec<OperationSummary>,
    /// The deleted dots that had this name, newest first.
    pub deleted: Vec<DeletedDot>,
    /// The limits within which operations can be undone.
    pub budget: UndoBudget,
}

/// An operation of a dot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationSummary {
    /// Later operations have higher numbers.
    pub number: u64,
    /// Its description, such as `reset of branch master from 1a2b3c4d to 5e6f7a8b`.
    pub what: String,
    /// When it was made.
    pub time: Timestamp,
    /// Its state.
    pub state: OperationState,
    /// About how many bytes are kept for it.
    pub bytes: u64,
}

/// The state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// The operation or its undo is in progress.
    UnderWay,
    /// It is done.
    Done,
    /// It was undone, and can be redone.
    Undone,
}

/// A deleted dot that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletedDot {
    /// Its id on this node.
    pub id: String,
    /// When it was deleted.
    pub time: Timestamp,
    /// About how many bytes are kept for it.
    pub bytes: u64,
}

/// The limits of the old states that a node keeps, for all its dots together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UndoBudget {
    /// The longest time, in seconds.
    pub seconds: u64,
    /// The largest size, roughly, in bytes.
    pub bytes: u64,
    /// The current size, roughly, in bytes.
    pub used: u64,
}
