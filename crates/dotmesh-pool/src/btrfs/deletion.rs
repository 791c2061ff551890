//! Deletes a subvolume with all that a container may have made inside it.
//!
//! Anybody who can write to a subvolume may create others in it: read-only ones, in immutable directories, at paths
//! longer than any system call takes. So nothing here walks paths. The filesystem's tree of subvolumes says which are
//! inside which, and a file handle opens the directory that one is in, however deep that is.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::ioctl::{self, Search};
use super::items::{self, INODE_REF, Name};
use super::{SUBVOLUME_INODE, open, split};
use crate::error::{During as _, PoolError};

/// A container that still runs may make more subvolumes meanwhile. After so many rounds the rest waits for the next
/// attempt.
const ROUNDS: u32 = 3;

/// The longest path, in names, that an error shows.
const SHOWN_NAMES: usize = 16;

/// A subvolume inside another.
struct Nested {
    id: u64,
    /// The id of the subvolume that it is in.
    above: u64,
    /// Its directory there, and its name in that.
    name: Name,
}

/// Deletes a subvolume. Fine if it is gone already.
pub(super) fn delete(path: &Path) -> std::result::Result<(), PoolError> {
    let (parent, name) = split(path);
    let parent = open(parent)?;
    for round in 0.. {
        match destroy(parent.as_fd(), name, None, || open_top(&parent, name)) {
            Ok(()) | Err(Errno::NOENT) => break,
            Err(Errno::NOTEMPTY) if round < ROUNDS => {
                let top = match open_top(&parent, name) {
                    Err(Errno::NOENT) => break,
                    top => top.during("open", path)?,
                };
                let id = ioctl::subvolume_info(top.as_fd())
                    .during("look at", path)?
                    .id;
                delete_nested(&parent, id, path)?;
            }
            Err(error) => return Err(PoolError::io("delete", path)(error.into())),
        }
    }
    Ok(())
}

fn open_top(parent: &File, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Deletes all subvolumes inside one. Those that cannot be deleted keep only those that they are in.
fn delete_nested(filesystem: &File, top: u64, path: &Path) -> std::result::Result<(), PoolError> {
    let nested = find_nested(filesystem, top).during("list the subvolumes in", path)?;
    let mut kept = None;
    for subvolume in nested.iter().rev() {
        match delete_one(filesystem, subvolume) {
            // What is not empty either has one in it that is kept, or got one meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::STALE | Errno::NOTEMPTY) => {}
            Err(error) => kept = kept.or(Some((subvolume, error))),
        }
    }
    match kept {
        None => Ok(()),
        Some((subvolume, error)) => Err(PoolError::Kept {
            path: path.to_owned(),
            inside: show(filesystem, subvolume, &nested),
            source: error.into(),
        }),
    }
}

/// The subvolumes inside one, at any depth, each after the one that it is in.
fn find_nested(filesystem: &File, top: u64) -> Result<Vec<Nested>> {
    let mut found: Vec<Nested> = Vec::new();
    // A container that moves subvolumes meanwhile could have some found again without end.
    let mut known = HashSet::from([top]);
    let mut next = 0;
    let mut above = top;
    loop {
        ioctl::search(filesystem.as_fd(), Search::children(above), |item| {
            if let Some(name) = items::subvolume_name(item.body)
                && known.insert(item.offset)
            {
                let id = item.offset;
                found.push(Nested { id, above, name });
            }
        })?;
        match found.get(next) {
            Some(nested) => above = nested.id,
            None => return Ok(found),
        }
        next += 1;
    }
}

fn delete_one(filesystem: &File, nested: &Nested) -> Result<()> {
    let open = |subvolume, inode| ioctl::open_directory(filesystem.as_fd(), subvolume, inode);
    let directory = open(nested.above, nested.name.parent)?;
    let name = OsStr::from_bytes(&nested.name.name);
    let above = || open(nested.above, SUBVOLUME_INODE);
    destroy(directory.as_fd(), name, Some(&above), || {
        open(nested.id, SUBVOLUME_INODE)
    })
}

/// Deletes a subvolume that has no others in it. Where flags forbid it, they are cleared: its own, and those of its
/// directory and of the subvolume `above` that this is in, unless they are the pool's.
fn destroy(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    above: Option<&dyn Fn() -> Result<OwnedFd>>,
    own: impl FnOnce() -> Result<OwnedFd>,
) -> Result<()> {
    match ioctl::destroy_subvolume(directory, name) {
        Err(Errno::PERM | Errno::ROFS) => {}
        done => return done,
    }
    // What is read-only does not let its other flags be changed.
    if let Some(above) = above {
        ioctl::make_writable(above()?.as_fd())?;
        clear_flags(directory)?;
    }
    let own = own()?;
    ioctl::make_writable(own.as_fd())?;
    clear_flags(own.as_fd())?;
    ioctl::destroy_subvolume(directory, name)
}

/// Makes a directory neither immutable nor append-only.
fn clear_flags(directory: BorrowedFd<'_>) -> Result<()> {
    let flags = rustix::fs::ioctl_getflags(directory)?;
    let forbidding = IFlags::IMMUTABLE | IFlags::APPEND;
    if flags.intersects(forbidding) {
        rustix::fs::ioctl_setflags(directory, flags - forbidding)?;
    }
    Ok(())
}

/// Where a subvolume is, for people: the last names of its path.
fn show(filesystem: &File, subvolume: &Nested, all: &[Nested]) -> String {
    let mut names = Vec::new();
    let mut at = Some(subvolume);
    while let Some(nested) = at {
        let mut name = nested.name.clone();
        while names.len() < SHOWN_NAMES {
            let directory = name.parent;
            names.push(name.name);
            let mut next = None;
            let search = Search::inode_of(nested.above, directory, INODE_REF, INODE_REF);
            let found = ioctl::search(filesystem.as_fd(), search, |item| {
                next = items::names(item.offset, item.body).pop();
            });
            match next {
                Some(next) if found.is_ok() && directory != SUBVOLUME_INODE => name = next,
                _ => break,
            }
        }
        at = all.iter().find(|other| other.id == nested.above);
        if names.len() == SHOWN_NAMES {
            names.push("…".as_bytes().into());
            at = None;
        }
    }
    names.reverse();
    // Control characters would reach a terminal.
    let path = names.join(&b'/');
    String::from_utf8_lossy(&path).escape_debug().to_string()
}
