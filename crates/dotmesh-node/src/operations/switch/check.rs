//! Compares the containers' real mounts, as the kernel reports them, with what their volumes should show.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, DotName, SubdotName};
use dotmesh_pool::{FolderId, MountEntry};
use tokio::sync::OwnedRwLockWriteGuard;
use tokio::time::Instant;

use crate::engine::{self, Container, Inspected, Namespace, State};
use crate::error::NodeError;
use crate::mounts::HandedOut;
use crate::node::Node;
use crate::registry::Dot;

/// A container that shows a wrong folder.
#[derive(Debug, Clone)]
pub(crate) struct Wrong {
    pub(crate) container: Container,
    pub(crate) dot: DotName,
    /// What it shows instead, for messages.
    pub(crate) reason: String,
    /// Whether it shows another working copy. Otherwise something inside the dot replaced its folder.
    pub(crate) other_copy: bool,
}

/// The mounts of this pool in one mount namespace.
struct Seen {
    namespace: u64,
    process: String,
    mounts: Vec<(MountEntry, Option<FolderId>)>,
    /// The folders that it really uses. System services have copies of the host's mounts, including the places of
    /// `mounts.rs`, but do not use them.
    used: Vec<FolderId>,
}

/// Reads the mounts of the pool in all processes of this machine.
async fn look(node: &Node) -> Result<Vec<Seen>, NodeError> {
    let own: HashSet<PathBuf> = node.mounts.own().await?.into_iter().collect();
    let peers: HashSet<u64> = node.mounts.own_peers().into_iter().collect();
    let mut seen = Vec::new();
    for Namespace {
        id,
        process,
        mounts,
    } in node.docker.namespaces().await?
    {
        // For a daemon in a managed plugin, its places have other paths on the host, so peer groups are compared, too.
        // A container's volume normally has no peers.
        let is_copy = |mount: &MountEntry| {
            own.contains(&mount.point) || mount.peers.iter().any(|peer| peers.contains(peer))
        };
        let ours = mounts
            .into_iter()
            .filter(|mount| node.pool.shows_dots(mount));
        let mounts: Vec<MountEntry> = ours.collect();
        if mounts.is_empty() {
            continue;
        }
        let folders = node.pool.identify(mounts.clone()).await?;
        let mounts: Vec<_> = mounts.into_iter().zip(folders).collect();
        let used = mounts.iter().filter(|(mount, _)| !is_copy(mount));
        seen.push(Seen {
            namespace: id,
            process,
            used: used.filter_map(|(_, folder)| *folder).collect(),
            mounts,
        });
    }
    Ok(seen)
}

/// The running containers that show a wrong folder.
pub(crate) async fn wrong(node: &Node, containers: &[Inspected]) -> Result<Vec<Wrong>, NodeError> {
    let running = containers
        .iter()
        .filter(|one| matches!(one.state, State::Running | State::Paused) && !one.uses.is_empty());
    let running: Vec<&Inspected> = running.collect();
    if running.is_empty() {
        return Ok(Vec::new());
    }
    let seen = look(node).await?;
    let mut dots: HashMap<DotName, Option<Dot>> = HashMap::new();
    let mut wrong = Vec::new();
    for one in running {
        let Some(namespace) = one.mount_namespace else {
            continue;
        };
        let Some(shown) = seen.iter().find(|seen| seen.namespace == namespace) else {
            continue;
        };
        for used in &one.uses {
            let name = &used.volume.dot;
            if !dots.contains_key(name) {
                dots.insert(name.clone(), node.registry.find_dot(name).await?);
            }
            let Some(Some(dot)) = dots.get(name) else {
                continue;
            };
            let branch = used.volume.pinned.as_ref().unwrap_or(&dot.current);
            let differs = match differs(node, dot, branch, used, shown).await {
                Ok(differs) => differs,
                // One damaged working copy must not hide the problems of others.
                Err(error) => {
                    tracing::debug!(container = %one.name, %error, "cannot read what a container should show");
                    continue;
                }
            };
            if let Some((reason, other_copy)) = differs {
                wrong.push(Wrong {
                    container: one.container.clone(),
                    dot: name.clone(),
                    reason,
                    other_copy,
                });
                break;
            }
        }
    }
    Ok(wrong)
}

