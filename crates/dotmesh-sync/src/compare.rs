//! Compares two folders on disk, file by file, for `dm diff` and `dm status`.
//!
//! Both folders are working copies or snapshots of one dot. If a file has the same inode, time of birth, size and times
//! in both, nobody wrote it in between. Only other files are read.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dotmesh_store::EntryName;
use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::disk::{self, DiskError, STUB_INODE};

/// The depth below which directories are not compared. No push includes them either.
const MAX_DEPTH: usize = 256;

/// The inode number of a btrfs subvolume's root directory. No snapshot includes a nested subvolume.
const SUBVOLUME_INODE: u64 = 256;

const BUFFER: usize = 128 << 10;

/// A difference between the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// The path from the top.
    pub path: Vec<u8>,
    /// The present type, or the former one if it was removed.
    pub kind: EntryType,
    /// The kind of change.
    pub what: What,
    /// The size before in bytes, or 0 if it is new or not a file.
    pub before: u64,
    /// The size after in bytes, or 0 if it was removed or is not a file.
    pub after: u64,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryType {
    /// A regular file.
    File,
    /// A directory. If it was added or removed, it is reported only if it is empty.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, fifo or device.
    Other,
}

/// The kind of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// The content or the attributes have changed.
    Modified,
    /// The path has changed.
    Moved {
        /// The path before.
        from: Vec<u8>,
    },
}

/// How a written file is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A written file counts as modified. This is fast.
    AtTimes,
    /// A written file is read, and counts as modified if its bytes differ.
    AtBytes,
}

/// Compares two folders. Returns the changes sorted by path. An entry that vanishes before it is compared counts as
/// removed. A file that vanishes just before it is read counts as modified.
///
/// # Errors
///
/// Fails if a folder or a file can't be read.
pub fn compare(old: &Path, new: &Path, look: Look) -> Result<Vec<PathChange>, DiskError> {
    let (old, new) = (disk::open_root(old)?, disk::open_root(new)?);
    let mut comparing = Comparing {
        look,
        path: Vec::new(),
        changes: Vec::new(),
        gone: HashMap::new(),
        new: Vec::new(),
    };
    comparing.directories(Some(old.as_fd()), Some(new.as_fd()), 0)?;
    Ok(comparing.finish())
}

/// The identity of a file within the snapshots of one dot. Inode numbers are reused, but never with the same time of
/// birth.
type Identity = (u64, i64, u32);

/// One side of the comparison: a directory, if it exists.
type Side<'a> = Option<BorrowedFd<'a>>;

struct Comparing {
    look: Look,
    path: Vec<u8>,
    changes: Vec<PathChange>,
    /// The positions of removed files in `changes`, by their identity.
    gone: HashMap<Identity, usize>,
    /// The identities of added files, and their positions in `changes`.
    new: Vec<(Identity, usize)>,
}

