//! `dm commit`: captures all subdots of a branch at one instant. Containers are neither stopped nor paused.

use dotmesh_api::node::{Committed, CreateCommit};
use dotmesh_model::commit::{ComposeUse, MountUse};
use dotmesh_model::commit::{RECORD_VERSION, check_metadata_key};
use dotmesh_model::limits;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, CommitRecord, ImageUse, message};
use dotmesh_pool::NewStep;

use super::left_out;
use super::reset::refuse_changed;
use super::undo;
use crate::engine::Container;
use crate::error::NodeError;
use crate::node::{Node, random_commit_id};
use crate::registry::{Dot, NewCommit};
use crate::view::At;

/// Commits the branch.
pub(crate) async fn commit(
    node: &Node,
    at: impl Into<At>,
    request: CreateCommit,
) -> Result<Committed, NodeError> {
    if request.message.trim().is_empty() && !request.amend {
        return Err(NodeError::NoMessage);
    }
    for key in request.metadata.keys() {
        check_metadata_key(key).map_err(NodeError::Metadata)?;
    }
    let (_held, view) = node.hold(&at.into(), "committed").await?;
    refuse_changed(&view, request.expected.as_ref())?;
    let branch = view.here.clone();
    let record = commit_locked(node, &view, &branch, request).await?;
    Ok(Committed {
        id: record.id,
        branch,
        images: record.images,
    })
}

/// Commits a branch whose lock the caller holds.
async fn commit_locked(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    request: CreateCommit,
) -> Result<CommitRecord, NodeError> {
    // A commit doesn't need Docker. If Docker is down, the record lists no images.
    let mut containers = node.docker.active().await.unwrap_or_default();
    containers.retain(|container| container.uses(&dot.name, branch, &dot.current));
    let head = dot.branch(branch)?.head;
    let mut record = CommitRecord {
        version: RECORD_VERSION,
        id: random_commit_id(),
        parent: head,
        branch: branch.clone(),
        author: request.author,
        time: now(),
        message: request.message,
        metadata: request.metadata,
        images: images(node, dot, branch, &containers).await,
        code: request.code,
        dot: Some(dot.name.clone()),
    };
    if request.amend {
        if head == CommitId::ROOT {
            return Err(NodeError::NothingToAmend);
        }
        take_place(&mut record, node.registry.decoded(&dot.id, head).await?);
    }
    let bytes = record.encode();
    // Hubs refuse larger records.
    limits::check_new(&record, bytes.len())?;
    let title = message::title(&record.message);
    let verb = if request.amend { "amend" } else { "commit" };
    let what = format!("{verb} {} on branch {branch}: {title}", record.id.short());
    let step = NewStep::Head {
        branch: branch.clone(),
        before: head,
        after: record.id,
    };
    let _changing = node.locks.changing(&dot.name).await;
    node.pool
        .begin_operation(&dot.name, what, vec![step])
        .await?;
    let amended = request.amend.then_some(head);
    let made = make(node, dot, branch, &record, bytes, amended).await;
    undo::settle(node, &dot.name).await;
    made?;
    left_out::look_later(node, dot, record.id);
    Ok(record)
}

/// Makes the commit in the pool and the registry. `amended` is the commit that it replaces.
async fn make(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    record: &CommitRecord,
    bytes: Vec<u8>,
    amended: Option<CommitId>,
) -> Result<(), NodeError> {
    let (pool, name, id) = (&node.pool, &dot.name, record.id);
    match amended {
        Some(was) => pool.amend(name, branch, was, id, bytes.clone()).await?,
        None => pool.commit(name, branch, id, bytes.clone()).await?,
    }
    let commit = NewCommit {
        id: record.id,
        parent: record.parent,
        record: bytes,
        seal: None,
        source: None,
        left_out: None,
    };
    if let Err(error) = node.registry.add_commit(&dot.id, branch, commit).await {
        // A commit that was reported as failed must not reappear after a restart.
        match amended {
            Some(was) => pool.take_amend_back(name, branch, was, id).await?,
            None => pool.take_back(name, id).await?,
        }
        return Err(error);
    }
    Ok(())
}

/// Makes a commit replace another. What the user did not give anew is kept, as by `git commit --amend`.
fn take_place(record: &mut CommitRecord, of: CommitRecord) {
    record.parent = of.parent;
    record.author = of.author;
    if record.message.trim().is_empty() {
        record.message = of.message;
    }
    let said = std::mem::replace(&mut record.metadata, of.metadata);
    record.metadata.extend(said);
}

/// The record's list of the containers' images, with their Compose projects.
async fn images(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    containers: &[Container],
) -> Vec<ImageUse> {
    let inspected = node.docker.inspect(containers).await.unwrap_or_default();
    let mut images = Vec::new();
    for container in containers {
        let details = inspected.iter().find(|one| one.id == container.id);
        let user = details.map(|one| match one.user.as_str() {
            "" => "root".to_owned(),
            user => user.to_owned(),
        });
        let uses = container.uses.iter().filter(|used| {
            let volume = &used.volume;
            volume.dot == dot.name && volume.pinned.as_ref().unwrap_or(&dot.current) == branch
        });
        let mut mounts: Vec<MountUse> = uses
            .map(|used| MountUse {
                subdot: match &used.volume.folder {
                    Folder::Root => "__root__".to_owned(),
                    Folder::Subdot(subdot) => subdot.to_string(),
                },
                path: used.destination.to_string_lossy().into_owned(),
            })
            .collect();
        mounts.sort();
        images.push(ImageUse {
            container: container.name.clone(),
            image: container.image.clone(),
            digest: node.docker.image(&container.image_id).await.digest,
            compose: compose(container),
            mounts,
            user,
        });
    }
    images.sort();
    images
}

/// The container's Compose project, by its labels.
fn compose(container: &Container) -> Option<ComposeUse> {
    let label = |key: &str| {
        let value = container.label(&format!("com.docker.compose.{key}"));
        value.map(str::to_owned)
    };
    // A fork's project and configuration exist on this node only. Elsewhere the app itself runs with this state.
    let stem = container.label("dotmesh.project").map(str::to_owned);
    let files = match stem {
        Some(_) => String::new(),
        None => label("project.config_files").unwrap_or_default(),
    };
    let files = files.split(',').filter(|file| !file.is_empty());
    Some(ComposeUse {
        project: stem.or_else(|| label("project"))?,
        service: label("service").unwrap_or_default(),
        working_dir: label("project.working_dir").unwrap_or_default(),
        config_files: files.map(str::to_owned).collect(),
    })
}

/// The present time in milliseconds, the precision that every language can parse.
fn now() -> jiff::Timestamp {
    let now = crate::node::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
