//! Shared by imports and exports: local volumes of Docker, and progress.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use dotmesh_api::node::{CopiedFiles, TransferProgress};
use dotmesh_archive::{ArchiveError, Counters, Omitted};
use serde::Serialize;
use tokio::sync::mpsc;

use super::blocking;
use crate::engine::EngineVolume;
use crate::error::{CopyError, NodeError};
use crate::events::line;
use crate::node::Node;

/// The interval of progress events.
const TELL_INTERVAL: Duration = Duration::from_millis(150);

/// How far a copy is. Dropping it cancels the copy.
#[derive(Default)]
pub(crate) struct Watched {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    phase: String,
    /// The bytes of what is done.
    before: u64,
    total: u64,
    counters: Arc<Counters>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.now().counters.cancel();
    }
}

impl Watched {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many bytes there are in all.
    pub(crate) fn expect(&self, total: u64) {
        self.now().total = total;
    }

    /// Begins a part of the work, and returns its counters.
    pub(crate) fn begin(&self, phase: String) -> Arc<Counters> {
        let mut now = self.now();
        now.before += now.counters.bytes();
        now.phase = phase;
        now.counters = Arc::default();
        Arc::clone(&now.counters)
    }

    fn progress(&self) -> TransferProgress {
        let now = self.now();
        let done = now.before + now.counters.bytes();
        TransferProgress {
            phase: now.phase.clone(),
            done,
            // A measured size counts whole blocks, and files may have grown.
            total: if now.total == 0 {
                0
            } else {
                now.total.max(done)
            },
            ..TransferProgress::default()
        }
    }

    /// Sends changes of the progress until the client disconnects.
    pub(crate) async fn tell<E: Serialize>(
        &self,
        events: &mpsc::Sender<Bytes>,
        event: impl Fn(TransferProgress) -> E,
    ) {
        let mut told = None;
        while !events.is_closed() {
            let now = self.progress();
            if told.as_ref() != Some(&now) {
                if events.send(line(&event(now.clone()))).await.is_err() {
                    return;
                }
                told = Some(now);
            }
            tokio::select! {
                () = events.closed() => return,
                () = tokio::time::sleep(TELL_INTERVAL) => {}
            }
        }
    }
}

/// What a finished copy has.
pub(crate) fn copied(counters: &Counters, left_out: Omitted) -> CopiedFiles {
    CopiedFiles {
        entries: counters.entries(),
        bytes: counters.bytes(),
        left_out: left_out.count,
        first_left_out: left_out.first,
    }
}

/// Names what could not be copied.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(ArchiveError) -> NodeError {
    let what = what.into();
    move |source| match source {
        ArchiveError::Cancelled => NodeError::Cancelled,
        source => CopyError::Archive { what, source }.into(),
    }
}

/// Finds a local volume. Fails if its data is not in a folder of Docker's own.
pub(crate) async fn local_volume(
    node: &Node,
    name: &str,
) -> Result<Option<EngineVolume>, NodeError> {
    let Some(volume) = node.docker.volume(name).await? else {
        return Ok(None);
    };
    let refuse = |why: String, hint: String| {
        let volume = name.to_owned();
        Err(CopyError::NotLocal { volume, why, hint }.into())
    };
    if node.registry.has_volume(name).await? {
        let why = "is in a dot already: its driver is this node's".to_owned();
        let hint = "It needs no import: 'dm list' shows the dot.".to_owned();
        return refuse(why, hint);
    }
    if volume.driver != "local" {
        let why = format!(
            "has the driver '{}', and only local volumes can be copied",
            volume.driver
        );
        let hint =
            "Pack it with 'tar' in a container, and import the archive with --tar.".to_owned();
        return refuse(why, hint);
    }
    if let Some(device) = volume.options.get("device") {
        let why = format!("has no folder of its own: it stands for {device}");
        let hint = match device.starts_with('/') {
            true => format!("Copy that folder instead: --dir {device}=SUBDOT"),
            false => String::new(),
        };
        return refuse(why, hint);
    }
    Ok(Some(volume))
}

/// Opens the folder of a volume.
pub(crate) async fn open(name: &str, volume: &EngineVolume) -> Result<File, NodeError> {
    let folder = volume.mountpoint.clone();
    let opened = blocking(move || File::open(folder)).await;
    let (volume, folder) = (name.to_owned(), volume.mountpoint.clone());
    Ok(opened.map_err(|source| CopyError::Elsewhere {
        volume,
        folder,
        source,
    })?)
}

/// About how many bytes a folder has.
pub(crate) async fn measure(
    folder: &File,
    name: &str,
    watched: &Watched,
) -> Result<u64, NodeError> {
    let what = format!("volume '{name}'");
    let folder = again(folder, &what)?;
    let counters = watched.begin(format!("measuring {name}"));
    let measured = blocking(move || dotmesh_archive::measure(folder.as_fd(), &counters)).await;
    measured.map_err(failed(what))
}

/// The same open folder for another thread.
pub(crate) fn again(folder: &File, what: &str) -> Result<File, NodeError> {
    let opened = folder.try_clone().map_err(ArchiveError::Stream);
    opened.map_err(failed(what))
}