/// How a container's mount differs from the volume's folder. `None` if it does not.
async fn differs(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    used: &crate::engine::VolumeUse,
    shown: &Seen,
) -> Result<Option<(String, bool)>, NodeError> {
    let (pool, folder_of_volume) = (&node.pool, &used.volume.folder);
    let working = working_copy(node, &dot.name, branch).await?;
    // If a container replaced the folder by something else, there is no folder to compare with.
    let expected = pool
        .open_volume(&dot.name, branch, folder_of_volume)
        .await
        .ok()
        .flatten();
    let expected = expected.map(|folder| folder.id());
    if expected.is_some() && shown.mounts.iter().any(|(_, folder)| *folder == expected) {
        return Ok(None);
    }
    let here = shown.mounts.iter().rev();
    let mut here = here.filter(|(mount, _)| mount.point == used.destination);
    let Some((mount, folder)) = here.next() else {
        // It is mounted at another path, or a privileged container has unmounted it.
        return Ok(None);
    };
    // With the option volume-subpath, a container gets a folder inside the volume.
    let path = pool.volume_path(&dot.name, branch, folder_of_volume);
    if expected.is_some() && pool.is_within(mount, &path) {
        return Ok(None);
    }
    let place = mount.root.display();
    let copy = pool.volume_path(&dot.name, branch, &Folder::Root);
    let is_of_copy = match folder {
        Some(folder) => folder.subvolume == working,
        None => pool.is_within(mount, &copy),
    };
    Ok(Some(if is_of_copy {
        let what = &used.volume;
        (
            format!("something inside the dot has replaced the folder of {what}: it shows {place}"),
            false,
        )
    } else {
        (
            format!(
                "it is not on branch {branch} of {}: it shows {place}",
                dot.name
            ),
            true,
        )
    }))
}

/// The subvolume id of a branch's working copy.
async fn working_copy(node: &Node, dot: &DotName, branch: &BranchName) -> Result<u64, NodeError> {
    let root = Folder::Root;
    let opened = node.pool.open_volume(dot, branch, &root).await?;
    Ok(opened.map_or(0, |folder| folder.id().subvolume))
}

/// Which uses of a dot are in the way of a change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Uses of one branch's working copy.
    Branch(&'a BranchName),
    /// Uses of the current working copy by unpinned volumes.
    Unpinned,
    /// Uses of several working copies and, if `unpinned`, of the current one by unpinned volumes.
    Moved {
        branches: &'a BTreeSet<BranchName>,
        unpinned: bool,
    },
    /// Uses of any working copy.
    All,
    /// Uses of some subdots of one working copy.
    Subdots(&'a BranchName, &'a BTreeSet<SubdotName>),
}

/// Whether a volume shows any of the subdots.
pub(crate) fn shows(folder: &Folder, subdots: &BTreeSet<SubdotName>) -> bool {
    match folder {
        Folder::Root => true,
        Folder::Subdot(subdot) => subdots.contains(subdot),
    }
}

impl Scope<'_> {
    fn covers(self, mount: &HandedOut) -> bool {
        match self {
            Self::Branch(branch) => mount.branch == *branch,
            Self::Unpinned => mount.volume.pinned.is_none(),
            Self::Moved { branches, unpinned } => {
                branches.contains(&mount.branch) || (unpinned && mount.volume.pinned.is_none())
            }
            Self::All => true,
            Self::Subdots(branch, subdots) => {
                mount.branch == *branch && shows(&mount.volume.folder, subdots)
            }
        }
    }

    fn covers_use(self, dot: &Dot, one: &Container) -> bool {
        match self {
            Self::Branch(branch) => one.uses(&dot.name, branch, &dot.current),
            Self::Unpinned => one.uses_unpinned(&dot.name),
            Self::Moved { branches, unpinned } => {
                let uses = |branch| one.uses(&dot.name, branch, &dot.current);
                branches.iter().any(uses) || (unpinned && one.uses_unpinned(&dot.name))
            }
            Self::All => one.uses_dot(&dot.name),
            Self::Subdots(branch, subdots) => one.uses.iter().any(|used| {
                let volume = &used.volume;
                volume.dot == dot.name
                    && volume.pinned.as_ref().unwrap_or(&dot.current) == branch
                    && shows(&volume.folder, subdots)
            }),
        }
    }
}

/// The running containers that use a dot.
async fn running(node: &Node, dot: &DotName) -> Result<Vec<Inspected>, NodeError> {
    let runs = |one: &Container| matches!(one.state, State::Running | State::Paused);
    let mut containers = node.docker.list().await?;
    containers.retain(|one| runs(one) && one.uses_dot(dot));
    let mut inspected = node.docker.inspect(&containers).await?;
    inspected.retain(|one| runs(one));
    Ok(inspected)
}

