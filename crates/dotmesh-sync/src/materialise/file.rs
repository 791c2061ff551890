//! A file that several threads write. One of them opens or creates it, each writes the ranges whose bytes it has, and
//! the last one finishes it.

use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, EntryName, Segment};
use rustix::fs::{Advice, AtFlags, FallocateFlags, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::content::Edit;
use super::directory::{Directory, Place};
use super::local::Local;
use crate::disk::{self, Handle};

/// The largest block size of file systems, in bytes.
const BLOCK_LENGTH: u64 = 64 << 10;

/// The page size of the kernel's file cache in bytes, or a divisor of it.
const PAGE_LENGTH: u64 = 4 << 10;

/// A part that spans fewer bytes is not written out at once. The sync at the end costs less for many small files
/// together.
const WRITTEN_OUT: u64 = 64 << 10;

/// The most buffers that the kernel takes in one call (`IOV_MAX`).
const MAX_PIECES: usize = 1024;

/// A file, with its attributes and size in the target.
#[derive(Debug)]
pub(super) struct File {
    pub(super) directory: Arc<Directory>,
    pub(super) name: EntryName,
    pub(super) attributes: Attributes,
    pub(super) size: u64,
    /// The state of the name before. A change in place changes the other names of a hard-linked file too, as it must. A
    /// file that starts or stops being hard-linked is therefore not changed in place.
    pub(super) place: Place,
    /// The hash of the content, if the base may have a file with the same content.
    pub(super) same_as: Option<ObjectHash>,
    /// The number of the file in [`super::shared::Shared`].
    pub(super) number: OnceLock<u32>,
    made: Mutex<Option<Made>>,
    /// The number of parts that are not written yet, plus one as long as more may come.
    parts: AtomicUsize,
    /// Held while a part is written. The kernel lets only one thread write a file at a time, and the others would spin.
    writing: Mutex<()>,
}

/// The state of a file when it was first opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    /// The file had no bytes.
    pub(super) is_blank: bool,
    /// The file did not exist.
    is_new: bool,
}

/// Some edits of a file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: Arc<File>,
    pub(super) edits: Vec<Edit>,
    /// Whether this is the last part of the file.
    is_last: bool,
}

impl File {
    pub(super) fn new(
        directory: &Arc<Directory>,
        name: EntryName,
        place: Place,
        attributes: Attributes,
        size: u64,
        same_as: Option<ObjectHash>,
    ) -> Self {
        Self {
            directory: Arc::clone(directory),
            name,
            attributes,
            size,
            place,
            same_as,
            number: OnceLock::new(),
            made: Mutex::new(None),
            parts: AtomicUsize::new(1),
            writing: Mutex::default(),
        }
    }

    /// Opens the file. The first call creates it, or changes its size.
    pub(super) fn open(
        &self,
        at: BorrowedFd<'_>,
        local: &Local,
        resumed: bool,
    ) -> rustix::io::Result<(OwnedFd, Made)> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = *made {
            return Ok((self.open_regular(at)?, made));
        }
        let (file, how) = match (self.place, resumed) {
            (Place::Ours, _) => (self.open_sized(at)?, Made::CHANGED),
            (_, true) => self.take(at, local)?,
            (Place::Taken, false) => {
                disk::remove(at, &self.name)?;
                self.create(at, local)?
            }
            (Place::Free, false) => self.create(at, local)?,
        };
        if resumed && !how.is_new {
            // The cache may have bytes that are not on the disk. Only those on the disk count.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
        *made = Some(how);
        Ok((file, how))
    }

    fn open_regular(&self, at: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        let name = self.name.as_bytes();
        let file = disk::insist(at, name, || disk::open_file(at, name, OFlags::RDWR))?;
        if disk::file_type(&rustix::fs::fstat(&file)?) == FileType::RegularFile {
            Ok(file)
        } else {
            Err(Errno::INVAL)
        }
    }

