//! Reads a file: the ranges with data, and the bytes, with some read-ahead.

use std::os::fd::BorrowedFd;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::SealError;
use crate::disk::{self, DiskError};

/// The bytes that are read at once if all of them are needed. This is not larger, because a read does not yield the
/// CPU, and because each chunk keeps the whole buffer in memory.
const LARGE_READ: usize = 256 << 10;

/// Reads a file that does not change.
pub(super) struct Reader<'a> {
    file: BorrowedFd<'a>,
    path: &'a [u8],
    size: u64,
    /// The bytes of the last read, and their position in the file. Chunks are slices of this buffer, not copies.
    buffer: Bytes,
    start: u64,
    /// The last range of data that was found. It has no holes.
    data: std::ops::Range<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: BorrowedFd<'a>, path: &'a [u8], size: u64) -> Self {
        Self {
            file,
            path,
            size,
            buffer: Bytes::new(),
            start: 0,
            data: 0..0,
        }
    }

    /// The next range of data, at an offset or after it. At the end of the file it is empty.
    pub(super) fn data_from(&mut self, at: u64) -> Result<std::ops::Range<u64>, SealError> {
        if self.data.contains(&at) {
            return Ok(at..self.data.end);
        }
        let start = match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => self.size,
            result => result.map_err(|errno| self.failed(errno))?.min(self.size),
        };
        if start == self.size {
            return Ok(start..start);
        }
        let hole = rustix::fs::seek(self.file, SeekFrom::Hole(start));
        let end = hole.map_err(|errno| self.failed(errno))?.min(self.size);
        if end <= start {
            return Err(self.changed());
        }
        self.data = start..end;
        Ok(start..end)
    }

    /// Reads at least `least` bytes from an offset. Bytes up to `until` will be needed too, so some of them may be read
    /// now.
    pub(super) fn bytes(&mut self, at: u64, least: usize, until: u64) -> Result<Bytes, SealError> {
        let held = self.held(at);
        if held.len() >= least {
            return Ok(held);
        }
        let needed = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
        let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
        let target = needed.min(LARGE_READ).max(least).min(left);
        let mut bytes = Vec::with_capacity(target);
        bytes.extend_from_slice(&held);
        while bytes.len() < target {
            let from = at + bytes.len() as u64;
            match rustix::io::pread(self.file, spare_capacity(&mut bytes), from) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno)),
                Ok(0) => return Err(self.changed()),
                Ok(_) => {}
            }
        }
        if bytes.len() < least {
            return Err(self.changed());
        }
        self.start = at;
        self.buffer = bytes.into();
        Ok(self.buffer.clone())
    }

    /// The bytes from an offset on that were already read.
    fn held(&self, at: u64) -> Bytes {
        let skip = at.checked_sub(self.start);
        let skip = skip.and_then(|skip| usize::try_from(skip).ok());
        match skip {
            Some(skip) if skip <= self.buffer.len() => self.buffer.slice(skip..),
            _ => Bytes::new(),
        }
    }

    fn failed(&self, errno: Errno) -> SealError {
        DiskError::new("read", self.path, errno).into()
    }

    pub(super) fn changed(&self) -> SealError {
        SealError::Changed {
            path: disk::show(self.path),
        }
    }
}
