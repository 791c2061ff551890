//! `dm export`: packs subdots of a commit as an archive, or copies one into a local Docker volume.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::{ArchiveQuery, CopiedFiles, Export, ExportEvent};
use dotmesh_archive::{ArchiveError, Counters};
use dotmesh_model::SubdotName;
use dotmesh_pool::PathInDot;
use tokio::sync::mpsc;

use super::copy_out::Pieces;
use super::copying::{self, Watched, copied, failed};
use super::revision::Revisions;
use super::{blocking, require_here};
use crate::error::{CopyError, NodeError};
use crate::events::{self, line};
use crate::node::Node;
use crate::view::At;

/// Responds with an archive of a commit's subdots.
pub(crate) async fn archive(
    node: &Node,
    at: &At,
    query: ArchiveQuery,
) -> Result<Response, NodeError> {
    let folder = find(node, at, &query.revision, query.subdot.as_ref()).await?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces::new(&sender);
        let packed = dotmesh_archive::pack(folder.as_fd(), b".", &mut pieces, &Counters::default());
        let packed = packed.and_then(|_| dotmesh_archive::finish(&mut pieces));
        if let Err(error) = packed {
            let _ = sender.blocking_send(Err(std::io::Error::other(error)));
        }
    });
    let pieces = futures::stream::unfold(receiver, async |mut receiver| {
        let piece: std::io::Result<Bytes> = receiver.recv().await?;
        Some((piece, receiver))
    });
    let kind = (CONTENT_TYPE, "application/x-tar");
    Ok(([kind], Body::from_stream(pieces)).into_response())
}

/// Starts an export to a volume, and responds with its events. It is cancelled when the client leaves.
pub(crate) fn start(node: Node, at: At, request: Export) -> Response {
    let (events, lines) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let watched = Arc::new(Watched::default());
        let last = tokio::select! {
            done = to_volume(&node, &at, &request, &watched) => Some(match done {
                Ok(copied) => ExportEvent::Done(copied),
                Err(error) => ExportEvent::Failed(error.into()),
            }),
            () = watched.tell(&events, ExportEvent::Progress) => None,
        };
        if let Some(last) = last {
            let _ = events.send(line(&last)).await;
        }
    });
    events::answer(lines)
}

/// A volume that was made for an export. Dropping it removes the volume again.
struct Made<'a> {
    node: &'a Node,
    volume: Option<String>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let Some(volume) = self.volume.take() else {
            return;
        };
        let docker = self.node.docker.clone();
        tokio::spawn(async move {
            if let Err(error) = docker.remove_volume(&volume).await {
                tracing::warn!(%volume, %error, "cannot remove the volume of a failed export");
            }
        });
    }
}

async fn to_volume(
    node: &Node,
    at: &At,
    request: &Export,
    watched: &Watched,
) -> Result<CopiedFiles, NodeError> {
    watched.begin("checking".to_owned());
    let from = find(node, at, &request.revision, Some(&request.subdot)).await?;
    let volume = &request.volume;
    let mut made = Made { node, volume: None };
    let found = match copying::local_volume(node, volume).await? {
        Some(found) => found,
        None => {
            let created = node.docker.create_volume(volume).await;
            created.map_err(|error| NodeError::Docker {
                doing: format!("making volume '{volume}'"),
                message: error.to_string(),
            })?;
            made.volume = Some(volume.clone());
            let found = copying::local_volume(node, volume).await?;
            found.ok_or_else(|| CopyError::NoVolume {
                volume: volume.clone(),
            })?
        }
    };
    if !found.running.is_empty() {
        let containers = found.running.iter().map(|(_, name)| name.clone());
        return Err(CopyError::InUse {
            volume: volume.clone(),
            containers: containers.collect(),
            can_force: false,
        }
        .into());
    }
    let to = copying::open(volume, &found).await?;
    let what = format!("subdot {}", request.subdot);
    let looked = copying::again(&to, &what)?;
    let is_empty = blocking(move || is_empty(&looked)).await;
    if !is_empty.map_err(failed(what.clone()))? {
        return Err(CopyError::NotEmpty {
            volume: volume.clone(),
        }
        .into());
    }
    let total = copying::measure(&from, &what, watched).await?;
    watched.expect(total);
    let counters = watched.begin(format!("copying {what}"));
    let used = Arc::clone(&counters);
    let left_out = blocking(move || {
        let left_out = dotmesh_archive::copy(from.as_fd(), to.as_fd(), &used)?;
        rustix::fs::syncfs(&to).map_err(|error| ArchiveError::Stream(error.into()))?;
        Ok(left_out)
    })
    .await;
    let left_out = left_out.map_err(failed(what))?;
    made.volume = None;
    Ok(copied(&counters, left_out))
}

fn is_empty(folder: &File) -> Result<bool, ArchiveError> {
    let entries = rustix::fs::Dir::read_from(folder);
    for entry in entries.map_err(|error| ArchiveError::Stream(error.into()))? {
        let entry = entry.map_err(|error| ArchiveError::Stream(error.into()))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens the folder of a commit, or of its subdot.
async fn find(
    node: &Node,
    at: &At,
    revision: &str,
    subdot: Option<&SubdotName>,
) -> Result<File, NodeError> {
    let dot = node.settled_view(at).await?;
    let commit = Revisions::of(node, &dot).await?.find_text(revision)?;
    require_here(node, &dot, commit).await?;
    let data = node.pool.commit_data(&at.dot, commit);
    let folder = match subdot {
        None => data,
        Some(subdot) => {
            let no_path = || NodeError::NoPath {
                path: subdot.to_string(),
                state: format!("commit {}", commit.short()),
            };
            let path = PathInDot::parse(subdot.as_str()).ok_or_else(no_path)?;
            node.pool.find_in(data, &path).await.ok_or_else(no_path)?
        }
    };
    let opened = blocking(move || File::open(folder)).await;
    opened
        .map_err(|error| failed(format!("commit {}", commit.short()))(ArchiveError::Stream(error)))
}