    fn open_sized(&self, at: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
        let file = self.open_regular(at)?;
        if disk::size(&rustix::fs::fstat(&file)?) != self.size {
            rustix::fs::ftruncate(&file, self.size)?;
        }
        Ok(file)
    }

    /// The mode with which the file is created. It is the file's own if that lets the owner read and write.
    fn first_mode(&self) -> u16 {
        match self.attributes.mode & 0o777 {
            mode if mode & 0o600 == 0o600 => mode,
            _ => 0o600,
        }
    }

    fn create(&self, at: BorrowedFd<'_>, local: &Local) -> rustix::io::Result<(OwnedFd, Made)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(RawMode::from(self.first_mode()));
        let name = self.name.as_bytes();
        let file = disk::insist(at, name, || {
            rustix::fs::openat(at, name, flags | OFlags::CLOEXEC, mode)
        })?;
        let copied = self
            .same_as
            .is_some_and(|hash| local.copy_file(hash, self.size, file.as_fd()));
        let how = Made {
            is_blank: !copied,
            is_new: true,
        };
        Ok((file, how))
    }

    /// Opens the file that an earlier attempt left. If something else is there, replaces it.
    fn take(&self, at: BorrowedFd<'_>, local: &Local) -> rustix::io::Result<(OwnedFd, Made)> {
        match disk::stat(at, self.name.as_bytes()) {
            Ok(stat) if disk::file_type(&stat) == FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    self.separate(at)?;
                }
                Ok((self.open_sized(at)?, Made::CHANGED))
            }
            Ok(_) => {
                disk::remove(at, &self.name)?;
                self.create(at, local)
            }
            Err(Errno::NOENT) => self.create(at, local),
            Err(errno) => Err(errno),
        }
    }

    /// Replaces a hard-linked file by a copy with one name. The file's other names may belong to the base.
    fn separate(&self, at: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let shared = self.open_regular(at)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let own = disk::insist(at, self.name.as_bytes(), || {
            rustix::fs::openat(at, ".", flags, Mode::RUSR | Mode::WUSR)
        })?;
        // If this fails, the bytes are fetched again.
        let _ = disk::copy(shared.as_fd(), own.as_fd(), self.size);
        disk::remove(at, &self.name)?;
        let path = disk::path_of(own.as_fd());
        rustix::fs::linkat(
            rustix::fs::CWD,
            path,
            at,
            self.name.as_bytes(),
            AtFlags::SYMLINK_FOLLOW,
        )
    }

    /// Sets the attributes of the file.
    fn finish(
        &self,
        file: BorrowedFd<'_>,
        made: Made,
        new: Option<disk::New>,
    ) -> rustix::io::Result<()> {
        let new = new
            .filter(|_| made.is_new && !self.directory.inherits())
            .map(|new| disk::New {
                mode: new.mode & self.first_mode(),
                ..new
            });
        disk::apply(Handle::Open(file), &self.attributes, new)
    }
}

impl Made {
    const CHANGED: Self = Self {
        is_blank: false,
        is_new: false,
    };
}

impl Part {
    /// Makes a part. All parts before the last must be made before it.
    pub(super) fn new(file: &Arc<File>, edits: Vec<Edit>, is_last: bool) -> Self {
        if !is_last {
            file.parts.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            file: Arc::clone(file),
            edits,
            is_last,
        }
    }

