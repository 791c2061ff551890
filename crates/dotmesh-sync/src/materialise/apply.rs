//! The threads that write. Each takes batches of steps, and reaches every name through the descriptors of the
//! directories above it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{EntryName, Inode, InodeKind, Segment};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::MaterialiseError;
use super::content::Edit;
use super::directory::{Cursor, Directory, Place};
use super::file::Part;
use super::local::Local;
use super::pipeline::{Batch, Step};
use super::shared::Shared;
use crate::disk::{self, DiskError, Handle};
use crate::limits::target_of;
use crate::progress::Progress;

/// The state that all threads share.
pub(super) struct Site {
    pub(super) root: Arc<OwnedFd>,
    pub(super) resumed: bool,
    pub(super) local: Local,
    pub(super) shared: Shared,
    /// Owner and mode of a new file that inherits nothing.
    pub(super) new: Option<disk::New>,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Site {
    pub(super) fn cursor(&self) -> Cursor {
        Cursor::new(Arc::clone(&self.root), self.resumed)
    }

    /// Fails if nobody waits for the result any more.
    pub(super) fn check_stop(&self) -> Result<(), MaterialiseError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(MaterialiseError::Stopped);
        }
        Ok(())
    }
}

/// Carries out batches until the sender is gone. Several threads share the receiver. The first thread that fails stops
/// all.
pub(super) fn run(
    site: &Site,
    batches: &Mutex<mpsc::Receiver<Batch>>,
) -> Result<(), MaterialiseError> {
    let result = take_all(site, batches);
    if result.is_err() {
        site.stop.store(true, Ordering::Relaxed);
    }
    result
}

fn take_all(site: &Site, batches: &Mutex<mpsc::Receiver<Batch>>) -> Result<(), MaterialiseError> {
    let mut worker = Worker {
        site,
        cursor: site.cursor(),
    };
    loop {
        let next = batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some(Batch { steps, chunks }) = next else {
            return Ok(());
        };
        for step in steps {
            site.check_stop()?;
            worker.step(step, &chunks)?;
        }
    }
}

struct Worker<'a> {
    site: &'a Site,
    cursor: Cursor,
}

impl Worker<'_> {
    fn step(
        &mut self,
        step: Step,
        chunks: &HashMap<ObjectHash, Bytes>,
    ) -> Result<(), MaterialiseError> {
        let resumed = self.site.resumed;
        match step {
            Step::Remove { directory, name } => self.at(&directory, &name, "remove", |at| {
                match disk::remove(at, &name) {
                    Err(Errno::NOENT) if resumed => Ok(()),
                    result => result,
                }
            }),
            Step::Make { directory } => {
                self.cursor.enter(&directory)?;
                Ok(())
            }
            Step::Special {
                directory,
                name,
                place,
                inode,
            } => {
                let new = self.site.new.filter(|_| !directory.inherits());
                let at = self.cursor.enter(&directory)?;
                special(at, &name, place, resumed, &inode, new).map_err(|errno| {
                    let path = directory.path(name.as_bytes());
                    let target = target_of(&inode);
                    disk::refused("write", &path, errno, &inode.attributes, target).into()
                })
            }
            Step::Write(part) => self.write(&part, chunks),
            Step::Link {
                directory,
                name,
                first,
            } => {
                let root = Arc::clone(&self.site.root);
                self.at(&directory, &name, "link", |at| {
                    link(root.as_fd(), &first, at, &name, resumed)
                })
            }
            Step::SetAttributes {
                directory,
                attributes,
            } => {
                let is_new = directory.place() != Place::Ours && !resumed && !directory.inherits();
                let new = self.site.new.filter(|_| is_new);
                let new = new.map(|new| disk::New {
                    mode: new.mode & 0o700,
                    ..new
                });
                let at = self.cursor.enter(&directory)?;
                let apply = || disk::apply(Handle::Open(at), &attributes, new);
                disk::insist(at, b".", apply).map_err(|errno| {
                    let path = directory.path(b"");
                    disk::refused("set the attributes of", &path, errno, &attributes, None).into()
                })
            }
        }
    }

    fn write(
        &mut self,
        part: &Part,
        chunks: &HashMap<ObjectHash, Bytes>,
    ) -> Result<(), MaterialiseError> {
        let Site { local, resumed, .. } = self.site;
        let file = &part.file;
        let at = self.cursor.enter(&file.directory)?;
        let chunk = |hash| chunks.get(&hash).map(|bytes: &Bytes| &**bytes);
        let opened = file.open(at, local, *resumed);
        let written = opened.and_then(|open| part.write(open, chunk, self.site.new));
        written.map_err(|errno| {
            let path = file.directory.path(file.name.as_bytes());
            disk::refused("write", &path, errno, &file.attributes, None)
        })?;
        self.site.shared.wrote(&part.file, &part.edits);
        self.site.progress.add_done(data_in(&part.edits));
        Ok(())
    }

    /// Runs `work` with the descriptor of a directory.
    fn at<T>(
        &mut self,
        directory: &Arc<Directory>,
        name: &EntryName,
        verb: &'static str,
        work: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, MaterialiseError> {
        let at = self.cursor.enter(directory)?;
        work(at)
            .map_err(|errno| DiskError::new(verb, &directory.path(name.as_bytes()), errno).into())
    }
}

