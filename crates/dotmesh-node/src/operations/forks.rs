//! Forks: copies of an app that run side by side. Each is pinned to a branch of its own, has a Compose project of its own,
//! and ports of its own.
//!
//! `dm up` runs Compose. The node makes the branch, chooses the ports, and remembers which fork runs from which folder.
//! What it remembers is in the pool, beside the branches.

use std::collections::BTreeMap;
use std::path::Path;

use dotmesh_api::node::{Fork, ForkContainer, ForkHere, ForkPort, ForkState, ForksHere};
use dotmesh_model::{BranchName, DotName};
use dotmesh_pool::{ForksFile, PoolError, StoredFork, StoredPort};

use super::status;
use crate::engine::{Container, Health, Inspected};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

mod delete;
mod error;
mod expiry;
mod make;
mod ports;
mod stop;

pub(crate) use delete::delete;
pub(crate) use error::ForkError;
#[cfg(test)]
pub(crate) use expiry::stop_expired;
pub(crate) use expiry::watch;
pub(crate) use make::make;
pub(crate) use stop::stop;

/// The label of a fork's containers. Its value is [`label`].
pub(crate) const FORK: &str = "dotmesh.fork";

const SERVICE: &str = "com.docker.compose.service";
const PROJECT: &str = "com.docker.compose.project";
const WORKING_DIR: &str = "com.docker.compose.project.working_dir";

/// The label's value: `admin/shop_app@feature~2flogin`.
pub(crate) fn label(dot: &DotName, branch: &BranchName) -> String {
    format!("{}@{}", dot.full(), branch.spelling())
}

/// Whether a container belongs to the fork.
pub(crate) fn is_of(container: &Container, dot: &DotName, branch: &BranchName) -> bool {
    container.label(FORK) == Some(label(dot, branch).as_str())
}

/// All forks, sorted by dot and branch.
pub(crate) async fn list(node: &Node) -> Result<Vec<Fork>, NodeError> {
    let containers = inspected(node).await;
    let mut forks = Vec::new();
    for dot in node.registry.dots().await? {
        for (branch, stored) in of(node, &dot.name).await?.forks {
            let told = told(node, &dot, branch, stored, &containers).await?;
            forks.extend(told.map(|fork| Fork {
                config: None,
                ..fork
            }));
        }
    }
    forks.sort_by_cached_key(|fork| (fork.dot.to_string(), fork.branch.clone()));
    Ok(forks)
}

/// One fork.
pub(crate) async fn one(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
) -> Result<Fork, NodeError> {
    let no_fork = || ForkError::NoFork {
        dot: name.clone(),
        branch: branch.clone(),
    };
    let dot = node.registry.dot(name).await?;
    let stored = node.pool.forks(name).await?.forks.remove(branch);
    let stored = stored.ok_or_else(no_fork)?;
    let containers = inspected(node).await;
    let told = told(node, &dot, branch.clone(), stored, &containers).await?;
    Ok(told.ok_or_else(no_fork)?)
}

/// The forks of a folder, or of its nearest parent that has some, without those that share the app's own folder.
pub(crate) async fn here(node: &Node, folder: &Path) -> Result<ForksHere, NodeError> {
    let mut found: BTreeMap<_, Vec<ForkHere>> = BTreeMap::new();
    for dot in node.registry.dots().await? {
        for (branch, stored) in of(node, &dot.name).await?.forks {
            let Some(folder) = stored.folder.filter(|_| !stored.shares_folder) else {
                continue;
            };
            found.entry(folder).or_default().push(ForkHere {
                dot: dot.name.clone(),
                branch,
                project: stored.project,
            });
        }
    }
    let mut around = folder.ancestors();
    let Some((folder, forks)) =
        around.find_map(|folder| Some((folder.to_owned(), found.remove(folder)?)))
    else {
        return Ok(ForksHere::default());
    };
    // If Docker is down, nothing runs.
    let running = node.docker.list().await.unwrap_or_default();
    let beside = running.iter().filter(|one| {
        one.state.is_active()
            && one.label(FORK).is_none()
            && one.label(WORKING_DIR).is_some_and(|at| {
                let real = std::fs::canonicalize(at);
                real.is_ok_and(|real| real == folder)
            })
    });
    let mut beside: Vec<String> = beside
        .filter_map(|one| one.label(PROJECT).map(str::to_owned))
        .collect();
    beside.sort();
    beside.dedup();
    Ok(ForksHere {
        folder: Some(folder),
        forks,
        beside,
    })
}

/// Forgets the fork of a branch that was deleted.
pub(crate) async fn forget(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
) -> Result<(), NodeError> {
    let _choosing = node.locks.choosing().await;
    let mut file = of(node, name).await?;
    match file.forks.remove(branch) {
        Some(_) => Ok(node.pool.write_forks(name, &file).await?),
        None => Ok(()),
    }
}

