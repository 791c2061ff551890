//! The thread that writes: takes the steps in order, and reaches every name through the descriptors of the
//! directories above it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, EntryName, Inode, InodeKind, Segment};
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::MaterialiseError;
use super::pipeline::{Batch, DirectoryId, Step};
use crate::disk::{self, DiskError, Handle};
use crate::progress::Progress;

/// No file system has larger blocks.
const BLOCK_LENGTH: u64 = 64 << 10;

pub(super) struct Applier {
    root: OwnedFd,
    /// Where each directory is, by its id; the root is its own parent.
    directories: Vec<(DirectoryId, Box<[u8]>)>,
    /// The directories on the way to the last one used. Steps come in such an order that most are used again.
    open: Vec<(DirectoryId, OwnedFd)>,
    file: Option<OpenFile>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
}

struct OpenFile {
    file: OwnedFd,
    path: Vec<u8>,
    is_new: bool,
    size: u64,
    /// Bytes that progress does not count yet.
    uncounted: u64,
}

impl Applier {
    pub(super) fn new(root: OwnedFd, progress: Arc<Progress>, stop: Arc<AtomicBool>) -> Self {
        let directories = vec![(DirectoryId::ROOT, Box::default())];
        Self {
            root,
            directories,
            open: Vec::new(),
            file: None,
            progress,
            stop,
        }
    }

    /// Takes every step. Ends early when the sender is gone or asks to stop.
    pub(super) fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
    ) -> Result<(), MaterialiseError> {
        while let Some(Batch { steps, chunks }) = batches.blocking_recv() {
            for step in steps {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(MaterialiseError::Stopped);
                }
                self.step(step, &chunks)?;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        step: Step,
        chunks: &HashMap<ObjectHash, Bytes>,
    ) -> Result<(), MaterialiseError> {
        match step {
            Step::Remove { directory, name } => {
                let at = self.directory(directory)?;
                let result = disk::remove(at, &name);
                self.check("remove", directory, name.as_bytes(), result)
            }
            Step::Enter {
                parent,
                name,
                create,
            } => {
                if create {
                    let at = self.directory(parent)?;
                    let result = rustix::fs::mkdirat(at, name.as_bytes(), Mode::RWXU);
                    self.check("create", parent, name.as_bytes(), result)?;
                }
                self.directories.push((parent, name.as_bytes().into()));
                Ok(())
            }
            Step::Special {
                directory,
                name,
                inode,
                create,
            } => {
                let at = self.directory(directory)?;
                let result = special(at, name.as_bytes(), &inode, create);
                self.check("write", directory, name.as_bytes(), result)
            }
            Step::Open {
                directory,
                name,
                size,
                base_size,
            } => {
                let at = self.directory(directory)?;
                let result = open(at, name.as_bytes(), size, base_size);
                let file = self.check("write", directory, name.as_bytes(), result)?;
                let path = self.path(directory, name.as_bytes());
                let is_new = base_size.is_none();
                self.file = Some(OpenFile {
                    file,
                    path,
                    is_new,
                    size,
                    uncounted: size,
                });
                Ok(())
            }
            Step::Write { offset, segment } => self.write(offset, segment, chunks),
            Step::Close { attributes } => self.close(&attributes),
            Step::Link {
                directory,
                name,
                first,
            } => {
                let root = self
                    .root
                    .try_clone()
                    .map_err(|source| self.no_descriptor(source))?;
                let at = self.directory(directory)?;
                let result = link(root.as_fd(), &first, at, name.as_bytes());
                self.check("link", directory, name.as_bytes(), result)
            }
            Step::SetAttributes {
                directory,
                attributes,
            } => {
                let at = self.directory(directory)?;
                let result = disk::apply(Handle::Open(at), &attributes);
                self.check("set the attributes of", directory, b"", result)
            }
        }
    }

    fn write(
        &mut self,
        offset: u64,
        segment: Segment,
        chunks: &HashMap<ObjectHash, Bytes>,
    ) -> Result<(), MaterialiseError> {
        let Some(open) = &mut self.file else {
            return Err(MaterialiseError::Stopped);
        };
        let result = match segment {
            // A new file is one hole.
            Segment::Hole { .. } if open.is_new => Ok(()),
            // Blocks are freed whole, so the hole at the end goes on to the end of the file's last one.
            Segment::Hole { length } if offset + length == open.size => {
                punch(open.file.as_fd(), offset, length + BLOCK_LENGTH)
            }
            Segment::Hole { length } => punch(open.file.as_fd(), offset, length),
            Segment::Data { hash, .. } => {
                let chunk = chunks
                    .get(&hash)
                    .ok_or(MaterialiseError::Inconsistent { hash })?;
                write_all(open.file.as_fd(), chunk, offset)
            }
        };
        result.map_err(|errno| DiskError::new("write", &open.path, errno))?;
        let count = segment.length().min(open.uncounted);
        open.uncounted -= count;
        self.progress.add_done(count);
        Ok(())
    }

    fn close(&mut self, attributes: &Attributes) -> Result<(), MaterialiseError> {
        let Some(open) = self.file.take() else {
            return Err(MaterialiseError::Stopped);
        };
        disk::apply(Handle::Open(open.file.as_fd()), attributes)
            .map_err(|errno| DiskError::new("set the attributes of", &open.path, errno))?;
        self.progress.add_done(open.uncounted);
        Ok(())
    }

    /// A directory's descriptor, by way of those above it.
    fn directory(&mut self, id: DirectoryId) -> Result<BorrowedFd<'_>, MaterialiseError> {
        let mut way = Vec::new();
        let mut at = id;
        while at != DirectoryId::ROOT && !self.open.iter().rev().any(|(open, _)| *open == at) {
            way.push(at);
            at = self.directories[at.0].0;
        }
        let keep = self
            .open
            .iter()
            .position(|(open, _)| *open == at)
            .map_or(0, |index| index + 1);
        self.open.truncate(keep);
        for id in way.into_iter().rev() {
            let above = self
                .open
                .last()
                .map_or(self.root.as_fd(), |(_, open)| open.as_fd());
            let (parent, name) = &self.directories[id.0];
            let result = disk::open_directory(above, name);
            let opened = self.check("open", *parent, name, result)?;
            self.open.push((id, opened));
        }
        Ok(self
            .open
            .last()
            .map_or(self.root.as_fd(), |(_, open)| open.as_fd()))
    }

    fn check<T>(
        &self,
        verb: &'static str,
        directory: DirectoryId,
        name: &[u8],
        result: rustix::io::Result<T>,
    ) -> Result<T, MaterialiseError> {
        result.map_err(|errno| DiskError::new(verb, &self.path(directory, name), errno).into())
    }

    fn no_descriptor(&self, source: std::io::Error) -> DiskError {
        DiskError {
            verb: "open",
            path: disk::show(b""),
            source,
        }
    }

    /// The path of a name in a directory, for errors.
    fn path(&self, directory: DirectoryId, name: &[u8]) -> Vec<u8> {
        let mut names = vec![name];
        let mut at = directory;
        while at != DirectoryId::ROOT {
            let (parent, name) = &self.directories[at.0];
            names.push(name);
            at = *parent;
        }
        names.retain(|name| !name.is_empty());
        names.reverse();
        names.join(&b'/')
    }
}

