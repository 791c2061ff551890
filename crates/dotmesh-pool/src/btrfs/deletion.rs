//! Deletes a subvolume with everything that a container may have created in it.
//!
//! Any program that can write to a subvolume can create more subvolumes in it: read-only ones, ones in immutable
//! directories, and ones at paths that are too long for system calls. So this code does not walk paths. It reads from
//! the root tree which subvolume contains which, and opens parent directories by file handle, at any depth.

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

/// The maximum number of rounds. A running container may create more subvolumes during the deletion, which then wait for
/// the next attempt.
const ROUNDS: u32 = 3;

/// The maximum number of path components in an error.
const SHOWN_NAMES: usize = 16;

/// A subvolume inside another.
struct Nested {
    id: u64,
    /// The id of the subvolume that contains it.
    above: u64,
    /// Its parent directory there, and its name in that directory.
    name: Name,
}

/// Deletes a subvolume. A missing one is not an error.
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

/// Deletes all subvolumes inside a subvolume. If one cannot be deleted, all that do not contain it are deleted.
fn delete_nested(filesystem: &File, top: u64, path: &Path) -> std::result::Result<(), PoolError> {
    let nested = find_nested(filesystem, top).during("list the subvolumes in", path)?;
    let mut kept = None;
    for subvolume in nested.iter().rev() {
        match delete_one(filesystem, subvolume) {
            // If it is not empty, a subvolume in it could not be deleted, or a container has just created one.
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

/// The subvolumes inside a subvolume, at any depth. Each comes after the one that contains it.
fn find_nested(filesystem: &File, top: u64) -> Result<Vec<Nested>> {
    let mut found: Vec<Nested> = Vec::new();
    // Prevents an endless loop if a container moves subvolumes during the search.
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

/// Deletes a subvolume without nested subvolumes. If flags forbid that, clears the flags of the subvolume and retries.
///
/// If `above` is given, it opens the subvolume that contains `directory`, and the flags of both are cleared, too. It is
/// `None` if `directory` belongs to the pool.
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
    // In a read-only subvolume, the inode flags cannot be changed.
    if let Some(above) = above {
        ioctl::make_writable(above()?.as_fd())?;
        clear_flags(directory)?;
    }
    let own = own()?;
    ioctl::make_writable(own.as_fd())?;
    clear_flags(own.as_fd())?;
    ioctl::destroy_subvolume(directory, name)
}

/// Removes the immutable and append-only flags of a directory.
fn clear_flags(directory: BorrowedFd<'_>) -> Result<()> {
    let flags = rustix::fs::ioctl_getflags(directory)?;
    let forbidding = IFlags::IMMUTABLE | IFlags::APPEND;
    if flags.intersects(forbidding) {
        rustix::fs::ioctl_setflags(directory, flags - forbidding)?;
    }
    Ok(())
}

/// The path of a subvolume for messages, limited to its last [`SHOWN_NAMES`] components.
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
    // A terminal must not get control characters.
    let path = names.join(&b'/');
    String::from_utf8_lossy(&path).escape_debug().to_string()
}
