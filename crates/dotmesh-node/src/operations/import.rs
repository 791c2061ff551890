//! `dm import`: makes subdots of local Docker volumes, and of archives that the client sends. All of them appear together, or
//! none.
//!
//! The client reads its folders and archives itself, with its own rights. Only volumes are read by the daemon, from the folder
//! that the Engine names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use dotmesh_api::node::{CopiedFiles, Import, ImportEvent, ImportOutcome, ImportSubdot};
use dotmesh_archive::Rights;
use dotmesh_model::commit::RECORD_VERSION;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, Namespace, limits};
use dotmesh_pool::{NewSubdots, PoolError};
use tokio::sync::mpsc;

use super::copying::{self, Watched, copied, failed};
use super::{blocking, left_out, to_the_end};
use crate::archives::{Archives, Pieces};
use crate::engine::EngineVolume;
use crate::error::{CopyError, NodeError};
use crate::events::{self, line};
use crate::node::{Node, random_commit_id, random_hex};
use crate::registry::{Branch, Dot, NewCommit};

/// Space that an import leaves to the containers, in bytes.
const RESERVE: u64 = 64 << 20;

/// Reads the request, starts the import, and responds with its events. The import is cancelled when the client leaves.
pub(crate) async fn start(node: Node, name: DotName, body: Body) -> Result<Response, NodeError> {
    let mut archives = Archives::new(body);
    let request = archives.first_line().await?;
    let request: Import = serde_json::from_slice(&request)
        .map_err(|error| CopyError::Body(format!("its first line is no import: {error}")))?;
    let (events, lines) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let watched = Arc::new(Watched::default());
        let last = tokio::select! {
            done = run(&node, &name, &request, &mut archives, &watched) => Some(match done {
                Ok(outcome) => ImportEvent::Done(outcome),
                Err(error) => ImportEvent::Failed(error.into()),
            }),
            () = watched.tell(&events, ImportEvent::Progress) => None,
        };
        if let Some(last) = last {
            let _ = events.send(line(&last)).await;
            drop(events);
            // A client that is still sending reads the answer only if the connection stays.
            archives.drain().await;
        }
    });
    Ok(events::answer(lines))
}

/// Where a subdot's data comes from.
struct Source {
    wanted: ImportSubdot,
    volume: Option<(EngineVolume, File)>,
}

impl Source {
    fn what(&self) -> String {
        match &self.wanted.volume {
            Some(volume) => format!("volume '{volume}'"),
            None => format!("the archive for subdot {}", self.wanted.subdot),
        }
    }
}

async fn run(
    node: &Node,
    name: &DotName,
    request: &Import,
    archives: &mut Archives,
    watched: &Watched,
) -> Result<ImportOutcome, NodeError> {
    check_request(request)?;
    watched.begin("checking".to_owned());
    let lock = node.locks.operation(name, "filled by an import").await;
    let dot = node.registry.find_dot(name).await?;
    match &dot {
        Some(dot) => refuse_existing(node, dot, request).await?,
        None if name.namespace != Namespace::default() => {
            return Err(NodeError::OtherNamespace { dot: name.clone() });
        }
        None => {}
    }
    let mut sources = Vec::new();
    for wanted in &request.subdots {
        let wanted = wanted.clone();
        let volume = match &wanted.volume {
            Some(volume) => {
                let found = find_volume(node, volume, request).await?;
                let folder = copying::open(volume, &found).await?;
                Some((found, folder))
            }
            None => None,
        };
        sources.push(Source { wanted, volume });
    }
    require_room(node, &sources, watched).await?;
    if request.check {
        return Ok(ImportOutcome::default());
    }
    let branch = dot
        .as_ref()
        .map_or_else(BranchName::master, |dot| dot.current.clone());
    let mut new = match &dot {
        Some(dot) => node.pool.begin_subdots(&dot.name, &branch).await?,
        None => node.pool.begin_new_dot(&branch).await?,
    };
    let mut folders = Vec::new();
    for source in &sources {
        folders.push(new.add(&source.wanted.subdot)?);
    }
    // A thread that still writes after this future was dropped keeps it.
    let new = Arc::new(new);
    let mut subdots = Vec::new();
    for (source, folder) in sources.iter().zip(folders) {
        subdots.push(copy(source, folder, archives, watched, &new).await?);
    }
    if !request.force {
        for volume in request.subdots.iter().filter_map(|one| one.volume.as_ref()) {
            // A container that was started meanwhile may have written to what was copied.
            find_volume(node, volume, request).await?;
        }
    }
    watched.begin("writing to disk".to_owned());
    let Some(new) = Arc::into_inner(new) else {
        return Err(NodeError::Cancelled);
    };
    let (node, name, request) = (node.clone(), name.clone(), request.clone());
    let commit = to_the_end(async move {
        let _lock = lock;
        match dot {
            Some(dot) => publish_into(&node, &dot, new, &request)
                .await
                .map(|()| None),
            None => publish(&node, &name, new, &request).await.map(Some),
        }
    })
    .await?;
    Ok(ImportOutcome {
        branch: Some(branch),
        commit,
        subdots,
    })
}

fn check_request(request: &Import) -> Result<(), NodeError> {
    if request.subdots.is_empty() {
        return Err(CopyError::Nothing.into());
    }
    if request.message.trim().is_empty() {
        return Err(NodeError::NoMessage);
    }
    let mut seen = BTreeSet::new();
    for one in &request.subdots {
        if !seen.insert(&one.subdot) {
            let subdot = one.subdot.to_string();
            return Err(CopyError::Twice { subdot }.into());
        }
    }
    Ok(())
}

