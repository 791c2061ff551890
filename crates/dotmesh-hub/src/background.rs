//! Threads for work that takes the CPU for long: unpacking, hashing and packing of pushes, and what the gate lets through
//! (`gate.rs`). They give way to those that answer requests, and to whatever else the machine does.

use std::sync::{Arc, OnceLock};

use dotmesh_store::polite::give_way;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// The threads. They start when there is work. Cheap to clone.
#[derive(Clone, Default)]
pub struct Background(Arc<Threads>);

/// A runtime, for the threads that it starts for what blocks: no other work gets there.
#[derive(Default)]
struct Threads(OnceLock<Option<Runtime>>);

impl Background {
    /// Does some work there.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let Threads(threads) = &*self.0;
        match threads.get_or_init(start) {
            Some(threads) => threads.handle().spawn_blocking(work),
            None => Handle::current().spawn_blocking(work),
        }
    }
}

fn start() -> Option<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // One person's long work leaves a thread to others.
    let threads = cores.max(2);
    let started = Builder::new_current_thread()
        .thread_name("dothub-work")
        .max_blocking_threads(threads)
        .on_thread_start(give_way)
        .build();
    if let Err(error) = &started {
        tracing::warn!(%error, "long work does not give way to other requests");
    }
    started.ok()
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take().flatten() {
            // Whoever drops the hub last may be a task, which must not wait.
            threads.shutdown_background();
        }
    }
}
