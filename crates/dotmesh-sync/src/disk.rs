//! Files as the kernel has them, reached through directory descriptors only.
//!
//! The trees were written by containers, which nobody trusts. No function here follows a symlink or
//! takes a path of more than one name.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use dotmesh_store::{Attributes, EntryName, Timestamp, Xattr};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// The largest list of names, and the largest value, that Linux gives for extended attributes.
const MAX_XATTR: usize = 64 << 10;

/// A file of the tree that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path}")]
pub struct DiskError {
    /// What was tried.
    pub verb: &'static str,
    /// Where in the tree, from its root.
    pub path: String,
    /// What the kernel said.
    #[source]
    pub source: std::io::Error,
}

impl DiskError {
    pub(crate) fn new(verb: &'static str, path: &[u8], errno: Errno) -> Self {
        Self {
            verb,
            path: show(path),
            source: errno.into(),
        }
    }
}

/// A path in a tree, for people.
pub(crate) fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return "the root directory".to_owned();
    }
    // A name may hold anything; control characters would reach a terminal.
    String::from_utf8_lossy(path)
        .chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Opens the top of a tree. Its path is the daemon's own and trusted.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, DiskError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| DiskError {
        verb: "open",
        path: path.display().to_string(),
        source: errno.into(),
    })
}

/// Opens a directory of a directory.
pub(crate) fn open_directory(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens a file or fifo of a directory, after its type was seen.
pub(crate) fn open_file(
    at: BorrowedFd<'_>,
    name: &[u8],
    access: OFlags,
) -> rustix::io::Result<OwnedFd> {
    // A fifo would otherwise wait for its other end.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// What a name stands for.
pub(crate) fn stat(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The type that a stat tells.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The size that a stat tells.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<EntryName>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        // `.` and `..` are not entry names.
        names.extend(EntryName::new(entry?.file_name().to_bytes()));
    }
    names.sort_unstable();
    Ok(names)
}

/// Something that has attributes, by descriptor, or by name where it cannot be opened.
#[derive(Clone, Copy)]
pub(crate) enum Handle<'a> {
    /// A file, directory or fifo.
    Open(BorrowedFd<'a>),
    /// A symlink.
    Symlink { at: BorrowedFd<'a>, name: &'a [u8] },
}

impl Handle<'_> {
    /// A path for the calls that have no form with a directory descriptor: the last name is not followed.
    fn symlink_path(at: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        [
            format!("/proc/self/fd/{}/", at.as_raw_fd()).as_bytes(),
            name,
        ]
        .concat()
    }

    fn length_of_xattr_list(self) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr_query(fd),
            Self::Symlink { at, name } => {
                rustix::fs::llistxattr_query(Self::symlink_path(at, name))
            }
        }
    }

    fn list_xattrs(self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Symlink { at, name } => {
                rustix::fs::llistxattr(Self::symlink_path(at, name), buffer)
            }
        }
    }

    fn get_xattr(self, xattr: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, xattr, buffer),
            Self::Symlink { at, name } => {
                rustix::fs::lgetxattr(Self::symlink_path(at, name), xattr, buffer)
            }
        }
    }

    fn set_xattr(self, xattr: &Xattr) -> rustix::io::Result<()> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, &*xattr.name, &xattr.value, flags),
            Self::Symlink { at, name } => {
                let path = Self::symlink_path(at, name);
                rustix::fs::lsetxattr(path, &*xattr.name, &xattr.value, flags)
            }
        }
    }

    fn remove_xattr(self, xattr: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, xattr),
            Self::Symlink { at, name } => {
                rustix::fs::lremovexattr(Self::symlink_path(at, name), xattr)
            }
        }
    }
}

/// Whether an extended attribute is part of the app's state. The others belong to the file system or to the
/// machine's own policy, and are neither read nor written.
pub(crate) fn is_kept(xattr: &[u8]) -> bool {
    let starts = |prefix: &str| xattr.starts_with(prefix.as_bytes());
    match xattr {
        b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        b"security.selinux" | b"security.ima" | b"security.evm" => false,
        _ => {
            (starts("user.") || starts("security.") || starts("trusted."))
                && !starts("trusted.overlay.")
        }
    }
}