async fn refuse_existing(node: &Node, dot: &Dot, request: &Import) -> Result<(), NodeError> {
    let mut subdots = Vec::new();
    for one in &request.subdots {
        let folder = Folder::Subdot(one.subdot.clone());
        let opened = node
            .pool
            .open_volume(&dot.name, &dot.current, &folder)
            .await;
        match opened {
            Ok(None) => {}
            // A container may have made something else of that name.
            Ok(Some(_)) | Err(PoolError::NotAFolder { .. }) => subdots.push(one.subdot.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if subdots.is_empty() {
        return Ok(());
    }
    Err(exists(dot, subdots))
}

fn exists(dot: &Dot, subdots: Vec<String>) -> NodeError {
    let (dot, branch) = (dot.name.clone(), dot.current.clone());
    CopyError::SubdotExists {
        dot,
        branch,
        subdots,
    }
    .into()
}

/// Finds a volume that may be copied now.
async fn find_volume(node: &Node, name: &str, request: &Import) -> Result<EngineVolume, NodeError> {
    let volume = name.to_owned();
    let found = copying::local_volume(node, name).await?;
    let found = found.ok_or(CopyError::NoVolume { volume })?;
    let stops = |id: &String| request.check && request.stopping.contains(id);
    let running = found.running.iter().filter(|(id, _)| !stops(id));
    let containers: Vec<String> = running.map(|(_, name)| name.clone()).collect();
    if containers.is_empty() || request.force {
        return Ok(found);
    }
    Err(CopyError::InUse {
        volume: name.to_owned(),
        containers,
        can_force: true,
    }
    .into())
}

/// Fails if the data doesn't fit into the pool. An import that fills it would keep containers from writing.
async fn require_room(node: &Node, sources: &[Source], watched: &Watched) -> Result<(), NodeError> {
    let mut needed = 0u64;
    for source in sources {
        let size = match (&source.volume, &source.wanted.volume) {
            (Some((_, folder)), Some(name)) => copying::measure(folder, name, watched).await?,
            _ => source.wanted.size.unwrap_or(0),
        };
        needed = needed.saturating_add(size);
    }
    watched.expect(needed);
    let free = node.pool.space().await?.free;
    match needed.saturating_add(RESERVE) > free {
        true => Err(CopyError::NoRoom { needed, free }.into()),
        false => Ok(()),
    }
}

async fn copy(
    source: &Source,
    to: OwnedFd,
    archives: &mut Archives,
    watched: &Watched,
    new: &Arc<NewSubdots>,
) -> Result<CopiedFiles, NodeError> {
    let counters = watched.begin(format!("copying {}", source.what()));
    let (used, keep) = (Arc::clone(&counters), Arc::clone(new));
    let left_out = match &source.volume {
        Some((_, folder)) => {
            let folder = copying::again(folder, &source.what())?;
            blocking(move || {
                let _keep = keep;
                dotmesh_archive::copy(folder.as_fd(), to.as_fd(), &used)
            })
            .await
        }
        None => {
            let (sender, pieces) = Pieces::new();
            let unpacking = blocking(move || {
                let _keep = keep;
                dotmesh_archive::unpack(pieces, to.as_fd(), Rights::All, &used)
            });
            let unpacking = async { unpacking.await.map_err(failed(source.what())) };
            // Whoever fails first says why.
            let (left_out, ()) = tokio::try_join!(unpacking, archives.pass_on(sender))?;
            return Ok(copied(&counters, left_out));
        }
    };
    let left_out = left_out.map_err(failed(source.what()))?;
    Ok(copied(&counters, left_out))
}

/// Makes the new dot visible, with its first commit.
async fn publish(
    node: &Node,
    name: &DotName,
    new: NewSubdots,
    request: &Import,
) -> Result<CommitId, NodeError> {
    let branch = BranchName::master();
    let now = crate::node::now();
    let record = CommitRecord {
        version: RECORD_VERSION,
        id: random_commit_id(),
        parent: CommitId::ROOT,
        branch: branch.clone(),
        author: request.author.clone(),
        time: jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        message: request.message.clone(),
        metadata: BTreeMap::new(),
        images: Vec::new(),
        code: request.code.clone(),
        dot: Some(name.clone()),
    };
    let (id, bytes) = (record.id, record.encode());
    limits::check_new(&record, bytes.len())?;
    let (head, origin) = (id, None);
    let dot = Dot {
        id: random_hex::<16>(),
        name: name.clone(),
        current: branch.clone(),
        branches: BTreeMap::from([(branch.clone(), Branch { head, origin })]),
    };
    let (pool, file) = (&node.pool, dot.to_file());
    pool.finish_new_dot(name, new, &file, id, bytes.clone())
        .await?;
    let commit = NewCommit {
        id,
        parent: CommitId::ROOT,
        record: bytes,
        seal: None,
        source: None,
        left_out: None,
    };
    let registered = async {
        node.registry.put_dot(&dot).await?;
        node.registry.add_commit(&dot.id, &branch, commit).await
    };
    if let Err(error) = registered.await {
        // What was reported as failed must not appear after a restart.
        node.pool.delete_dot(name).await?;
        node.registry.delete_dot(&dot.id).await?;
        return Err(error);
    }
    left_out::look_later(node, &dot, id);
    Ok(id)
}

/// Makes the subdots of an existing dot visible.
async fn publish_into(
    node: &Node,
    dot: &Dot,
    new: NewSubdots,
    request: &Import,
) -> Result<(), NodeError> {
    // Docker's mounts create missing subdots.
    let _still = node.locks.moving(&dot.name).await;
    refuse_existing(node, dot, request).await?;
    node.pool
        .finish_subdots(&dot.name, &dot.current, new)
        .await?;
    Ok(())
}