    /// Writes the edits. `chunk` returns their bytes. After the last part, it sets the attributes of the file. `new`
    /// has the owner and mode of new files.
    pub(super) fn write<'a>(
        &self,
        (file, made): (OwnedFd, Made),
        chunk: impl Fn(ObjectHash) -> Option<&'a [u8]>,
        new: Option<disk::New>,
    ) -> rustix::io::Result<()> {
        if !made.is_blank {
            self.read_ahead(file.as_fd());
        }
        self.write_edits(file.as_fd(), made, chunk)?;
        self.write_out(file.as_fd());
        if self.file.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.file.finish(file.as_fd(), made, new)?;
        }
        Ok(())
    }

    fn write_edits<'a>(
        &self,
        file: BorrowedFd<'_>,
        made: Made,
        chunk: impl Fn(ObjectHash) -> Option<&'a [u8]>,
    ) -> rustix::io::Result<()> {
        let _writing = self
            .file
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut run = Run::default();
        for Edit { offset, segment } in &self.edits {
            match segment {
                Segment::Data { hash, .. } => {
                    let bytes = chunk(*hash).ok_or(Errno::NODATA)?;
                    run.add(file, *offset, bytes)?;
                }
                // A new file is one hole already.
                Segment::Hole { .. } if made.is_blank => {}
                Segment::Hole { length } => punch(file, *offset, *length, self.file.size)?,
            }
        }
        let end = run.end();
        run.flush(file)?;
        if self.is_last && made.is_blank && end != Some(self.file.size) && self.file.size > 0 {
            rustix::fs::ftruncate(file, self.file.size)?;
        }
        Ok(())
    }

    /// Reads ahead all pages that are only partly overwritten. Otherwise each write waits for its own page.
    fn read_ahead(&self, file: BorrowedFd<'_>) {
        let data = self
            .edits
            .iter()
            .filter(|edit| matches!(edit.segment, Segment::Data { .. }));
        let mut edges = Vec::new();
        for edit in data {
            // Adjacent edits are one write.
            if edges.last() == Some(&edit.offset) {
                edges.pop();
            } else {
                edges.push(edit.offset);
            }
            edges.push(edit.offset + edit.segment.length());
        }
        for edge in edges {
            if edge % PAGE_LENGTH != 0 {
                let _ = rustix::fs::fadvise(file, edge, NonZeroU64::new(1), Advice::WillNeed);
            }
        }
    }

    /// Makes the kernel start to write the part to disk while more is fetched, and drop what it has already written.
    /// Nobody reads the dropped bytes here, because working copies have their own page cache.
    fn write_out(&self, file: BorrowedFd<'_>) {
        let (Some(first), Some(last)) = (self.edits.first(), self.edits.last()) else {
            return;
        };
        let end = last.offset + last.segment.length();
        if end - first.offset >= WRITTEN_OUT {
            let _ = rustix::fs::fadvise(file, 0, NonZeroU64::new(end), Advice::DontNeed);
        }
    }
}

/// Adjacent chunks, which are written with one call.
#[derive(Default)]
struct Run<'a> {
    offset: u64,
    length: u64,
    pieces: Vec<IoSlice<'a>>,
}

impl<'a> Run<'a> {
    fn add(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        bytes: &'a [u8],
    ) -> rustix::io::Result<()> {
        if self.end() != Some(offset) || self.pieces.len() == MAX_PIECES {
            self.flush(file)?;
            self.offset = offset;
        }
        self.length += bytes.len() as u64;
        self.pieces.push(IoSlice::new(bytes));
        Ok(())
    }

    fn end(&self) -> Option<u64> {
        (!self.pieces.is_empty()).then_some(self.offset + self.length)
    }

    fn flush(&mut self, file: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let mut pieces = &mut self.pieces[..];
        let mut offset = self.offset;
        while !pieces.is_empty() {
            let written = match rustix::io::pwritev(file, pieces, offset) {
                Err(Errno::INTR) => continue,
                Ok(0) => return Err(Errno::IO),
                result => result?,
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut pieces, written);
        }
        self.pieces.clear();
        self.length = 0;
        Ok(())
    }
}

fn punch(file: BorrowedFd<'_>, offset: u64, length: u64, size: u64) -> rustix::io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // The kernel frees only whole blocks, so a hole at the end of the file is extended to the end of the last block.
    let beyond = if offset + length == size {
        BLOCK_LENGTH
    } else {
        0
    };
    rustix::fs::fallocate(file, flags, offset, length + beyond)
}
