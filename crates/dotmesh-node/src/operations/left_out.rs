//! Finds the files of a commit that a push cannot carry. The search runs right after the commit.

use dotmesh_model::{CommitId, DotName, LeftOut};
use dotmesh_sync::{CheckedBase, Found, find_left_out};

use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// Searches a new commit in the background.
pub(crate) fn look_later(node: &Node, dot: &Dot, id: CommitId) {
    let (node, dot) = (node.clone(), dot.clone());
    tokio::spawn(async move {
        if let Err(error) = found(&node, &dot, id).await {
            // The next push searches again.
            tracing::warn!(dot = %dot.name, commit = %id, %error, "cannot find what a push would leave out");
        }
    });
}

/// The files left out of a commit that was made here. They are searched for once, among the changes since the parent.
pub(crate) async fn found(node: &Node, dot: &Dot, id: CommitId) -> Result<Found, NodeError> {
    // Two searches at once would do the same work twice.
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

/// The parent's result, if the parent was searched here.
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

/// The files that are known to be left out so far.
pub(crate) async fn known(node: &Node, dot: &Dot, id: CommitId) -> Result<LeftOut, NodeError> {
    let known = node.registry.left_out(&dot.id, id).await?;
    Ok(known
        .map(|known| known.found.left_out())
        .unwrap_or_default())
}

/// The same for the head of the current branch.
pub(crate) async fn of_head(node: &Node, name: &DotName) -> Result<LeftOut, NodeError> {
    match node.registry.find_dot(name).await? {
        Some(dot) => known(node, &dot, dot.current()?.head).await,
        None => Ok(LeftOut::default()),
    }
}
