//! Reads and writes the kernel's files through directory descriptors only.
//!
//! Containers wrote the trees, and nobody trusts containers. No function here follows a symlink. A name given to one is
//! a single name. Only `walk` and `open_root` take a path: the first checks each name, the second trusts the daemon.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use dotmesh_store::{Attributes, EntryName, Timestamp, Xattr};
use rustix::fs::{
    AtFlags, FileType, Gid, IFlags, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::limits::{exceeded, split_xattrs};

/// The longest list of names, and the longest value, that Linux returns for extended attributes. In bytes.
const MAX_XATTR: usize = 64 << 10;

/// The inode number of a stub. btrfs shows such an empty directory in a snapshot in place of a nested subvolume, and
/// invents its attributes.
pub(crate) const STUB_INODE: u64 = 2;

/// The extended attribute with the access control list (ACL).
const ACL: &[u8] = b"system.posix_acl_access";

/// The extended attribute with a directory's default ACL.
pub(crate) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// The set-group-id bit. New files in a directory with this bit inherit its group.
pub(crate) const SET_GROUP: u16 = 0o2000;

/// A file of the tree that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path}")]
pub struct DiskError {
    /// The operation that failed.
    pub verb: &'static str,
    /// The path in the tree, from its root.
    pub path: String,
    /// The kernel's error.
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

/// Makes the error of a refused attribute or link. It names the limit that they exceed, if they exceed one.
pub(crate) fn refused(
    verb: &'static str,
    path: &[u8],
    errno: Errno,
    attributes: &Attributes,
    target: Option<&[u8]>,
) -> DiskError {
    // btrfs returns any of these errors when something does not fit into its metadata nodes.
    let is_about_size = [
        Errno::NOSPC,
        Errno::TOOBIG,
        Errno::NAMETOOLONG,
        Errno::OVERFLOW,
    ];
    let limit = match is_about_size.contains(&errno) {
        true => exceeded(attributes, target),
        false => None,
    };
    let mut error = DiskError::new(verb, path, errno);
    if let Some(limit) = limit {
        error.source = std::io::Error::other(limit);
    }
    error
}

/// Formats a path in a tree for people.
pub(crate) fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return "the root directory".to_owned();
    }
    let text = String::from_utf8_lossy(path);
    let length = text.chars().count();
    if length > 2 * SHOWN_END {
        let end = text.chars().skip(length - SHOWN_END).collect::<String>();
        let start = text.chars().take(SHOWN_END).collect::<String>();
        return format!("{}…{}", printable(&start), printable(&end));
    }
    printable(&text)
}

/// The number of characters that are shown of each end of a path with more than twice as many.
const SHOWN_END: usize = 200;

fn printable(text: &str) -> String {
    // A name may contain control characters, and they must not reach a terminal.
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Runs `work`, which changes a name in a directory. A container may set flags on the directory or on the name that
/// forbid the change, and snapshots keep these flags. In that case, this clears the flags and runs `work` again.
pub(crate) fn insist<T>(
    at: BorrowedFd<'_>,
    name: &[u8],
    mut work: impl FnMut() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match work() {
        Err(Errno::PERM) if clear_flags(at) | clear_flags_of(at, name) => work(),
        result => result,
    }
}

/// Clears the flags "immutable" and "append-only" of an open file or directory. Returns whether one of them was set and
/// is cleared.
pub(crate) fn clear_flags(open: BorrowedFd<'_>) -> bool {
    let forbidding = IFlags::IMMUTABLE | IFlags::APPEND;
    match rustix::fs::ioctl_getflags(open) {
        Ok(flags) if flags.intersects(forbidding) => {
            rustix::fs::ioctl_setflags(open, flags - forbidding).is_ok()
        }
        // Not every file system has these flags.
        _ => false,
    }
}

fn clear_flags_of(at: BorrowedFd<'_>, name: &[u8]) -> bool {
    // Only files and directories have these flags, and opening a device has side effects.
    let has_flags = |stat: Stat| {
        matches!(
            file_type(&stat),
            FileType::RegularFile | FileType::Directory
        )
    };
    stat(at, name).is_ok_and(has_flags)
        && open_file(at, name, OFlags::RDONLY).is_ok_and(|file| clear_flags(file.as_fd()))
}

/// Opens the root directory of a tree. The path is the daemon's own, and trusted.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, DiskError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| DiskError {
        verb: "open",
        path: path.display().to_string(),
        source: errno.into(),
    })
}