/// The extended attributes that are kept, sorted by name.
pub(crate) fn xattrs(of: Handle<'_>) -> rustix::io::Result<Vec<Xattr>> {
    // Most files have none, and are asked only for the length of the list.
    let length = match of.length_of_xattr_list() {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        result => result?,
    };
    let mut list = vec![0; length];
    let length = of.list_xattrs(&mut list)?;
    let mut xattrs = Vec::new();
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| is_kept(name))
    {
        let mut value = vec![0; MAX_XATTR];
        let length = match of.get_xattr(name, &mut value) {
            // An ACL that says no more than the mode is listed by some file systems, but is not there.
            Err(Errno::NODATA) => continue,
            result => result?,
        };
        value.truncate(length);
        xattrs.push(Xattr {
            name: name.into(),
            value: value.into(),
        });
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// The attributes of something that was stated before.
pub(crate) fn attributes(stat: &Stat, of: Handle<'_>) -> rustix::io::Result<Attributes> {
    let mode = Mode::from_raw_mode(stat.st_mode).as_raw_mode() & 0o7777;
    Ok(Attributes {
        mode: u16::try_from(mode).expect("twelve bits"),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: xattrs(of)?,
    })
}

/// Gives something all of its attributes. The time comes last, as the others may change it; the mode
/// after the owner, whose change clears set-id bits.
pub(crate) fn apply(to: Handle<'_>, attributes: &Attributes) -> rustix::io::Result<()> {
    // The tree was checked when it was decoded: neither number is the reserved one.
    let owner = Some(Uid::from_raw(attributes.uid));
    let group = Some(Gid::from_raw(attributes.gid));
    match to {
        Handle::Open(fd) => rustix::fs::fchown(fd, owner, group)?,
        Handle::Symlink { at, name } => {
            rustix::fs::chownat(at, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    apply_xattrs(to, &attributes.xattrs)?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: attributes.mtime.seconds,
            tv_nsec: attributes.mtime.nanoseconds.into(),
        },
    };
    match to {
        Handle::Open(fd) => {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(RawMode::from(attributes.mode)))?;
            rustix::fs::futimens(fd, &times)
        }
        Handle::Symlink { at, name } => {
            rustix::fs::utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// Makes the extended attributes exactly these: a new file may have inherited some from its directory.
fn apply_xattrs(to: Handle<'_>, wanted: &[Xattr]) -> rustix::io::Result<()> {
    let present = xattrs(to)?;
    for old in &present {
        if !wanted.iter().any(|xattr| xattr.name == old.name) {
            to.remove_xattr(&old.name)?;
        }
    }
    for xattr in wanted.iter().filter(|xattr| !present.contains(xattr)) {
        if !is_kept(&xattr.name) {
            return Err(Errno::PERM);
        }
        to.set_xattr(xattr)?;
    }
    Ok(())
}

/// Removes a name, and everything below it.
pub(crate) fn remove(at: BorrowedFd<'_>, name: &EntryName) -> rustix::io::Result<()> {
    struct Level {
        directory: OwnedFd,
        name: EntryName,
        left: Vec<EntryName>,
    }
    // One descriptor for each level: a tree deeper than the limit on open files stays, with an error.
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some(name.clone());
    loop {
        let here = levels.last().map_or(at, |level| level.directory.as_fd());
        if let Some(name) = next {
            match rustix::fs::unlinkat(here, name.as_bytes(), AtFlags::empty()) {
                Err(Errno::ISDIR) => {
                    let directory = open_directory(here, name.as_bytes())?;
                    let left = names(directory.as_fd())?;
                    levels.push(Level {
                        directory,
                        name,
                        left,
                    });
                }
                result => result?,
            }
        } else if let Some(Level { name, .. }) = levels.pop() {
            let parent = levels.last().map_or(at, |level| level.directory.as_fd());
            rustix::fs::unlinkat(parent, name.as_bytes(), AtFlags::REMOVEDIR)?;
        }
        match levels.last_mut() {
            None => return Ok(()),
            Some(level) => next = level.left.pop(),
        }
    }
}
