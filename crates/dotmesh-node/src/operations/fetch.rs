//! Fetches the data of commits that were received without it, when it is needed.

use std::collections::{HashMap, HashSet};

use dotmesh_api::ErrorCode;
use dotmesh_api::identity::Meant;
use dotmesh_api::node::{Fetch, Source, TransferOutcome};
use dotmesh_model::{CommitId, DotIdentity, DotName};
use dotmesh_sync::EarlyObjects;

use super::receive::Receiver;
use super::revision::Revisions;
use super::transfer::Connection;
use crate::error::NodeError;
use crate::hub_history::{HubCommit, HubHistory};
use crate::view::At;

/// Fetches the data of a commit, or also of its ancestors. Skips what is here, and ancestors whose data the hub does
/// not have.
pub(crate) async fn fetch(
    connection: &Connection,
    name: &DotName,
    request: &Fetch,
) -> Result<TransferOutcome, NodeError> {
    let node = &connection.node;
    let at = At {
        dot: name.clone(),
        branch: request.branch.clone(),
    };
    let dot = node.settled_view(&at).await?;
    let revisions = Revisions::of(node, &dot).await?;
    let commit = revisions.find_text(&request.revision)?;
    let history = revisions.history;
    let mut absent = node.registry.sources(&dot.id).await?;
    let mut here: HashMap<_, _> = roots_here(connection, &dot.id).await?;
    let mut wanted: Vec<CommitId> = match request.ancestors {
        true => history.ancestry(commit).collect(),
        false => vec![commit],
    };
    wanted.reverse();
    let told = HubHistory::load(node, name).await?;
    absent.retain(|_, source| source.hub == connection.hub_name());
    let mut nowhere = HashSet::new();
    // The data may be in several dots of the hub.
    while let Some(origin) = wanted
        .iter()
        .find_map(|id| Some(origin(&told, *id, absent.get(id)?)))
    {
        let from_there: Vec<(CommitId, HubCommit)> = wanted
            .iter()
            .filter(|id| {
                let source = absent.get(id);
                source.is_some_and(|source| self::origin(&told, **id, source) == origin)
            })
            .filter_map(|id| Some((*id, told.get(*id)?.clone())))
            .collect();
        absent.retain(|id, source| self::origin(&told, *id, source) != origin);
        let (identity, remote) = origin;
        let another = |error| match error {
            NodeError::Transfer(body) if body.code == ErrorCode::AnotherDot => {
                NodeError::AnotherDot {
                    hub: connection.hub_name(),
                    dot: remote.full(),
                    local: name.clone(),
                    now: body.moved_to.map(Box::new),
                }
            }
            error => error,
        };
        let there = Connection {
            hub: connection.hub.about(identity.map(Meant::Known)),
            ..connection.clone()
        };
        let without = there.without_data(&remote).await.map_err(another)?;
        let lacks = |id: &CommitId| without.contains(id);
        nowhere.extend(from_there.iter().map(|(id, _)| *id).filter(lacks));
        if nowhere.contains(&commit) {
            let hub = connection.hub_name();
            return Err(NodeError::Nowhere { commit, hub });
        }
        let known = (history.clone(), here.clone());
        let early = EarlyObjects::default();
        let mut receiver = Receiver::new(&there, name, &remote, known.0, known.1, early);
        receiver.queue(from_there.into_iter().filter(|(id, _)| !lacks(id)));
        while let Some((id, commit)) = receiver.next().await.map_err(another)? {
            node.registry.set_source(&dot.id, id, None).await?;
            here.insert(id, commit.sealed.root);
        }
    }
    Ok(TransferOutcome {
        without_data: nowhere.len() as u64,
        ..TransferOutcome::default()
    })
}

/// The hub's dot that has a commit's data, and the last known name of that dot.
fn origin(told: &HubHistory, id: CommitId, source: &Source) -> (Option<DotIdentity>, DotName) {
    let identity = told.get(id).and_then(|commit| commit.identity);
    let identity = identity.or_else(|| told.identity(&source.hub, &source.dot));
    let name = identity.and_then(|identity| told.name(&source.hub, identity));
    (identity, name.unwrap_or(&source.dot).clone())
}

/// The sealed commits of a dot whose data is here, with the roots of their trees.
pub(crate) async fn roots_here(
    connection: &Connection,
    dot: &str,
) -> Result<HashMap<CommitId, dotmesh_model::ObjectHash>, NodeError> {
    let registry = &connection.node.registry;
    let absent = registry.sources(dot).await?;
    let seals = registry.seals(dot).await?;
    let here = seals.into_iter().filter(|(id, _)| !absent.contains_key(id));
    Ok(here.map(|(id, seal)| (id, seal.root)).collect())
}
