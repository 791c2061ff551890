//! `dm op log`: the operations of a dot that can be undone or redone.

use dotmesh_api::node::{DeletedDot, Operation, OperationState, Operations};
use dotmesh_model::DotName;
use dotmesh_pool::{KeptWhere, State};

use super::housekeeping;
use crate::error::NodeError;
use crate::node::Node;

/// The log, newest operation first.
pub(crate) async fn op_log(node: &Node, name: &DotName) -> Result<Operations, NodeError> {
    let is_here = node.registry.find_dot(name).await?.is_some();
    let deleted = node.pool.deleted_dots(name).await?;
    let kept = node.pool.kept().await?;
    let log = match (is_here, deleted.first()) {
        (true, _) => node.pool.operations(name).await?,
        (false, Some(last)) => last.operations.clone(),
        (false, None) => return Err(NodeError::NoDot { dot: name.clone() }),
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
    let operations = log.into_iter().rev().map(|one| Operation {
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
