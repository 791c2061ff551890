//! A database's server in a throwaway container, on a copy of its data.

use std::io::Read;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::CommitRecord;
use dotmesh_rows::model::{DatabaseKind, Store};
use dotmesh_rows::{Client, DATA, RowsError, Run, adapter, recipe};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Opened, Place, blocking, image, told};
use crate::engine::throwaway::{Input, Piece, Plan, Program, Typed, Workshop};
use crate::error::NodeError;
use crate::node::Node;

/// How long a server may take to recover its data.
const RECOVERY: Duration = Duration::from_secs(900);

/// How long a container lives at most.
const LIFE: Duration = Duration::from_secs(3600);

/// A container that is removed when nobody needs it any more, and then its copy of the data.
pub(super) struct Throwaway {
    node: Node,
    workshop: Workshop,
    id: String,
    volume: String,
    copy: Option<Arc<dotmesh_pool::Copy>>,
    limit: tokio::task::JoinHandle<()>,
    _permit: OwnedSemaphorePermit,
}

/// Ends a container from elsewhere.
#[derive(Clone)]
pub(super) struct Ender {
    workshop: Workshop,
    id: String,
}

impl Ender {
    /// Ends it, and so all programs in it.
    pub(super) async fn end(&self) {
        self.workshop.end(&self.id).await;
    }
}

impl Throwaway {
    /// What ends it while something else uses it.
    pub(super) fn ender(&self) -> Ender {
        Ender {
            workshop: self.workshop.clone(),
            id: self.id.clone(),
        }
    }

    /// Runs a program that reads while it runs.
    pub(super) fn session(
        &self,
        run: Run,
        typed: mpsc::Receiver<Typed>,
        terminal: bool,
    ) -> mpsc::Receiver<Piece> {
        let (sender, receiver) = mpsc::channel(4);
        let (workshop, id) = (self.workshop.clone(), self.id.clone());
        let program = Program {
            command: run.command,
            environment: run.environment,
            input: Input::Live(typed),
            terminal,
        };
        tokio::spawn(async move { workshop.run(&id, program, sender).await });
        receiver
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        self.limit.abort();
        let (node, workshop) = (self.node.clone(), self.workshop.clone());
        let (id, volume, copy) = (self.id.clone(), self.volume.clone(), self.copy.take());
        tokio::spawn(async move {
            workshop.remove(&id, &volume).await;
            node.copies.withdraw(&node.mounts, &volume);
            drop(copy);
        });
    }
}

/// Opens a store.
pub(super) async fn open(
    node: &Node,
    copy: Arc<dotmesh_pool::Copy>,
    record: Option<&CommitRecord>,
    store: &Store,
    state: &str,
) -> Result<Opened, NodeError> {
    let workshop = node
        .docker
        .workshop()
        .await
        .map_err(|error| NodeError::Docker {
            doing: format!("opening {store}"),
            message: error.to_string(),
        })?;
    let images = image::choose(&workshop, record, store, state).await?;
    let mut last = None;
    for image in images {
        match start(node, &workshop, Arc::clone(&copy), store, image).await {
            Ok(opened) => return Ok(opened),
            // Another container of the app may have the same folder, and not be its database.
            Err(error) => last = last.or(Some(error)),
        }
    }
    let none = || ErrorBody::new(ErrorCode::Internal, "there is no image to try").into();
    Err(last.unwrap_or_else(none))
}

