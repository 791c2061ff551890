//! `dm commit`: freezes all subdots of the current branch at one instant. Nothing is stopped or paused.

use dotmesh_api::node::{Committed, CreateCommit};
use dotmesh_model::commit::{RECORD_VERSION, check_metadata_key};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName};

use crate::error::NodeError;
use crate::node::{Node, random_commit_id};
use crate::registry::{Dot, NewCommit};

/// Commits the current branch.
pub(crate) async fn commit(
    node: &Node,
    name: &DotName,
    request: CreateCommit,
) -> Result<Committed, NodeError> {
    if request.message.trim().is_empty() {
        return Err(NodeError::NoMessage);
    }
    for key in request.metadata.keys() {
        check_metadata_key(key).map_err(NodeError::Metadata)?;
    }
    let _lock = node.locks.operation(name).await;
    let dot = node.registry.dot(name).await?;
    let branch = dot.current.clone();
    let id = commit_locked(node, &dot, &branch, request).await?;
    Ok(Committed { id, branch })
}

/// Commits a branch of a dot whose lock the caller holds.
async fn commit_locked(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    request: CreateCommit,
) -> Result<CommitId, NodeError> {
    // A commit does not need Docker; when it cannot be asked, the record goes without images.
    let mut containers = node.engine.running().await.unwrap_or_default();
    containers.retain(|container| container.uses(&dot.name, branch, &dot.current));
    let record = CommitRecord {
        version: RECORD_VERSION,
        id: random_commit_id(),
        parent: dot.branch(branch)?.head,
        branch: branch.clone(),
        author: request.author,
        time: now(),
        message: request.message,
        metadata: request.metadata,
        images: node.engine.images(&containers).await,
        code: request.code,
    };
    let bytes = record.encode();
    node.pool
        .commit(&dot.name, branch, record.id, bytes.clone())
        .await?;
    let commit = NewCommit {
        id: record.id,
        parent: record.parent,
        record: bytes,
        seal: None,
        source: None,
    };
    if let Err(error) = node.registry.add_commit(&dot.id, branch, commit).await {
        // What the caller is told has failed may not come to light at the next start.
        node.pool.take_back(&dot.name, record.id).await?;
        return Err(error);
    }
    Ok(record.id)
}

/// Milliseconds are what people can tell apart, and what every language can read.
fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
