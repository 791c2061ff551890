//! `dm tag`: names for single commits. Tags are stored in the pool only.

use std::collections::BTreeMap;

use dotmesh_api::node::{MakeTag, Tag};
use dotmesh_model::{BranchName, CommitId, DotName};
use dotmesh_pool::{NewStep, PoolError, StoredTag};

use super::revision::Revisions;
use super::undo;
use crate::error::NodeError;
use crate::node::Node;
use crate::view::At;

/// The tags of a dot, sorted by name.
pub(crate) async fn list(node: &Node, name: &DotName) -> Result<Vec<Tag>, NodeError> {
    node.registry.dot(name).await?;
    let tags = node.pool.tags(name).await?.tags.into_iter();
    Ok(tags.map(|(name, tag)| told(name, tag)).collect())
}

/// Makes a tag, which never moves.
pub(crate) async fn make(
    node: &Node,
    at: impl Into<At>,
    request: MakeTag,
) -> Result<Tag, NodeError> {
    let at = at.into();
    let name = &at.dot;
    request.name.check_new()?;
    let _lock = node.locks.operation(name, "tagged").await;
    let dot = node.view(&at).await?;
    let tag = request.name;
    // A name is either a branch or a tag.
    if dot.branches.contains_key(&tag) {
        return Err(NodeError::BranchExists { branch: tag });
    }
    let file = node.pool.tags(name).await?;
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
    let what = format!("tag {tag} at {}", commit.short());
    let step = NewStep::Tag {
        name: tag.clone(),
        before: None,
        after: Some(made.clone()),
    };
    undo::log_and_make(node, name, what, step).await?;
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
    let what = format!("deletion of tag {tag} at {}", deleted.commit.short());
    let step = NewStep::Tag {
        name: tag.clone(),
        before: Some(deleted.clone()),
        after: None,
    };
    undo::log_and_make(node, name, what, step).await?;
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
