//! `dm up`: makes a fork's branch, chooses its ports, and remembers it.

use dotmesh_api::node::{BranchStart, Fork, MakeFork};
use dotmesh_model::DotName;
use dotmesh_pool::{NewStep, StoredFork};
use jiff::SignedDuration;

use super::ports::{self, Taken};
use super::{ForkError, of, one};
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::{checkout, reconcile, undo};
use crate::view::{At, View};

/// Makes a fork, or updates it.
pub(crate) async fn make(
    node: &Node,
    at: impl Into<At>,
    request: MakeFork,
) -> Result<Fork, NodeError> {
    let At { dot: name, branch } = &at.into();
    let _held = node.locks.on_branch(name, &request.branch, "forked").await;
    let dot = node.registry.dot(name).await?;
    if dot.current == request.branch {
        let branch = request.branch;
        return Err(ForkError::CheckedOut { branch }.into());
    }
    let mut made = None;
    if !dot.branches.contains_key(&request.branch) {
        let start = match &request.from {
            Some(revision) => BranchStart::Commit(revision.clone()),
            None => BranchStart::WorkingCopy,
        };
        let view = View::new(dot, branch.clone())?;
        made = Some(create(node, view, &request, start).await?);
    }
    if let Err(error) = remember(node, name, &request).await {
        if let Some(number) = made {
            take_back(node, name, number).await?;
        }
        return Err(error);
    }
    one(node, name, &request.branch).await
}

/// Takes back the operation that made the branch of a fork.
async fn take_back(node: &Node, name: &DotName, number: u64) -> Result<(), NodeError> {
    let _changing = node.locks.changing(name).await;
    node.pool.retract(name, number).await?;
    reconcile::reread(node, name).await.map(drop)
}

/// Makes the branch from a commit, or from the working copy at one instant, while containers write to it. Returns the
/// operation's number in the dot's log.
async fn create(
    node: &Node,
    view: View,
    request: &MakeFork,
    start: BranchStart,
) -> Result<u64, NodeError> {
    request.branch.check_new()?;
    let name = view.name.clone();
    let (start, branch) = checkout::plan(node, &view, start).await?;
    // As for a commit: what was written before is in the snapshot.
    node.pool.flush().await?;
    let _changing = node.locks.changing(&name).await;
    // Forks of the same dot may be made at the same time.
    let mut dot = node.registry.dot(&name).await?;
    dot.branches.insert(request.branch.clone(), branch);
    let steps = vec![
        NewStep::Create {
            branch: request.branch.clone(),
            start,
        },
        NewStep::Describe(dot.to_file()),
    ];
    let what = format!("fork {} of branch {}", request.branch, view.here);
    let number = node.pool.begin_operation(&name, what, steps).await?;
    let made = async {
        node.pool.carry_out(&name, number).await?;
        let put = node.registry.put_dot(&dot).await;
        if put.is_err() {
            node.pool.roll_back(&name, number).await?;
        }
        put
    };
    let made = made.await;
    undo::settle(node, &name).await;
    made.map(|()| number)
}

/// Writes the fork into the dot's list, with its ports.
async fn remember(node: &Node, name: &DotName, request: &MakeFork) -> Result<(), NodeError> {
    // Two forks must not choose the same port.
    let _choosing = node.locks.choosing().await;
    let mut taken = Taken::new();
    for dot in node.registry.dots().await? {
        for (branch, fork) in of(node, &dot.name).await?.forks {
            if dot.name == *name && branch == request.branch {
                continue;
            }
            if fork.project == request.project {
                return Err(ForkError::ProjectTaken {
                    project: fork.project,
                    dot: dot.name,
                    branch,
                }
                .into());
            }
            let owner = (dot.name.clone(), branch);
            taken.extend(fork.ports.iter().map(|port| (port.port, owner.clone())));
        }
    }
    let mut file = node.pool.forks(name).await?;
    let before = file.forks.remove(&request.branch);
    if let Some(StoredFork {
        folder: Some(folder),
        ..
    }) = &before
        && request.folder.as_ref().is_some_and(|here| here != folder)
        && folder.exists()
    {
        return Err(ForkError::Elsewhere {
            dot: name.clone(),
            branch: request.branch.clone(),
            folder: folder.clone(),
        }
        .into());
    }
    let had = before.as_ref().map_or(&[][..], |before| &before.ports);
    let fork = (name, &request.branch);
    let ports = ports::choose(fork, &request.ports, had, &taken, ports::is_free)?;
    let now = crate::node::now();
    let expires = match request.lifetime {
        Some(seconds) => {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            now.checked_add(SignedDuration::from_secs(seconds)).ok()
        }
        None => {
            let expires = before.as_ref().and_then(|before| before.expires);
            expires.filter(|at| *at > now)
        }
    };
    let fork = StoredFork {
        project: request.project.clone(),
        folder: match (&request.folder, &before) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(before)) => before.folder.clone(),
            (None, None) => None,
        },
        shares_folder: request.shares_folder,
        ports,
        made: before.as_ref().map_or(now, |before| before.made),
        expires,
        config: match &request.config {
            Some(config) => Some(config.clone()),
            None => before.and_then(|before| before.config),
        },
    };
    file.forks.insert(request.branch.clone(), fork);
    Ok(node.pool.write_forks(name, &file).await?)
}
