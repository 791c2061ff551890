//! Repairs the registry at start. The pool is authoritative, and a crash may have come between writing the two.
//!
//! Only differences are read. With an empty registry, this restores all dots, branches and commits.

use std::collections::{BTreeMap, HashMap, HashSet};

use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, VolumeName};
use dotmesh_pool::{DamagedDot, Dots, StoredDot};

use crate::error::NodeError;
use crate::hub_history::{HubCommit, HubHistory};
use crate::node::Node;
use crate::registry::{Branch, Dot, NewCommit};

/// Makes the registry match the pool.
pub(crate) async fn reconcile(node: &Node) -> Result<(), NodeError> {
    let Dots {
        whole: stored,
        mut damaged,
    } = node.pool.dots().await?;
    let ids: HashSet<&str> = stored.iter().map(|dot| dot.file.id.as_str()).collect();
    let rebuilding = node.registry.dots().await?.is_empty();
    for dot in node.registry.dots().await? {
        // The registry's entry of a damaged dot helps to repair it.
        let is_damaged = damaged.iter().any(|damaged| damaged.name == dot.name);
        if !is_damaged && !ids.contains(dot.id.as_str()) {
            node.registry.delete_dot(&dot.id).await?;
        }
    }
    for dot in &stored {
        let mut done = reconcile_dot(node, dot).await;
        if rebuilding && done.is_ok() {
            done = restore_volumes(node, dot).await;
        }
        match done {
            // One damaged dot must not make the others unavailable.
            Err(NodeError::Pool(error)) => {
                let (name, problem) = (dot.name.clone(), error.with_causes());
                tracing::error!(dot = %name, problem, "cannot read a dot");
                damaged.push(DamagedDot { name, problem });
            }
            done => done?,
        }
    }
    node.leftovers.set_damaged(damaged);
    Ok(())
}

/// Updates the registry with the branches of a dot as they are in the pool.
pub(crate) async fn reread(node: &Node, name: &DotName) -> Result<Dot, NodeError> {
    let stored = node.pool.stored_dot(name).await?;
    let stored = stored.ok_or_else(|| NodeError::NoDot { dot: name.clone() })?;
    let dot = Dot {
        id: stored.file.id.clone(),
        name: name.clone(),
        current: stored.file.current.clone(),
        branches: branches(&stored),
    };
    node.registry.put_dot(&dot).await?;
    Ok(dot)
}

fn branches(stored: &StoredDot) -> BTreeMap<BranchName, Branch> {
    let branch = |(name, head): &(BranchName, CommitId)| {
        let origin = stored.file.origins.get(name).cloned();
        (
            name.clone(),
            Branch {
                head: *head,
                origin,
            },
        )
    };
    stored.branches.iter().map(branch).collect()
}

/// Updates the registry with everything of a dot.
pub(crate) async fn reconcile_dot(node: &Node, stored: &StoredDot) -> Result<(), NodeError> {
    let mut branches = branches(stored);
    let mut current = stored.file.current.clone();
    if !branches.contains_key(&current) {
        // Only manual deletion can cause this. Any other branch keeps the dot usable.
        tracing::error!(dot = %stored.name, branch = %current, "the current branch has no working copy");
        let first = branches.keys().next().cloned();
        match first {
            Some(first) => current = first,
            None => {
                let start = dotmesh_pool::Start::Commit(CommitId::ROOT);
                node.pool
                    .create_branch(&stored.name, &current, start)
                    .await?;
                branches.insert(
                    current.clone(),
                    Branch {
                        head: CommitId::ROOT,
                        origin: None,
                    },
                );
            }
        }
    }
    let dot = Dot {
        id: stored.file.id.clone(),
        name: stored.name.clone(),
        current,
        branches,
    };
    node.registry.put_dot(&dot).await?;
    for branch in dot.branches.keys() {
        node.pool.forget_new_subdots(&dot.name, branch).await?;
        node.pool.forget_restores(&dot.name, branch).await?;
    }
    node.pool.tidy_stashes(&dot.name).await?;
    reconcile_commits(node, &dot).await
}

async fn reconcile_commits(node: &Node, dot: &Dot) -> Result<(), NodeError> {
    let registry = &node.registry;
    let history = registry.history(&dot.id).await?;
    let here: HashSet<CommitId> = node.pool.commits(&dot.name).await?.into_iter().collect();
    let told = HubHistory::load(node, &dot.name).await?;
    let is_gone = |id: &CommitId| !here.contains(id) && told.get(*id).is_none();
    let gone: Vec<CommitId> = history.ids().filter(is_gone).collect();
    registry.forget_commits(&dot.id, &gone).await?;
    let sources = registry.sources(&dot.id).await?;
    for id in sources.keys().filter(|id| here.contains(id)) {
        registry.set_source(&dot.id, *id, None).await?;
    }

    let mut found: HashMap<CommitId, NewCommit> = HashMap::new();
    for id in here.iter().copied().filter(|id| !history.contains(*id)) {
        let bytes = match node.pool.record(&dot.name, id).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(dot = %dot.name, commit = %id, %error, "cannot read a commit's record");
                continue;
            }
        };
        match CommitRecord::decode(&bytes) {
            Ok(record) if record.id == id => {
                let new = NewCommit {
                    id,
                    parent: record.parent,
                    record: bytes,
                    seal: told.get(id).map(HubCommit::seal),
                    source: None,
                    left_out: told
                        .get(id)
                        .and_then(|commit| commit.sealed.left_out.clone()),
                };
                found.insert(id, new);
            }
            _ => {
                tracing::error!(dot = %dot.name, commit = %id, "a commit's record is damaged");
            }
        }
    }
    for id in told.ids().filter(|id| !here.contains(id)) {
        let Some(commit) = told.get(id) else { continue };
        if !history.contains(id) {
            found.insert(id, commit.absent()?);
        } else if !sources.contains_key(&id) {
            let source = Some(&commit.source);
            registry.set_source(&dot.id, id, source).await?;
        }
    }
    registry.add_commits(&dot.id, &parents_first(found)).await
}

fn parents_first(mut found: HashMap<CommitId, NewCommit>) -> Vec<NewCommit> {
    let mut sorted = Vec::with_capacity(found.len());
    while let Some(id) = found.keys().next().copied() {
        let mut line = Vec::new();
        let mut next = found.remove(&id);
        while let Some(commit) = next {
            next = found.remove(&commit.parent);
            line.push(commit);
        }
        sorted.extend(line.into_iter().rev());
    }
    sorted
}

/// Restores volumes that Docker still knows. Those that containers use are found in `recover.rs`. The others are
/// derived from the dots' folders.
async fn restore_volumes(node: &Node, dot: &StoredDot) -> Result<(), NodeError> {
    for subdot in node.pool.subdots(&dot.name, &dot.file.current).await? {
        let folder = dotmesh_model::volume::Folder::Subdot(subdot);
        let volume = VolumeName {
            dot: dot.name.clone(),
            pinned: None,
            folder,
        };
        node.registry.add_volume(&volume.to_string()).await?;
    }
    Ok(())
}
