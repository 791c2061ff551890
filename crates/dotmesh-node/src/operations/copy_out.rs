//! `dm cp`: sends a file or folder of any state as an archive.

use std::io::Write;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::ContentQuery;
use dotmesh_pool::{PathInDot, Peek};
use tokio::sync::mpsc;

use super::require_here;
use super::revision::Revisions;
use crate::error::NodeError;
use crate::node::Node;
use crate::view::At;

/// The size of the pieces that are sent, in bytes.
const PIECE: usize = 256 << 10;

/// Responds with an archive of the path.
pub(crate) async fn copy_out(
    node: &Node,
    at: impl Into<At>,
    query: ContentQuery,
) -> Result<Response, NodeError> {
    let bad_path = || NodeError::BadPath {
        path: query.path.clone(),
    };
    let path = PathInDot::parse(&query.path).ok_or_else(bad_path)?;
    let dot = node.settled_view(&at.into()).await?;
    let name = &dot.name;
    // Containers write to the working copy, so a snapshot of it is read.
    let (data, peek, state) = match &query.revision {
        Some(revision) => {
            let commit = Revisions::of(node, &dot).await?.find_text(revision)?;
            require_here(node, &dot, commit).await?;
            let state = format!("commit {}", commit.short());
            (node.pool.commit_data(name, commit), None, state)
        }
        None => {
            let peek = node.pool.peek(name, &dot.here).await?;
            let state = format!("branch {}", dot.here);
            (peek.data(), Some(peek), state)
        }
    };
    let Some(found) = node.pool.find_in(data, &path).await else {
        let path = path.to_string();
        return Err(NodeError::NoPath { path, state });
    };
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || send(&found, peek, &sender));
    let pieces = futures::stream::unfold(receiver, async |mut receiver| {
        let piece: std::io::Result<Bytes> = receiver.recv().await?;
        Some((piece, receiver))
    });
    let kind = (CONTENT_TYPE, "application/x-tar");
    Ok(([kind], Body::from_stream(pieces)).into_response())
}

fn send(found: &Path, peek: Option<Peek>, sender: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut archive = tar::Builder::new(Pieces::new(sender));
    archive.follow_symlinks(false);
    let top = Path::new(found.file_name().unwrap_or_default());
    let sent = add(&mut archive, found, top).and_then(|()| archive.into_inner()?.flush());
    if let Err(error) = sent {
        let _ = sender.blocking_send(Err(error));
    }
    drop(peek);
}

/// Adds a path and everything below it. Only files, folders and symbolic links are archived.
fn add(archive: &mut tar::Builder<Pieces<'_>>, from: &Path, name: &Path) -> std::io::Result<()> {
    let kind = std::fs::symlink_metadata(from)?.file_type();
    if kind.is_file() || kind.is_symlink() {
        return archive.append_path_with_name(from, name);
    }
    if !kind.is_dir() {
        return Ok(());
    }
    archive.append_dir(name, from)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        add(archive, &entry.path(), &name.join(entry.file_name()))?;
    }
    Ok(())
}

/// A writer that sends pieces to the channel.
pub(super) struct Pieces<'a> {
    sender: &'a mpsc::Sender<std::io::Result<Bytes>>,
    gathered: Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(sender: &'a mpsc::Sender<std::io::Result<Bytes>>) -> Self {
        let gathered = Vec::with_capacity(PIECE);
        Self { sender, gathered }
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        let gone = |_| std::io::ErrorKind::BrokenPipe.into();
        self.sender.blocking_send(Ok(piece.into())).map_err(gone)
    }
}
