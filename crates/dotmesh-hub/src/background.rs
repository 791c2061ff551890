//! Threads for the work of pushes, which takes the processors for long: unpacking, hashing, packing. They give way to those that
//! answer requests, and to whatever else the machine does.

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
    let started = Builder::new_current_thread()
        .thread_name("dothub-pushes")
        .max_blocking_threads(cores)
        .on_thread_start(give_way)
        .build();
    if let Err(error) = &started {
        tracing::warn!(%error, "the work of pushes does not give way to other requests");
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
