//! Counts the progress of a transfer. Anyone may read the counters while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dotmesh_api::node::TransferProgress;

/// The counters of one transfer, shared by its parts. Each number is correct, but they are not read at one instant.
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
    /// What the transfer waits for, and the number of waiting parts.
    waiting: Option<(String, usize)>,
}

impl Progress {
    /// Sets the description of the phase that begins now.
    pub fn start_phase(&self, phase: &'static str) {
        self.text().phase = phase;
    }

    /// Sets what the transfer waits for, until the guard is dropped.
    pub fn wait(&self, what: String) -> Waiting<'_> {
        let mut text = self.text();
        let others = text.waiting.take().map_or(0, |(_, count)| count);
        text.waiting = Some((what, others + 1));
        Waiting(self)
    }

    /// Adds to the number of bytes of the app's data that the transfer must process.
    pub fn add_total(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes of the app's data as processed.
    pub fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that were sent over the network.
    pub fn add_wire(&self, bytes: u64) {
        self.wire.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that are not sent, because the other side has them.
    pub fn add_deduplicated(&self, bytes: u64) {
        self.deduplicated.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that compression saved.
    pub fn add_compressed(&self, bytes: u64) {
        self.compressed.fetch_add(bytes, Relaxed);
    }

    /// Returns the processed bytes and the total so far.
    pub fn counted(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }

    /// Returns the current numbers.
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
            // The total is an estimate until the transfer ends.
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

/// Shows that a part of the transfer waits, until it is dropped.
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
