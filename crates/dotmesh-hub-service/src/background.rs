//! Threads for long CPU work: unpacking, hashing and packing of pushes, and the work that the gate admits (`gate.rs`).
//! They run at a lower priority than the threads that answer requests, and than other programs on the machine.

use std::sync::{Arc, OnceLock};

use dotmesh_store::polite::give_way;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// The pool of threads. It starts with the first work. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Background(Arc<Threads>);

/// A runtime of its own, used only for its blocking threads, so that no other work gets onto them.
#[derive(Default)]
struct Threads(OnceLock<Option<Runtime>>);

impl Background {
    /// Runs work on one of the threads.
    pub(crate) fn run<T: Send + 'static>(
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
    // With two threads, one person's long work always leaves a thread to others.
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
            // The last owner of the hub may be an async task, which must not block.
            threads.shutdown_background();
        }
    }
}