/// Waits until no container is being started on the working copies, and fails if a process uses them. While the
/// returned guard is held, they stay unused.
pub(crate) async fn unused(
    node: &Node,
    dot: &Dot,
    scope: Scope<'_>,
) -> Result<OwnedRwLockWriteGuard<()>, NodeError> {
    let begun = Instant::now();
    loop {
        let moving = node.locks.moving(&dot.name).await;
        let running = running(node, &dot.name).await?;
        let mut flying = node.mounts.in_flight(&dot.name, &running).await;
        flying.retain(|mount| scope.covers(mount));
        let (problem, patience) = if flying.is_empty() {
            match refuse_users(node, dot, scope, &running).await {
                Ok(()) => return Ok(moving),
                // Processes of a container that just stopped may take a moment to exit.
                Err(error) => (error, node.timing.linger),
            }
        } else {
            (starting(&dot.name, &flying), node.timing.in_flight)
        };
        drop(moving);
        if begun.elapsed() >= patience {
            return Err(problem);
        }
        tokio::time::sleep(node.timing.poll).await;
    }
}

fn starting(dot: &DotName, flying: &[HandedOut]) -> NodeError {
    NodeError::Starting {
        dot: dot.clone(),
        volumes: flying
            .iter()
            .map(|mount| mount.volume.to_string())
            .collect(),
    }
}

/// Closes the gate once the containers of all handed-out unpinned mounts run. A container that is being started may ask
/// for more mounts, so the gate stays open until then.
pub(crate) async fn close_gate(
    node: &Node,
    dot: &DotName,
) -> Result<OwnedRwLockWriteGuard<()>, NodeError> {
    let deadline = Instant::now() + node.timing.in_flight;
    loop {
        let gate = node.locks.close_gate(dot).await;
        let running = running(node, dot).await?;
        let mut flying = node.mounts.in_flight(dot, &running).await;
        flying.retain(|mount| Scope::Unpinned.covers(mount));
        if flying.is_empty() {
            return Ok(gate);
        }
        drop(gate);
        if Instant::now() >= deadline {
            return Err(starting(dot, &flying));
        }
        tokio::time::sleep(node.timing.poll).await;
    }
}

/// Fails if a process uses one of the working copies, even if Docker does not show its container.
async fn refuse_users(
    node: &Node,
    dot: &Dot,
    scope: Scope<'_>,
    running: &[Inspected],
) -> Result<(), NodeError> {
    let users = running.iter().filter(|one| scope.covers_use(dot, one));
    let containers = engine::names(users.map(|one| &one.container));
    if !containers.is_empty() {
        let what = match scope {
            Scope::Branch(branch) | Scope::Subdots(branch, _) => {
                format!("branch {branch} of {}", dot.name)
            }
            Scope::Unpinned => format!("branch {} of {}", dot.current, dot.name),
            Scope::Moved { branches, .. } if branches.len() == 1 => {
                let branches: Vec<&str> = branches.iter().map(BranchName::as_str).collect();
                format!("branch {} of {}", branches.join(", "), dot.name)
            }
            Scope::Moved { .. } | Scope::All => format!("dot {}", dot.name),
        };
        return Err(NodeError::InUse { what, containers });
    }
    let branches: Vec<&BranchName> = match scope {
        Scope::Branch(branch) | Scope::Subdots(branch, _) => vec![branch],
        Scope::Unpinned => vec![&dot.current],
        Scope::Moved { branches, unpinned } => {
            let current = unpinned.then_some(&dot.current);
            // A branch that the change creates has no users.
            let here = branches
                .iter()
                .filter(|one| dot.branches.contains_key(*one));
            here.chain(current).collect()
        }
        Scope::All => dot.branches.keys().collect(),
    };
    let mut copies = HashMap::new();
    for branch in branches {
        copies.insert(working_copy(node, &dot.name, branch).await?, branch);
    }
    // Containers with pinned volumes keep running while the current branch changes. Those of other subdots keep running
    // during a restore.
    let goes_on = |one: &&Inspected| match scope {
        Scope::Unpinned | Scope::Moved { unpinned: true, .. } => !one.uses_unpinned(&dot.name),
        Scope::Subdots(..) => !scope.covers_use(dot, one),
        Scope::Branch(_) | Scope::Moved { .. } | Scope::All => false,
    };
    let pinned: HashSet<u64> = running
        .iter()
        .filter(goes_on)
        .filter_map(|one| one.mount_namespace)
        .collect();
    for seen in look(node).await? {
        if pinned.contains(&seen.namespace) {
            continue;
        }
        let folders = seen.used.iter();
        if let Some(branch) = folders
            .filter_map(|folder| copies.get(&folder.subvolume))
            .next()
        {
            return Err(NodeError::Unseen {
                dot: dot.name.clone(),
                branch: (*branch).clone(),
                process: seen.process,
            });
        }
    }
    Ok(())
}
