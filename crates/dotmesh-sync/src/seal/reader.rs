//! Reads a file: where its data is, and the bytes, with some read ahead.

use std::os::fd::BorrowedFd;

use dotmesh_store::chunker::MAX_CHUNK;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::SealError;
use crate::disk::{self, DiskError};

/// So many bytes are read at once where more will be needed,
const LARGE_READ: usize = 1 << 20;

/// and so many where that is not certain.
const SMALL_READ: usize = 32 << 10;

/// The memory that files are read into, one after the other.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

/// A file that does not change.
pub(super) struct Reader<'a> {
    file: BorrowedFd<'a>,
    path: &'a [u8],
    size: u64,
    buffer: &'a mut Buffer,
    /// Where the buffer's bytes are in the file.
    start: u64,
    length: usize,
    /// The data that was found last: to its end there is no hole.
    data: std::ops::Range<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: BorrowedFd<'a>,
        path: &'a [u8],
        size: u64,
        buffer: &'a mut Buffer,
    ) -> Self {
        buffer.bytes.resize(LARGE_READ + MAX_CHUNK, 0);
        Self {
            file,
            path,
            size,
            buffer,
            start: 0,
            length: 0,
            data: 0..0,
        }
    }

    /// Where the next data begins, at an offset or after it, and where it ends. At the file's end there is none.
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

    /// The bytes from an offset on, at least `least` of them. Up to `until` all will be needed.
    pub(super) fn bytes(&mut self, at: u64, least: usize, until: u64) -> Result<&[u8], SealError> {
        let have = self.held(at);
        if have < least {
            self.fill(at, have, least, until)?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(&self.buffer.bytes[from..self.length])
    }

    /// How many bytes from an offset on are in the buffer.
    fn held(&self, at: u64) -> usize {
        let end = self.start + self.length as u64;
        if (self.start..end).contains(&at) {
            usize::try_from(end - at).unwrap_or(0)
        } else {
            0
        }
    }

    fn fill(&mut self, at: u64, have: usize, least: usize, until: u64) -> Result<(), SealError> {
        self.buffer
            .bytes
            .copy_within(self.length - have..self.length, 0);
        self.start = at;
        self.length = have;
        let needed = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
        let target = needed.clamp(SMALL_READ, LARGE_READ).max(least);
        let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
        let target = target.min(left);
        while self.length < target {
            let into = &mut self.buffer.bytes[self.length..target];
            let position = self.start + self.length as u64;
            match rustix::io::pread(self.file, into, position) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno)),
                Ok(0) => return Err(self.changed()),
                Ok(read) => self.length += read,
            }
        }
        if self.length < least {
            return Err(self.changed());
        }
        Ok(())
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