/// Opens a directory in a directory.
pub(crate) fn open_directory(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens a file or fifo in a directory. The caller has checked its type.
pub(crate) fn open_file(
    at: BorrowedFd<'_>,
    name: &[u8],
    access: OFlags,
) -> rustix::io::Result<OwnedFd> {
    // Without `NONBLOCK`, opening a fifo waits for its other end.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens the directories of a path, name by name. Returns the directory of the last name, or `None` if that is `top`,
/// and the last name.
pub(crate) fn walk<'a>(
    top: BorrowedFd<'_>,
    path: &'a [u8],
) -> rustix::io::Result<(Option<OwnedFd>, &'a [u8])> {
    let mut above: Option<OwnedFd> = None;
    let mut names = path.split(|byte| *byte == b'/');
    let mut last = names.next().unwrap_or_default();
    loop {
        // The decoder checks paths already, but an escape from the tree is worth a second check.
        if EntryName::new(last).is_err() {
            return Err(Errno::INVAL);
        }
        let Some(next) = names.next() else {
            return Ok((above, last));
        };
        let here = above.as_ref().map_or(top, |above| above.as_fd());
        above = Some(open_directory(here, last)?);
        last = next;
    }
}

/// Writes all bytes at an offset.
pub(crate) fn write_all(
    file: BorrowedFd<'_>,
    mut bytes: &[u8],
    mut offset: u64,
) -> rustix::io::Result<()> {
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

/// Fills the buffer from an offset. Fails if the file ends before the buffer is full.
pub(crate) fn read_exact(
    file: BorrowedFd<'_>,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> rustix::io::Result<()> {
    while !buffer.is_empty() {
        let read = match rustix::io::pread(file, &mut *buffer, offset) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Err(Errno::IO),
            result => result?,
        };
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}

/// Copies a file into an empty one. The copy shares the blocks if the file system supports that.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> rustix::io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_err() {
        let (mut read, mut written) = (0, 0);
        while read < size {
            let length = usize::try_from(size - read).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length)
            {
                Ok(0) => break,
                Err(Errno::INTR) => {}
                result => {
                    result?;
                }
            }
        }
    }
    rustix::fs::ftruncate(to, size)
}

