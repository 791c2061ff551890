//! What a commit has and a push cannot carry: looked for right after the commit, and told from then on.

use dotmesh_model::{CommitId, DotName, LeftOut};
use dotmesh_sync::{CheckedBase, Found, find_left_out};

use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// Looks through a new commit in the background.
pub(crate) fn look_later(node: &Node, dot: &Dot, id: CommitId) {
    let (node, dot) = (node.clone(), dot.clone());
    tokio::spawn(async move {
        if let Err(error) = found(&node, &dot, id).await {
            // The next push looks again.
            tracing::warn!(dot = %dot.name, commit = %id, %error, "what a push would leave out is not known");
        }
    });
}

/// What is left out of a commit that was made here. It is looked for once, by what changed since the parent.
pub(crate) async fn found(node: &Node, dot: &Dot, id: CommitId) -> Result<Found, NodeError> {
    // Two at a time would only look for the same.
    let _searching = node.searching.lock().await;
    if let Some(known) = node.registry.left_out(&dot.id, id).await? {
        return Ok(known.found);
    }
    let data = node.pool.commit_data(&dot.name, id);
    let found = match base(node, dot, id).await? {
        Some(base) => match find_left_out(&data, Some(base)).await {
            Err(error) if error.is_about_base() => find_left_out(&data, None).await?,
            found => found?,
        },
        None => find_left_out(&data, None).await?,
    };
    node.registry.set_left_out(&dot.id, id, &found).await?;
    Ok(found)
}

/// The parent, if it was looked through here.
async fn base(node: &Node, dot: &Dot, id: CommitId) -> Result<Option<CheckedBase>, NodeError> {
    let history = node.registry.history(&dot.id).await?;
    let parent = history.parent(id).unwrap_or(CommitId::ROOT);
    let known = node.registry.left_out(&dot.id, parent).await?;
    let Some(known) = known.filter(|known| !known.told && known.found.is_whole()) else {
        return Ok(None);
    };
    let found = known.found;
    let comparing = node.pool.difference(&dot.name, parent, id, found.has_links);
    Ok(match comparing.await {
        Ok(changes) => Some(CheckedBase {
            found,
            changes: changes.into(),
        }),
        Err(error) => {
            tracing::warn!(dot = %dot.name, commit = %id, %error, "a commit cannot be compared with its parent");
            None
        }
    })
}

/// What is known so far.
pub(crate) async fn known(node: &Node, dot: &Dot, id: CommitId) -> Result<LeftOut, NodeError> {
    let known = node.registry.left_out(&dot.id, id).await?;
    Ok(known
        .map(|known| known.found.left_out())
        .unwrap_or_default())
}

/// The same for the head of the branch that is checked out.
pub(crate) async fn of_head(node: &Node, name: &DotName) -> Result<LeftOut, NodeError> {
    match node.registry.find_dot(name).await? {
        Some(dot) => known(node, &dot, dot.current()?.head).await,
        None => Ok(LeftOut::default()),
    }
}
