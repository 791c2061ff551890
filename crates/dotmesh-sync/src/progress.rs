//! How far a transfer is: counters that anyone may read while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dotmesh_api::node::TransferProgress;

/// Shared by the parts of one transfer. Each number is right on its own; they are not read at one instant.
#[derive(Debug, Default)]
pub struct Progress {
    text: Mutex<Text>,
    done: AtomicU64,
    total: AtomicU64,
    wire: AtomicU64,
    deduplicated: AtomicU64,
    compressed: AtomicU64,
}

#[derive(Debug, Default)]
struct Text {
    phase: &'static str,
    /// What is waited for, and by how many.
    waiting: Option<(String, usize)>,
}

impl Progress {
    /// Says in a few words what begins now.
    pub fn start_phase(&self, phase: &'static str) {
        self.text().phase = phase;
    }

    /// Says what is waited for, until the guard is dropped.
    pub fn wait(&self, what: String) -> Waiting<'_> {
        let mut text = self.text();
        let others = text.waiting.take().map_or(0, |(_, count)| count);
        text.waiting = Some((what, others + 1));
        Waiting(self)
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

    /// Counts bytes that need not cross it, since the other side has them.
    pub fn add_deduplicated(&self, bytes: u64) {
        self.deduplicated.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes by which objects became smaller on their way.
    pub fn add_compressed(&self, bytes: u64) {
        self.compressed.fetch_add(bytes, Relaxed);
    }

    /// The bytes that were dealt with, and all that there are, as said so far.
    pub fn counted(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }

    /// The numbers now.
    pub fn snapshot(&self) -> TransferProgress {
        let phase = {
            let text = self.text();
            let waiting = text.waiting.as_ref().map(|(what, _)| what.clone());
            waiting.unwrap_or_else(|| text.phase.to_owned())
        };
        let (done, total) = (self.done.load(Relaxed), self.total.load(Relaxed));
        TransferProgress {
            phase,
            done,
            // The total is an estimate until the end.
            total: if total == 0 { 0 } else { total.max(done) },
            wire: self.wire.load(Relaxed),
            deduplicated: self.deduplicated.load(Relaxed),
            compressed: self.compressed.load(Relaxed),
        }
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as it lives, something is waited for.
#[must_use = "dropping it ends the waiting"]
pub struct Waiting<'a>(&'a Progress);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut text = self.0.text();
        text.waiting = match text.waiting.take() {
            Some((what, count)) if count > 1 => Some((what, count - 1)),
            _ => None,
        };
    }
}
