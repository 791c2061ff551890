//! `dm op log`: the operations of a dot that can be undone or redone.

use dotmesh_api::node::{DeletedDot, OperationState, OperationSummary, Operations};
use dotmesh_pool::{KeptWhere, State};

use super::{housekeeping, undo};
use crate::error::NodeError;
use crate::node::Node;
use crate::view::{At, View};

/// The log, newest operation first.
pub(crate) async fn op_log(node: &Node, at: impl Into<At>) -> Result<Operations, NodeError> {
    let at = at.into();
    let name = &at.dot;
    let found = node.registry.find_dot(name).await?;
    let is_here = found.is_some();
    let deleted = node.pool.deleted_dots(name).await?;
    let kept = node.pool.kept().await?;
    let log = match (found, deleted.first()) {
        (Some(dot), _) => {
            let log = node.pool.operations(name).await?;
            let forks = node.pool.forks(name).await?;
            undo::seen_from(&View::new(dot, at.branch.clone())?, log, &forks)
        }
        (None, Some(last)) => last.operations.clone(),
        (None, None) => return Err(NodeError::NoDot { dot: name.clone() }),
    };
    let kept_by = |number: u64| {
        let of_dot = kept.iter().filter(|kept| kept.dot == *name);
        let mut by_it = of_dot.filter(|kept| {
            matches!(&kept.place, KeptWhere::Operation { number: other, .. } if *other == number)
        });
        // A deleted dot is kept as a whole, so its operations take no space of their own.
        by_it
            .next()
            .filter(|_| is_here)
            .map_or(0, |kept| kept.bytes)
    };
    let operations = log.into_iter().rev().map(|one| OperationSummary {
        number: one.number,
        bytes: kept_by(one.number),
        time: one.time,
        state: match one.state {
            State::Begun | State::Undoing | State::Redoing => OperationState::UnderWay,
            State::Done => OperationState::Done,
            State::Undone => OperationState::Undone,
        },
        what: one.what,
    });
    let operations = operations.collect();
    let deleted = deleted.iter().filter_map(|dot| {
        let bytes = kept.iter().find(|kept| kept.place == dot.place());
        Some(DeletedDot {
            id: dot.file.id.clone(),
            time: dot.deletion()?.since,
            bytes: bytes.map_or(0, |kept| kept.bytes),
        })
    });
    Ok(Operations {
        dot: name.clone(),
        is_here,
        operations,
        deleted: deleted.collect(),
        budget: housekeeping::budget(node, &kept).await?,
    })
}
