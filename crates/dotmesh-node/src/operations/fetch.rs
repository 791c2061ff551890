//! Gets the data of commits that came without it: an older state is fetched when it is wanted.

use std::collections::HashMap;

use dotmesh_api::node::{Fetch, TransferOutcome};
use dotmesh_model::{CommitId, DotName, Revision};

use super::receive::Receiver;
use super::transfer::Connection;
use crate::error::NodeError;
use crate::hub_history::{HubCommit, HubHistory};

/// Fetches the data of a commit, or of it and all that lead to it. What is here already is passed over.
pub(crate) async fn fetch(
    connection: &Connection,
    name: &DotName,
    request: &Fetch,
) -> Result<TransferOutcome, NodeError> {
    let node = &connection.node;
    let dot = node.settled(name).await?;
    let history = node.registry.history(&dot.id).await?;
    let revision: Revision = request.revision.parse()?;
    let commit = revision.resolve(dot.current()?.head, &dot.heads(), &history)?;
    let mut absent = node.registry.sources(&dot.id).await?;
    let mut here: HashMap<_, _> = roots_here(connection, &dot.id).await?;
    let mut wanted: Vec<CommitId> = match request.ancestors {
        true => history.ancestry(commit).collect(),
        false => vec![commit],
    };
    wanted.reverse();
    let told = HubHistory::load(node, name).await?;
    // They may come from several dots of the hub.
    while let Some(remote) = wanted.iter().find_map(|id| {
        let source = absent.get(id)?;
        (source.hub == connection.hub_name()).then(|| source.dot.clone())
    }) {
        let from_there: Vec<(CommitId, HubCommit)> = wanted
            .iter()
            .filter(|id| absent.get(id).is_some_and(|source| source.dot == remote))
            .filter_map(|id| Some((*id, told.get(*id)?.clone())))
            .collect();
        absent.retain(|_, source| source.dot != remote);
        let mut receiver = Receiver::new(connection, name, &remote, history.clone(), here.clone());
        receiver.queue(from_there);
        while let Some((id, commit)) = receiver.next().await? {
            node.registry.set_source(&dot.id, id, None).await?;
            here.insert(id, commit.sealed.root);
        }
    }
    Ok(TransferOutcome::default())
}

/// The commits of a dot that are here and sealed, with the roots of their trees.
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