/// Gives the fork of a branch the branch's new name. It has no containers, since they name the branch.
pub(crate) async fn rename(
    node: &Node,
    name: &DotName,
    from: &BranchName,
    to: &BranchName,
) -> Result<(), NodeError> {
    let _choosing = node.locks.choosing().await;
    let mut file = of(node, name).await?;
    let Some(fork) = file.forks.remove(from) else {
        return Ok(());
    };
    // Its configuration names the old branch. The next `dm up` writes a new one.
    let fork = StoredFork {
        config: None,
        ..fork
    };
    file.forks.insert(to.clone(), fork);
    Ok(node.pool.write_forks(name, &file).await?)
}

/// Fails if a fork has containers on the branch, so that the app itself must not run on it.
pub(crate) async fn refuse_forked(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
) -> Result<(), NodeError> {
    let Some(fork) = of(node, name).await?.forks.remove(branch) else {
        return Ok(());
    };
    let containers = node.docker.list().await?;
    if !containers.iter().any(|one| is_of(one, name, branch)) {
        return Ok(());
    }
    let (branch, folder) = (branch.clone(), fork.folder);
    Err(ForkError::Forked { branch, folder }.into())
}

/// The forks of a dot. If the file is damaged, everything else must still work.
async fn of(node: &Node, dot: &DotName) -> Result<ForksFile, NodeError> {
    match node.pool.forks(dot).await {
        Err(error @ PoolError::Damaged { .. }) => {
            tracing::warn!(%dot, %error, "cannot read the forks of a dot");
            Ok(ForksFile::default())
        }
        read => Ok(read?),
    }
}

/// The containers of all forks. None if Docker is down.
async fn inspected(node: &Node) -> Vec<Inspected> {
    let mut containers = node.docker.list().await.unwrap_or_default();
    containers.retain(|one| one.label(FORK).is_some());
    node.docker.inspect(&containers).await.unwrap_or_default()
}

/// A fork as users see it. `None` if its branch is gone.
async fn told(
    node: &Node,
    dot: &Dot,
    branch: BranchName,
    stored: StoredFork,
    containers: &[Inspected],
) -> Result<Option<Fork>, NodeError> {
    let Some(known) = dot.branches.get(&branch) else {
        return Ok(None);
    };
    let base = known.origin.as_ref().map_or(known.head, |one| one.commit);
    let usage = node.pool.usage(&dot.name, &branch, base).await;
    let size = match usage {
        Ok(usage) => usage.dirty,
        // The data of the commit where it began may not be here.
        Err(_) => {
            let usage = node.pool.usage(&dot.name, &branch, known.head).await;
            usage.map_or(0, |usage| usage.dirty)
        }
    };
    let own = containers
        .iter()
        .filter(|one| is_of(one, &dot.name, &branch));
    let own: Vec<&Inspected> = own.collect();
    let is_expired = stored.expires.is_some_and(|at| at <= crate::node::now());
    let mut containers: Vec<ForkContainer> = own.iter().map(|one| container(one)).collect();
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Some(Fork {
        dot: dot.name.clone(),
        head: known.head,
        state: match is_expired {
            true => ForkState::Expired,
            false => state(&own),
        },
        branch,
        project: stored.project,
        folder: stored.folder,
        containers,
        ports: stored.ports.into_iter().map(port).collect(),
        made: stored.made,
        expires: stored.expires,
        size,
        config: stored.config,
    }))
}

fn port(stored: StoredPort) -> ForkPort {
    ForkPort {
        service: stored.service,
        target: stored.target,
        protocol: stored.protocol,
        published: stored.published,
        port: stored.port,
    }
}

fn state(own: &[&Inspected]) -> ForkState {
    let is = |health: Health| move |one: &&Inspected| one.health == Some(health);
    let active = || own.iter().filter(|one| one.state.is_active()).copied();
    if active().next().is_none() {
        ForkState::Stopped
    } else if active().any(|one| is(Health::Unhealthy)(&one))
        || own
            .iter()
            .any(|one| !one.state.is_active() && one.exit_code != 0)
    {
        ForkState::Failing
    } else if active().any(|one| is(Health::Starting)(&one)) {
        ForkState::Starting
    } else {
        ForkState::Running
    }
}

fn container(one: &Inspected) -> ForkContainer {
    let is_active = one.state.is_active();
    let health = one.health.filter(|_| is_active);
    ForkContainer {
        name: one.name.clone(),
        service: one.label(SERVICE).unwrap_or_default().to_owned(),
        state: status::state(one.state).to_owned(),
        health: health.map(|health| {
            match health {
                Health::Starting => "starting",
                Health::Healthy => "healthy",
                Health::Unhealthy => "unhealthy",
            }
            .to_owned()
        }),
        exit_code: (!is_active).then_some(one.exit_code),
    }
}