async fn start(
    node: &Node,
    workshop: &Workshop,
    copy: Arc<dotmesh_pool::Copy>,
    store: &Store,
    image: String,
) -> Result<Opened, NodeError> {
    let permit = Arc::clone(&node.rooms.free).acquire_owned().await;
    let permit =
        permit.map_err(|_| ErrorBody::new(ErrorCode::Cancelled, "the daemon is stopping"))?;
    let (of_copy, address) = (Arc::clone(&copy), store.address());
    let opened = blocking(move || {
        let folder = of_copy.open(&address)?;
        let owner = rustix::fs::fstat(folder.as_fd());
        Ok::<_, dotmesh_pool::PoolError>((folder, owner))
    })
    .await;
    let (folder, owner) = opened?;
    let owner = owner.map_err(|error| {
        ErrorBody::new(
            ErrorCode::Internal,
            format!("cannot look at {store}: {error}"),
        )
    })?;
    let recipe = recipe(store);
    let volume = node.copies.offer(folder);
    let plan = Plan {
        image,
        script: recipe.script,
        // The data's own user.
        user: format!("{}:{}", owner.st_uid, owner.st_gid),
        volume: volume.clone(),
        target: DATA.to_owned(),
        cpu_shares: node.rooms.cpu_shares,
    };
    let id = match workshop.start(&plan).await {
        Ok(id) => id,
        Err(error) => {
            node.copies.withdraw(&node.mounts, &volume);
            return Err(NodeError::Docker {
                doing: format!("opening {store} with image {}", plan.image),
                message: error.to_string(),
            });
        }
    };
    let (of_limit, limited) = (workshop.clone(), id.clone());
    let limit = tokio::spawn(async move {
        tokio::time::sleep(LIFE).await;
        tracing::warn!(id = %limited, "a throwaway container takes too long and is ended");
        of_limit.end(&limited).await;
    });
    let throwaway = Throwaway {
        node: node.clone(),
        workshop: workshop.clone(),
        id: id.clone(),
        volume,
        copy: Some(copy),
        limit,
        _permit: permit,
    };
    let client = Exec {
        workshop: workshop.clone(),
        id: id.clone(),
        handle: Handle::current(),
    };
    let (wait, asked, of_client) = (recipe.wait, store.clone(), client.clone());
    let connect = blocking(move || {
        let mut output = Vec::new();
        of_client.run(wait)?.read_to_end(&mut output)?;
        adapter(&asked, Box::new(of_client))
    });
    let connected = match tokio::time::timeout(RECOVERY, connect).await {
        Ok(connected) => connected,
        Err(_) => Err(RowsError::Failed {
            message: format!(
                "it did not recover within {} minutes",
                RECOVERY.as_secs() / 60
            ),
        }),
    };
    match connected {
        Ok(adapter) => Ok(Opened {
            adapter: adapter.into(),
            place: Place::Container(Box::new(throwaway)),
        }),
        Err(error) => {
            let said = workshop.said(&id).await;
            let why = reason(store.kind, &said).unwrap_or_else(|| error.to_string());
            let what = format!("{store} cannot be opened with image {}", plan.image);
            let body = told(&what, &RowsError::Failed { message: why });
            drop(throwaway);
            Err(body.into())
        }
    }
}

/// The line of a server's log that says why it does not run.
fn reason(kind: DatabaseKind, said: &str) -> Option<String> {
    let marks: &[&str] = match kind {
        DatabaseKind::Postgres => &["PANIC:", "FATAL:", "ERROR:"],
        DatabaseKind::Mariadb | DatabaseKind::Mysql => &["[ERROR]", "[FATAL]"],
        _ => &["Fatal", "Bad file format", "FATAL", "rror"],
    };
    let ignored = ["the database system is starting up", "Aborting"];
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines
        .filter(|line| !ignored.iter().any(|part| line.contains(part)))
        .collect();
    let of_mark = marks.iter().find_map(|mark| {
        let line = lines.iter().find(|line| line.contains(mark))?;
        let at = line.find(mark)?;
        Some(line[at..].to_owned())
    });
    of_mark.or_else(|| lines.last().map(|line| (*line).to_owned()))
}

/// Runs clients in the container.
#[derive(Clone)]
struct Exec {
    workshop: Workshop,
    id: String,
    handle: Handle,
}

impl Client for Exec {
    fn run(&self, run: Run) -> Result<Box<dyn Read + Send>, RowsError> {
        let (sender, receiver) = mpsc::channel(4);
        let (workshop, id) = (self.workshop.clone(), self.id.clone());
        let program = Program {
            command: run.command,
            environment: run.environment,
            input: Input::Whole(run.input),
            terminal: false,
        };
        self.handle
            .spawn(async move { workshop.run(&id, program, sender).await });
        Ok(Box::new(Output {
            receiver,
            current: Bytes::new(),
            is_whole: false,
        }))
    }
}

/// The output of a program.
struct Output {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    is_whole: bool,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() && !self.is_whole {
            match self.receiver.blocking_recv() {
                Some(Ok(piece)) if piece.is_empty() => self.is_whole = true,
                Some(Ok(piece)) => self.current = piece,
                Some(Err(message)) => return Err(RowsError::Failed { message }.into()),
                None => return Err(RowsError::Cancelled.into()),
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_grave_line_of_a_log() {
        let said = "LOG:  starting\nFATAL:  the database system is starting up\nPANIC:  could not locate a valid checkpoint record\n";
        let told = reason(DatabaseKind::Postgres, said).expect("a reason");
        assert_eq!(told, "PANIC:  could not locate a valid checkpoint record");
        assert_eq!(reason(DatabaseKind::Redis, ""), None);
    }
}
