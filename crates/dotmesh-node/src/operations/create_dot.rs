//! `dm init`, and volumes of dots that do not exist yet: creates an empty dot with the branch `master`.
//!
//! New dots belong to the node's own namespace. Dots of other namespaces come from clones only.

use std::collections::BTreeMap;

use dotmesh_model::{BranchName, CommitId, DotName, Namespace};

use crate::error::NodeError;
use crate::node::{Node, random_hex};
use crate::registry::{Branch, Dot, MadeBy};

/// Creates a dot. Fails if it exists.
pub(crate) async fn create_dot(node: &Node, name: &DotName) -> Result<Dot, NodeError> {
    let _lock = node.locks.operation(name, "created").await;
    create_locked(node, name, &BranchName::master()).await
}

/// Finds the dot, or creates it.
pub(crate) async fn find_or_create(node: &Node, name: &DotName) -> Result<Dot, NodeError> {
    // The common case takes no lock, since Docker asks for mounts during a checkout.
    if let Some(dot) = node.registry.find_dot(name).await? {
        return Ok(dot);
    }
    match create_dot(node, name).await {
        Err(NodeError::DotExists { .. }) => node.registry.dot(name).await,
        created => created,
    }
}

/// Like `find_or_create`, for a volume that Docker asks for. Records that Docker made the dot.
pub(crate) async fn find_or_create_for_docker(
    node: &Node,
    name: &DotName,
) -> Result<(), NodeError> {
    if node.registry.find_dot(name).await?.is_none() {
        let dot = find_or_create(node, name).await?;
        node.registry.note_made_by(&dot.id, MadeBy::Docker).await?;
    }
    Ok(())
}

/// Creates a dot whose lock the caller holds.
pub(crate) async fn create_locked(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
) -> Result<Dot, NodeError> {
    if node.registry.find_dot(name).await?.is_some() {
        return Err(NodeError::DotExists { dot: name.clone() });
    }
    if name.namespace != Namespace::default() {
        return Err(NodeError::OtherNamespace { dot: name.clone() });
    }
    let first = Branch {
        head: CommitId::ROOT,
        origin: None,
    };
    let dot = Dot {
        id: random_hex::<16>(),
        name: name.clone(),
        current: branch.clone(),
        branches: BTreeMap::from([(branch.clone(), first)]),
    };
    node.pool.create_dot(name, &dot.to_file()).await?;
    node.registry.put_dot(&dot).await?;
    Ok(dot)
}
