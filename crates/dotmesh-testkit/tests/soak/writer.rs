//! The write load of a node: each row goes to all databases in turn, until one of them stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use dotmesh_testkit::Machine;
use tokio::task::JoinHandle;

use crate::databases::Client;
use crate::rows::{Contents, Expected, Store};

/// The pause between two rows. It keeps the number of rows small, so all of them can be read quickly.
const PAUSE: Duration = Duration::from_millis(15);

/// Writes until it is stopped or a database stops, and records which rows were sent and acknowledged.
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
    /// Continues from the rows in the databases. It first adds the rows that only some of them have.
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
                // A stopped database ends the writing. The cause is on record: a switch, a kill or a full disk.
                let _ = write(&shared, &mut clients, number).await;
            }
        });
        Ok(Writer { shared, task })
    }

    /// The rows that were sent so far, and those that were acknowledged.
    pub(crate) fn progress(&self) -> Expected {
        self.shared.with(|progress| progress.clone())
    }

    pub(crate) fn is_writing(&self) -> bool {
        !self.task.is_finished()
    }

    /// Lets the writer finish its row. Returns the rows that were sent and acknowledged.
    pub(crate) async fn stop(self) -> Expected {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = self.task.await;
        self.shared.with(|progress| progress.clone())
    }
}

async fn write(shared: &Shared, clients: &mut [Client], number: u32) -> Result<()> {
    loop {
        let progress = shared.with(|progress| progress.clone());
        // The next row that the last database lacks, or else a new row.
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
