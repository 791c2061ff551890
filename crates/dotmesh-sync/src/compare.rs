//! How two folders on disk differ, file by file: for `dm diff` and `dm status`.
//!
//! Both are working copies or snapshots of one dot. A file that has the same inode, time of birth, size and times in both was not
//! written between them. Only the others are read.

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

/// Directories further down are not compared. No push carries them either.
const MAX_DEPTH: usize = 256;

/// The inode of a btrfs subvolume's top. A subvolume inside another is in no snapshot.
const SUBVOLUME_INODE: u64 = 256;

const BUFFER: usize = 128 << 10;

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, from the top.
    pub path: Vec<u8>,
    /// What it is, or was.
    pub kind: Kind,
    /// What became of it.
    pub what: What,
    /// Its size before, in bytes; 0 for what is new or no file.
    pub before: u64,
    /// Its size after.
    pub after: u64,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory. One that was added or removed is a change of its own only if it is empty.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, fifo or device.
    Other,
}

/// What became of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other content, or other attributes.
    Modified,
    /// It had another path before.
    Moved {
        /// The path before.
        from: Vec<u8>,
    },
}

/// How well a file that was written is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It counts as modified. Quick.
    AtTimes,
    /// It is read, and counts as modified if its bytes differ.
    AtBytes,
}

/// Compares two folders. What vanishes meanwhile counts as removed. The changes are sorted by path.
///
/// # Errors
///
/// A folder or a file that cannot be read.
pub fn compare(old: &Path, new: &Path, look: Look) -> Result<Vec<Change>, DiskError> {
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

/// A file's identity within the snapshots of one dot. Numbers of inodes are given again, but not with the same time of birth.
type Identity = (u64, i64, u32);

/// One side: a directory, if it is there.
type Side<'a> = Option<BorrowedFd<'a>>;

struct Comparing {
    look: Look,
    path: Vec<u8>,
    changes: Vec<Change>,
    /// Where removed files are in `changes`, by their identity.
    gone: HashMap<Identity, usize>,
    /// Where added files are in `changes`, and their identity.
    new: Vec<(Identity, usize)>,
}

impl Comparing {
    fn finish(mut self) -> Vec<Change> {
        let mut moved = HashSet::new();
        for (identity, at) in &self.new {
            if let Some(from) = self.gone.remove(identity) {
                let Change { path, before, .. } = self.changes[from].clone();
                self.changes[*at].what = What::Moved { from: path };
                self.changes[*at].before = before;
                moved.insert(from);
            }
        }
        let kept = self.changes.into_iter().enumerate();
        let kept = kept.filter(|(at, _)| !moved.contains(at));
        let mut changes: Vec<Change> = kept.map(|(_, change)| change).collect();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    /// Compares what is in two directories. Returns whether anything is.
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
                    Kind::Directory => {
                        let (old, new) = (self.directory(old, name)?, self.directory(new, name)?);
                        self.directories(
                            old.as_ref().map(AsFd::as_fd),
                            new.as_ref().map(AsFd::as_fd),
                            depth + 1,
                        )?;
                        attributes(&before) != attributes(&after)
                    }
                    Kind::File => {
                        was_written(&before, &after)
                            && (attributes(&before) != attributes(&after)
                                || before.stx_size != after.stx_size
                                || self.look == Look::AtTimes
                                || self.bytes_differ(old, new, name)?)
                    }
                    Kind::Symlink => {
                        attributes(&before) != attributes(&after)
                            || self.target(old, name)? != self.target(new, name)?
                    }
                    Kind::Other => attributes(&before) != attributes(&after),
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
        if kind(before) == Kind::Directory {
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
        if kind(after) == Kind::Directory {
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
            Some(stat) if kind(stat) == Kind::File => stat.stx_size,
            _ => 0,
        };
        self.changes.push(Change {
            path: self.path.clone(),
            kind: after.or(before).map_or(Kind::Other, kind),
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

    /// What a name stands for. A subvolume inside another counts as nothing.
    fn stat(&self, at: Side<'_>, name: &[u8]) -> Result<Option<Statx>, DiskError> {
        let Some(at) = at else { return Ok(None) };
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(at, name, AtFlags::SYMLINK_NOFOLLOW, wanted);
        let stat = self.unless_gone("look at", stat)?;
        let is_subvolume = |stat: &Statx| {
            kind(stat) == Kind::Directory && [SUBVOLUME_INODE, STUB_INODE].contains(&stat.stx_ino)
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

    /// What vanished since it was listed is not there. A name may also have come to stand for something else.
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

fn kind(stat: &Statx) -> Kind {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
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

/// Whether a file may have been written between the two. The kernel sets the time of change at each write.
fn was_written(before: &Statx, after: &Statx) -> bool {
    let times = |stat: &Statx| {
        let (ctime, mtime) = (stat.stx_ctime, stat.stx_mtime);
        (ctime.tv_sec, ctime.tv_nsec, mtime.tv_sec, mtime.tv_nsec)
    };
    identity(before) != identity(after)
        || before.stx_size != after.stx_size
        || times(before) != times(after)
}

/// Reads a file of a folder that [`compare`] was given, by its path there. `None` when it is larger, no regular file, or gone.
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