/// Makes a symlink or fifo, or takes the one that is there, and gives it its attributes.
fn special(at: BorrowedFd<'_>, name: &[u8], inode: &Inode, create: bool) -> rustix::io::Result<()> {
    if let InodeKind::Symlink { target } = &inode.kind {
        if create {
            rustix::fs::symlinkat(&**target, at, name)?;
        }
        return disk::apply(Handle::Symlink { at, name }, &inode.attributes);
    }
    if create {
        rustix::fs::mknodat(at, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    let fifo = disk::open_file(at, name, OFlags::RDONLY)?;
    disk::apply(Handle::Open(fifo.as_fd()), &inode.attributes)
}

/// Makes a file, or opens the one that is there, and gives it its size.
fn open(
    at: BorrowedFd<'_>,
    name: &[u8],
    size: u64,
    base_size: Option<u64>,
) -> rustix::io::Result<OwnedFd> {
    let file = match base_size {
        Some(_) => {
            let file = disk::open_file(at, name, OFlags::WRONLY)?;
            if disk::file_type(&rustix::fs::fstat(&file)?) != FileType::RegularFile {
                return Err(Errno::INVAL);
            }
            file
        }
        None => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::openat(at, name, flags | OFlags::CLOEXEC, mode)?
        }
    };
    if base_size.unwrap_or(0) != size {
        rustix::fs::ftruncate(&file, size)?;
    }
    Ok(file)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = match rustix::io::pwrite(file, bytes, offset) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Err(Errno::IO),
            result => result?,
        };
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

fn punch(file: BorrowedFd<'_>, offset: u64, length: u64) -> rustix::io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, length)
}

/// Gives the file at the path `first` of the tree one more name. No part of the path may be a symlink.
fn link(
    root: BorrowedFd<'_>,
    first: &[u8],
    at: BorrowedFd<'_>,
    name: &[u8],
) -> rustix::io::Result<()> {
    let mut names = first.split(|byte| *byte == b'/').peekable();
    let mut above: Option<OwnedFd> = None;
    while let Some(part) = names.next() {
        let here = above.as_ref().map_or(root, |open| open.as_fd());
        // The node's decoder refuses these; an escape is worth a second look.
        if EntryName::new(part).is_err() {
            return Err(Errno::INVAL);
        }
        if names.peek().is_some() {
            above = Some(disk::open_directory(here, part)?);
            continue;
        }
        if disk::file_type(&disk::stat(here, part)?) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        // Without a flag, linkat does not follow a symlink either.
        return rustix::fs::linkat(here, part, at, name, AtFlags::empty());
    }
    Err(Errno::INVAL)
}
