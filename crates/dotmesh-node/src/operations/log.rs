//! `dm log`: a commit and its ancestors.

use std::collections::BTreeMap;

use dotmesh_api::node::Log;
use dotmesh_model::{DotName, Revision};

use crate::error::NodeError;
use crate::node::Node;

/// The history that leads to a revision, newest first.
pub(crate) async fn log(
    node: &Node,
    name: &DotName,
    revision: Option<&str>,
) -> Result<Log, NodeError> {
    let dot = node.settled(name).await?;
    let history = node.registry.history(&dot.id).await?;
    let head = dot.current()?.head;
    let from = match revision {
        None => head,
        Some(text) => text
            .parse::<Revision>()?
            .resolve(head, &dot.heads(), &history)?,
    };
    let mut commits = Vec::new();
    let mut absent = BTreeMap::new();
    let mut sources = node.registry.sources(&dot.id).await?;
    for id in history.ancestry(from) {
        commits.push(node.registry.decoded(&dot.id, id).await?);
        absent.extend(sources.remove_entry(&id));
    }
    Ok(Log {
        commits,
        branches: dot.heads(),
        current: dot.current,
        absent,
    })
}
