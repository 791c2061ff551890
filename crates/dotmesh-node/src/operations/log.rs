//! `dm log`: a commit and its ancestors.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_api::node::Log;
use dotmesh_model::left_out::LEFT_OUT_IN_HISTORY;
use dotmesh_model::{CommitId, DotName, Revision};

use super::left_out;
use crate::error::NodeError;
use crate::hub_history::HubHistory;
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
    let (mut absent, mut lacking) = (BTreeMap::new(), BTreeMap::new());
    let mut sources = node.registry.sources(&dot.id).await?;
    for id in history.ancestry(from) {
        commits.push(node.registry.decoded(&dot.id, id).await?);
        absent.extend(sources.remove_entry(&id));
        let lacks = left_out::known(node, &dot, id).await?;
        if !lacks.is_empty() {
            lacking.insert(id, lacks.first(LEFT_OUT_IN_HISTORY));
        }
    }
    let mut without_data = BTreeSet::new();
    if !absent.is_empty() {
        let told = HubHistory::load(node, name).await?;
        let lacks = |id: &&CommitId| told.get(**id).is_some_and(|told| told.sealed.without_data);
        without_data.extend(absent.keys().filter(lacks).copied());
    }
    Ok(Log {
        commits,
        branches: dot.heads(),
        current: dot.current,
        absent,
        without_data,
        left_out: lacking,
    })
}