impl Comparing {
    fn finish(mut self) -> Vec<PathChange> {
        let mut moved = HashSet::new();
        for (identity, at) in &self.new {
            if let Some(from) = self.gone.remove(identity) {
                let PathChange { path, before, .. } = self.changes[from].clone();
                self.changes[*at].what = What::Moved { from: path };
                self.changes[*at].before = before;
                moved.insert(from);
            }
        }
        let kept = self.changes.into_iter().enumerate();
        let kept = kept.filter(|(at, _)| !moved.contains(at));
        let mut changes: Vec<PathChange> = kept.map(|(_, change)| change).collect();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    /// Compares the entries of two directories. Returns whether there are any.
    fn directories(
        &mut self,
        old: Side<'_>,
        new: Side<'_>,
        depth: usize,
    ) -> Result<bool, DiskError> {
        if depth > MAX_DEPTH {
            return Ok(true);
        }
        let mut names = self.names(old)?;
        names.extend(self.names(new)?);
        names.sort_unstable();
        names.dedup();
        let length = self.path.len();
        for name in &names {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            self.entry(old, new, name.as_bytes(), depth)?;
            self.path.truncate(length);
        }
        Ok(!names.is_empty())
    }

    fn entry(
        &mut self,
        old: Side<'_>,
        new: Side<'_>,
        name: &[u8],
        depth: usize,
    ) -> Result<(), DiskError> {
        match (self.stat(old, name)?, self.stat(new, name)?) {
            (Some(before), Some(after)) if kind(&before) == kind(&after) => {
                let differs = match kind(&before) {
                    EntryType::Directory => {
                        let (old, new) = (self.directory(old, name)?, self.directory(new, name)?);
                        self.directories(
                            old.as_ref().map(AsFd::as_fd),
                            new.as_ref().map(AsFd::as_fd),
                            depth + 1,
                        )?;
                        attributes(&before) != attributes(&after)
                    }
                    EntryType::File => {
                        was_written(&before, &after)
                            && (attributes(&before) != attributes(&after)
                                || before.stx_size != after.stx_size
                                || self.look == Look::AtTimes
                                || self.bytes_differ(old, new, name)?)
                    }
                    EntryType::Symlink => {
                        attributes(&before) != attributes(&after)
                            || self.target(old, name)? != self.target(new, name)?
                    }
                    EntryType::Other => attributes(&before) != attributes(&after),
                };
                if differs {
                    self.add(Some(&before), Some(&after), What::Modified);
                }
            }
            (before, after) => {
                if let Some(before) = &before {
                    self.removed(old, name, before, depth)?;
                }
                if let Some(after) = &after {
                    self.added(new, name, after, depth)?;
                }
            }
        }
        Ok(())
    }

    fn removed(
        &mut self,
        old: Side<'_>,
        name: &[u8],
        before: &Statx,
        depth: usize,
    ) -> Result<(), DiskError> {
        if kind(before) == EntryType::Directory {
            let directory = self.directory(old, name)?;
            if self.directories(directory.as_ref().map(AsFd::as_fd), None, depth + 1)? {
                return Ok(());
            }
        }
        self.gone.insert(identity(before), self.changes.len());
        self.add(Some(before), None, What::Removed);
        Ok(())
    }

    fn added(
        &mut self,
        new: Side<'_>,
        name: &[u8],
        after: &Statx,
        depth: usize,
    ) -> Result<(), DiskError> {
        if kind(after) == EntryType::Directory {
            let directory = self.directory(new, name)?;
            if self.directories(None, directory.as_ref().map(AsFd::as_fd), depth + 1)? {
                return Ok(());
            }
        }
        self.new.push((identity(after), self.changes.len()));
        self.add(None, Some(after), What::Added);
        Ok(())
    }

    fn add(&mut self, before: Option<&Statx>, after: Option<&Statx>, what: What) {
        let size = |side: Option<&Statx>| match side {
            Some(stat) if kind(stat) == EntryType::File => stat.stx_size,
            _ => 0,
        };
        self.changes.push(PathChange {
            path: self.path.clone(),
            kind: after.or(before).map_or(EntryType::Other, kind),
            what,
            before: size(before),
            after: size(after),
        });
    }

    fn names(&self, directory: Side<'_>) -> Result<Vec<EntryName>, DiskError> {
        match directory {
            None => Ok(Vec::new()),
            Some(directory) => self
                .unless_gone("list", disk::names(directory))
                .map(Option::unwrap_or_default),
        }
    }

    /// The `statx` of a name. A nested subvolume counts as absent.
    fn stat(&self, at: Side<'_>, name: &[u8]) -> Result<Option<Statx>, DiskError> {
        let Some(at) = at else { return Ok(None) };
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(at, name, AtFlags::SYMLINK_NOFOLLOW, wanted);
        let stat = self.unless_gone("look at", stat)?;
        let is_subvolume = |stat: &Statx| {
            kind(stat) == EntryType::Directory
                && [SUBVOLUME_INODE, STUB_INODE].contains(&stat.stx_ino)
        };
        Ok(stat.filter(|stat| !is_subvolume(stat)))
    }

    fn directory(&self, at: Side<'_>, name: &[u8]) -> Result<Option<OwnedFd>, DiskError> {
        let opened = at.map(|at| disk::open_directory(at, name)).transpose();
        self.unless_gone("open", opened).map(Option::flatten)
    }

    fn target(&self, at: Side<'_>, name: &[u8]) -> Result<Option<CString>, DiskError> {
        let target = at
            .map(|at| rustix::fs::readlinkat(at, name, Vec::new()))
            .transpose();
        self.unless_gone("read", target).map(Option::flatten)
    }

    fn bytes_differ(&self, old: Side<'_>, new: Side<'_>, name: &[u8]) -> Result<bool, DiskError> {
        let open = |at: Side<'_>| {
            let opened = at
                .map(|at| disk::open_file(at, name, OFlags::RDONLY))
                .transpose();
            self.unless_gone("open", opened).map(Option::flatten)
        };
        let (Some(old), Some(new)) = (open(old)?, open(new)?) else {
            return Ok(true);
        };
        let (mut old, mut new) = (File::from(old), File::from(new));
        let (mut of_old, mut of_new) = (vec![0; BUFFER], vec![0; BUFFER]);
        loop {
            let read = read_up_to(&mut old, &mut of_old)
                .and_then(|length| Ok((length, read_up_to(&mut new, &mut of_new)?)));
            let (one, other) = read.map_err(|source| self.error("read", source))?;
            if of_old[..one] != of_new[..other] {
                return Ok(true);
            }
            if one == 0 {
                return Ok(false);
            }
        }
    }

