//! How far a transfer is: counters that anyone may read while it runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dotmesh_api::node::TransferProgress;

/// Shared by the parts of one transfer. Each number is right on its own; they are not read at one instant.
#[derive(Debug, Default)]
pub struct Progress {
    phase: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    wire: AtomicU64,
}

impl Progress {
    /// Says in a few words what begins now.
    pub fn start_phase(&self, phase: &'static str) {
        *self
            .phase
            .lock()
            .expect("nothing panics while it holds the phase") = phase;
    }

    /// Says how many bytes of the app's data there are to deal with, besides those said before.
    pub fn add_total(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes of the app's data as dealt with.
    pub fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that crossed the network.
    pub fn add_wire(&self, bytes: u64) {
        self.wire.fetch_add(bytes, Relaxed);
    }

    /// The bytes that were dealt with, and all that there are, as said so far.
    pub fn counted(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }

    /// The numbers now.
    pub fn snapshot(&self) -> TransferProgress {
        let phase = *self
            .phase
            .lock()
            .expect("nothing panics while it holds the phase");
        let (done, total) = (self.done.load(Relaxed), self.total.load(Relaxed));
        TransferProgress {
            phase: phase.to_owned(),
            done,
            // The total is an estimate until the end.
            total: if total == 0 { 0 } else { total.max(done) },
            wire: self.wire.load(Relaxed),
        }
    }
}
