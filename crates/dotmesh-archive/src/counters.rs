//! How far an archive is, for those who watch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::ArchiveError;

/// Counts what was done. Another thread may read it, and cancel the work.
#[derive(Debug, Default)]
pub struct Counters {
    bytes: AtomicU64,
    entries: AtomicU64,
    cancelled: AtomicBool,
}

impl Counters {
    /// The bytes of file content so far, without holes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The files, folders and links so far.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Makes the work end with [`ArchiveError::Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, count: usize) -> Result<(), ArchiveError> {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.check()
    }

    pub(crate) fn add_entry(&self) -> Result<(), ArchiveError> {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.check()
    }

    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(ArchiveError::Cancelled),
            false => Ok(()),
        }
    }
}
