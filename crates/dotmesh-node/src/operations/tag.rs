//! `dm tag`: names for single commits. Tags are stored in the pool only.

use std::collections::BTreeMap;

use dotmesh_api::node::{MakeTag, Tag};
use dotmesh_model::{BranchName, CommitId, DotName};
use dotmesh_pool::{PoolError, StoredTag};

use super::revision::Revisions;
use crate::error::NodeError;
use crate::node::Node;

/// The tags of a dot, sorted by name.
pub(crate) async fn list(node: &Node, name: &DotName) -> Result<Vec<Tag>, NodeError> {
    node.registry.dot(name).await?;
    let tags = node.pool.tags(name).await?.tags.into_iter();
    Ok(tags.map(|(name, tag)| told(name, tag)).collect())
}

/// Makes a tag, which never moves.
pub(crate) async fn make(node: &Node, name: &DotName, request: MakeTag) -> Result<Tag, NodeError> {
    request.name.check_new()?;
    let _lock = node.locks.operation(name, "tagged").await;
    let dot = node.registry.dot(name).await?;
    let tag = request.name;
    // A name is either a branch or a tag.
    if dot.branches.contains_key(&tag) {
        return Err(NodeError::BranchExists { branch: tag });
    }
    let mut file = node.pool.tags(name).await?;
    if let Some(known) = file.tags.get(&tag) {
        return Err(NodeError::TagExists {
            commit: known.commit,
            tag,
        });
    }
    let commit = Revisions::of(node, &dot)
        .await?
        .find_text(&request.revision)?;
    if commit == CommitId::ROOT {
        return Err(NodeError::NothingToTag);
    }
    let made = StoredTag {
        commit,
        message: request.message.trim().to_owned(),
        time: crate::node::now(),
    };
    file.tags.insert(tag.clone(), made.clone());
    node.pool.write_tags(name, &file).await?;
    Ok(told(tag, made))
}

/// Deletes a tag. Its commit stays.
pub(crate) async fn delete(
    node: &Node,
    name: &DotName,
    tag: &BranchName,
) -> Result<Tag, NodeError> {
    let _lock = node.locks.operation(name, "untagged").await;
    node.registry.dot(name).await?;
    let mut file = node.pool.tags(name).await?;
    let Some(deleted) = file.tags.remove(tag) else {
        return Err(NodeError::NoTag { tag: tag.clone() });
    };
    node.pool.write_tags(name, &file).await?;
    Ok(told(tag.clone(), deleted))
}

/// The tagged commits, by tag. If the file is damaged, branches and ids must still work.
pub(crate) async fn commits(
    node: &Node,
    name: &DotName,
) -> Result<BTreeMap<BranchName, CommitId>, NodeError> {
    let tags = match node.pool.tags(name).await {
        Ok(file) => file.tags,
        Err(error @ PoolError::Damaged { .. }) => {
            tracing::warn!(dot = %name, %error, "cannot read the tags of a dot");
            BTreeMap::new()
        }
        Err(error) => return Err(error.into()),
    };
    let tags = tags.into_iter();
    Ok(tags.map(|(name, tag)| (name, tag.commit)).collect())
}

fn told(name: BranchName, tag: StoredTag) -> Tag {
    Tag {
        name,
        commit: tag.commit,
        message: tag.message,
        time: tag.time,
    }
}