/// A path of an open file, for system calls that take no descriptor.
pub(crate) fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The `stat` of a name. It does not follow symlinks.
pub(crate) fn stat(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The file type in a `stat`.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The size in a `stat`, in bytes.
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

/// The names in a directory, sorted, with their inodes.
pub(crate) fn entries(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<(EntryName, u64)>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        // `.` and `..` are not entry names.
        if let Ok(name) = EntryName::new(entry.file_name().to_bytes()) {
            entries.push((name, entry.ino()));
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// The number of names in a path, plus one for the root.
pub(crate) fn depth(path: &[u8]) -> usize {
    match path {
        [] => 1,
        path => path.split(|byte| *byte == b'/').count() + 1,
    }
}

/// An inode that has attributes: by descriptor, or by name if it can't be opened.
#[derive(Clone, Copy)]
pub(crate) enum Handle<'a> {
    /// A file, directory or fifo.
    Open(BorrowedFd<'a>),
    /// A symlink.
    Symlink { at: BorrowedFd<'a>, name: &'a [u8] },
}

impl Handle<'_> {
    /// A path for system calls that have no variant with a directory descriptor. Only calls that do not follow the last
    /// name may use it.
    fn symlink_path(at: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        [path_of(at).as_bytes(), b"/", name].concat()
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

/// Whether an extended attribute is part of the app's state. The others belong to the file system or to the machine's
/// own policy, so they are neither read nor written.
pub(crate) fn is_kept(xattr: &[u8]) -> bool {
    let starts = |prefix: &str| xattr.starts_with(prefix.as_bytes());
    match xattr {
        ACL | DEFAULT_ACL => true,
        b"security.selinux" | b"security.ima" | b"security.evm" => false,
        _ => {
            (starts("user.") || starts("security.") || starts("trusted."))
                && !starts("trusted.overlay.")
        }
    }
}

/// The extended attributes that are kept, sorted by name.
pub(crate) fn xattrs(of: Handle<'_>) -> rustix::io::Result<Vec<Xattr>> {
    // Most files have no attributes, so this reads only the length of the list.
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
            // Some file systems list an ACL that only repeats the mode, but have no value for it.
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

/// The extended attributes that every pool can hold, and the names of the others.
pub(crate) type CarriedXattrs = (Vec<Xattr>, Vec<Box<[u8]>>);

/// Returns the extended attributes that every pool can hold, and the names of the others. If Linux can't list the
/// names, it returns [`ALL_XATTRS`] as the only name.
pub(crate) fn xattrs_to_carry(of: Handle<'_>) -> rustix::io::Result<CarriedXattrs> {
    match xattrs(of) {
        // Linux lists at most 64 KiB of names.
        Err(Errno::TOOBIG) => Ok((Vec::new(), vec![ALL_XATTRS.into()])),
        xattrs => Ok(split_xattrs(xattrs?)),
    }
}

/// Stands for all names, if there are too many to list.
pub(crate) const ALL_XATTRS: &[u8] = b"*";

/// The twelve permission bits in a `stat`.
fn permissions(stat: &Stat) -> u16 {
    let mode = Mode::from_raw_mode(stat.st_mode).as_raw_mode() & 0o7777;
    u16::try_from(mode).expect("twelve bits")
}

/// The attributes of an open file.
pub(crate) fn attributes_of(open: BorrowedFd<'_>) -> rustix::io::Result<Attributes> {
    attributes(&rustix::fs::fstat(open)?, Handle::Open(open))
}

/// The attributes of an inode whose `stat` is known.
pub(crate) fn attributes(stat: &Stat, of: Handle<'_>) -> rustix::io::Result<Attributes> {
    Ok(attributes_with(stat, xattrs(of)?))
}

fn attributes_with(stat: &Stat, xattrs: Vec<Xattr>) -> Attributes {
    Attributes {
        mode: permissions(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs,
    }
}

/// Like [`attributes`], but without the extended attributes that some pools can't hold. An ACL restricts the
/// permissions of the group. If the ACL is left out, the group therefore loses all permissions.
pub(crate) fn attributes_to_carry(stat: &Stat, of: Handle<'_>) -> rustix::io::Result<Attributes> {
    let (xattrs, left_out) = xattrs_to_carry(of)?;
    let mut attributes = attributes_with(stat, xattrs);
    if left_out
        .iter()
        .any(|name| matches!(&**name, ACL | ALL_XATTRS))
    {
        attributes.mode &= !0o070;
    }
    Ok(attributes)
}

/// Owner and mode of an inode that was just created and inherited nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
}

impl New {
    /// Reads owner and mode of a new file. The file was created with all permissions.
    pub(crate) fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: permissions(&stat) & 0o777,
        })
    }
}

/// Sets all attributes of an inode. For a new inode, sets only those that differ. The time comes last, because the
/// other changes may change it. The mode comes after the owner, because a change of the owner clears the set-id bits.
pub(crate) fn apply(
    to: Handle<'_>,
    attributes: &Attributes,
    new: Option<New>,
) -> rustix::io::Result<()> {
    if new.is_none_or(|new| (new.uid, new.gid) != (attributes.uid, attributes.gid)) {
        // The decoder has checked that neither number is the reserved one.
        let owner = Some(Uid::from_raw(attributes.uid));
        let group = Some(Gid::from_raw(attributes.gid));
        match to {
            Handle::Open(fd) => rustix::fs::fchown(fd, owner, group)?,
            Handle::Symlink { at, name } => {
                rustix::fs::chownat(at, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
    }
    let present = match new {
        Some(_) => Vec::new(),
        None => xattrs(to)?,
    };
    change_xattrs(to, &present, &attributes.xattrs)?;
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
            // An ACL in the extended attributes changes the mode.
            let same = |new: New| new.mode == attributes.mode && attributes.xattrs.is_empty();
            if !new.is_some_and(same) {
                rustix::fs::fchmod(fd, Mode::from_raw_mode(RawMode::from(attributes.mode)))?;
            }
            rustix::fs::futimens(fd, &times)
        }
        Handle::Symlink { at, name } => {
            rustix::fs::utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// Sets the extended attributes to exactly `wanted`. A new file may have inherited others from its directory.
fn change_xattrs(to: Handle<'_>, present: &[Xattr], wanted: &[Xattr]) -> rustix::io::Result<()> {
    for old in present {
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

/// Removes a name and everything below it.
pub(crate) fn remove(at: BorrowedFd<'_>, name: &EntryName) -> rustix::io::Result<()> {
    struct Level {
        directory: OwnedFd,
        name: EntryName,
        left: Vec<EntryName>,
    }
    // Each level needs a descriptor. If the tree is deeper than the limit on open files, this fails and leaves the
    // rest.
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some(name.clone());
    loop {
        let here = levels.last().map_or(at, |level| level.directory.as_fd());
        if let Some(name) = next {
            let unlink = || rustix::fs::unlinkat(here, name.as_bytes(), AtFlags::empty());
            match insist(here, name.as_bytes(), unlink) {
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