/// The number of bytes to write.
pub(super) fn data_in(edits: &[Edit]) -> u64 {
    edits
        .iter()
        .filter(|edit| matches!(edit.segment, Segment::Data { .. }))
        .fold(0, |sum: u64, edit| {
            sum.saturating_add(edit.segment.length())
        })
}

/// Makes a symlink or fifo unless it is there already, and sets its attributes.
fn special(
    at: BorrowedFd<'_>,
    name: &EntryName,
    place: Place,
    resumed: bool,
    inode: &Inode,
    new: Option<disk::New>,
) -> rustix::io::Result<()> {
    let there = match place {
        Place::Ours => true,
        _ if resumed => take_special(at, name, inode)?,
        Place::Taken => {
            disk::remove(at, name)?;
            false
        }
        Place::Free => false,
    };
    let new = new.filter(|_| !there);
    let name = name.as_bytes();
    if let InodeKind::Symlink { target } = &inode.kind {
        if !there {
            disk::insist(at, name, || rustix::fs::symlinkat(&**target, at, name))?;
        }
        return disk::apply(Handle::Symlink { at, name }, &inode.attributes, new);
    }
    let mode = Mode::RUSR | Mode::WUSR;
    if !there {
        disk::insist(at, name, || {
            rustix::fs::mknodat(at, name, FileType::Fifo, mode, 0)
        })?;
    }
    let new = new.map(|new| disk::New {
        mode: new.mode & 0o600,
        ..new
    });
    let fifo = disk::open_file(at, name, OFlags::RDONLY)?;
    disk::apply(Handle::Open(fifo.as_fd()), &inode.attributes, new)
}

/// Whether an earlier attempt made the entry already. Removes anything else with this name.
fn take_special(at: BorrowedFd<'_>, name: &EntryName, inode: &Inode) -> rustix::io::Result<bool> {
    let stat = match disk::stat(at, name.as_bytes()) {
        Err(Errno::NOENT) => return Ok(false),
        result => result?,
    };
    let same = match (&inode.kind, disk::file_type(&stat)) {
        (InodeKind::Fifo, FileType::Fifo) => true,
        (InodeKind::Symlink { target }, FileType::Symlink) => {
            let there = rustix::fs::readlinkat(at, name.as_bytes(), Vec::new())?;
            there.as_bytes() == &**target
        }
        _ => false,
    };
    if !same {
        disk::remove(at, name)?;
    }
    Ok(same)
}

/// Adds a name for the file at the path `first` of the tree. No part of the path may be a symlink.
fn link(
    root: BorrowedFd<'_>,
    first: &[u8],
    at: BorrowedFd<'_>,
    name: &EntryName,
    resumed: bool,
) -> rustix::io::Result<()> {
    let (above, last) = disk::walk(root, first)?;
    let above = above.as_ref().map_or(root, |above| above.as_fd());
    let file = disk::stat(above, last)?;
    if disk::file_type(&file) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    if resumed {
        match disk::stat(at, name.as_bytes()) {
            Ok(there) if (there.st_dev, there.st_ino) == (file.st_dev, file.st_ino) => {
                return Ok(());
            }
            Ok(_) => disk::remove(at, name)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    // Without flags, `linkat` does not follow symlinks.
    let name = name.as_bytes();
    let link = || rustix::fs::linkat(above, last, at, name, AtFlags::empty());
    disk::insist(at, name, || disk::insist(above, last, link))
}
