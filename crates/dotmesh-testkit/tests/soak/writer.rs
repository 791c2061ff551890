//! The write load of a node: row after row, each to all databases in turn, until one of them is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use dotmesh_testkit::Machine;
use tokio::task::JoinHandle;

use crate::databases::Client;
use crate::rows::{Contents, Expected, Store};

/// Between two rows, so that reading all of them stays quick.
const PAUSE: Duration = Duration::from_millis(15);

/// Writes until it is stopped or cannot go on, and knows what was sent and what was acknowledged.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    progress: Mutex<Expected>,
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Expected) -> T) -> T {
        work(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Writer {
    /// Goes on from what the databases hold, first with the rows that only some of them have.
    pub(crate) fn start(machine: &Machine, contents: &Contents, number: u32) -> Result<Writer> {
        let mut clients = Vec::new();
        for store in Store::ALL {
            clients.push(Client::start(machine, store)?);
        }
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            progress: Mutex::new(Expected::exactly(contents)),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                // What ends it is a database that was stopped: the switch, the kill or the full disk is on record.
                let _ = write(&shared, &mut clients, number).await;
            }
        });
        Ok(Writer { shared, task })
    }

    /// What was sent so far, and what was acknowledged.
    pub(crate) fn progress(&self) -> Expected {
        self.shared.with(|progress| progress.clone())
    }

    pub(crate) fn is_writing(&self) -> bool {
        !self.task.is_finished()
    }

    /// Lets it finish the row; returns what was sent and acknowledged.
    pub(crate) async fn stop(self) -> Expected {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = self.task.await;
        self.shared.with(|progress| progress.clone())
    }
}

async fn write(shared: &Shared, clients: &mut [Client], number: u32) -> Result<()> {
    loop {
        let progress = shared.with(|progress| progress.clone());
        // The row that the last of the databases lacks, else a new one.
        let row = progress.at_most[2] + 1;
        let writer = progress.line.writer(row).unwrap_or(number);
        if row > progress.line.len() && shared.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        for (at, client) in clients.iter_mut().enumerate() {
            if progress.at_most[at] >= row {
                continue;
            }
            shared.with(|progress| {
                if progress.line.len() < row {
                    progress.line.push(writer);
                }
                progress.at_most[at] = row;
            });
            client.insert(row, writer).await?;
            shared.with(|progress| progress.at_least[at] = row);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
