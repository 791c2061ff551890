//! A part of a file that is mapped into memory, which is never read or written through the mapping.
#![expect(
    unsafe_code,
    reason = "mmap, mincore and madvise take pointers that the compiler cannot check"
)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// The size of a page, in bytes. It is at least the block size of a file that is mapped.
pub(super) fn page() -> usize {
    rustix::param::page_size()
}

pub(super) struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Maps bytes of a file that is open for reading and writing. The offset is a multiple of the page size.
    pub(super) fn new(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that is free, and nothing is read or written there.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                flags,
                MapFlags::SHARED,
                file,
                offset,
            )
        }?;
        Ok(Self { start, length })
    }

    /// Says of each page whether it is in the page cache.
    pub(super) fn cached(&self) -> io::Result<Vec<bool>> {
        let mut pages = vec![0_u8; self.length.div_ceil(page())];
        // SAFETY: the vector has a byte for each page of the mapping.
        let done = unsafe { libc::mincore(self.start, self.length, pages.as_mut_ptr()) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages.into_iter().map(|page| page & 1 != 0).collect())
    }

    /// Makes the kernel write some pages to the disk again, as they are in its cache. Races with no program that writes to
    /// the file, since this changes no byte.
    pub(super) fn make_dirty(&self, pages: Range<usize>) -> io::Result<()> {
        let (first, length) = (pages.start * page(), pages.len() * page());
        debug_assert!(first + length <= self.length.next_multiple_of(page()));
        // SAFETY: these are pages of the mapping. This advice changes no memory, and reports what would be a signal.
        unsafe {
            madvise(
                self.start.byte_add(first),
                length,
                Advice::LinuxPopulateWrite,
            )
        }?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, and nothing refers to its memory.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}