    /// Treats an entry that vanished after it was listed as absent. Its name may also stand for something else by now.
    fn unless_gone<T>(
        &self,
        verb: &'static str,
        result: rustix::io::Result<T>,
    ) -> Result<Option<T>, DiskError> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => Ok(None),
            Err(errno) => Err(self.error(verb, errno.into())),
        }
    }

    fn error(&self, verb: &'static str, source: io::Error) -> DiskError {
        let path = disk::show(&self.path);
        DiskError { verb, path, source }
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn kind(stat: &Statx) -> EntryType {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => EntryType::File,
        FileType::Directory => EntryType::Directory,
        FileType::Symlink => EntryType::Symlink,
        _ => EntryType::Other,
    }
}

fn identity(stat: &Statx) -> Identity {
    (stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
}

fn attributes(stat: &Statx) -> (u16, u32, u32, u32, u32) {
    let Statx {
        stx_mode,
        stx_uid,
        stx_gid,
        stx_rdev_major,
        stx_rdev_minor,
        ..
    } = stat;
    (
        *stx_mode,
        *stx_uid,
        *stx_gid,
        *stx_rdev_major,
        *stx_rdev_minor,
    )
}

/// Whether a file may have been written between the two. The kernel sets the change time at each write.
fn was_written(before: &Statx, after: &Statx) -> bool {
    let times = |stat: &Statx| {
        let (ctime, mtime) = (stat.stx_ctime, stat.stx_mtime);
        (ctime.tv_sec, ctime.tv_nsec, mtime.tv_sec, mtime.tv_nsec)
    };
    identity(before) != identity(after)
        || before.stx_size != after.stx_size
        || times(before) != times(after)
}

/// Reads a file in a folder that [`compare`] was given, by its path in the folder. Returns `None` if the file has more
/// than `most` bytes, is not a regular file, or can't be read.
pub fn read_small(folder: &Path, path: &[u8], most: u64) -> Option<Vec<u8>> {
    let top = disk::open_root(folder).ok()?;
    let (directory, name) = disk::walk(top.as_fd(), path).ok()?;
    let directory = directory.as_ref().map_or(top.as_fd(), AsFd::as_fd);
    let file = File::from(disk::open_file(directory, name, OFlags::RDONLY).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}
