//! What an inode has besides its content.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, RawMode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// The largest extended attribute that Linux has, in bytes.
const MAX_XATTR: usize = 64 << 10;

/// A time, in nanoseconds that count forward from whole seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtendedAttribute {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

/// The attributes of an inode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InodeAttributes {
    /// The twelve permission bits.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Vec<ExtendedAttribute>,
}

impl InodeAttributes {
    /// Reads them from a `stat`, without extended attributes.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            xattrs: Vec::new(),
        }
    }

    fn times(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.mtime.seconds,
                tv_nsec: self.mtime.nanoseconds.into(),
            },
        }
    }

    /// Sets all of them on a new file, folder or pipe. `owners` is whether to change the owner. The mode comes after the
    /// owner, whose change clears the set-id bits. The time comes last.
    pub(crate) fn apply(&self, open: BorrowedFd<'_>, owners: bool) -> io::Result<()> {
        let mut mode = RawMode::from(self.mode);
        if owners {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            rustix::fs::fchown(open, Some(uid), Some(gid))?;
        } else {
            // The file belongs to somebody else than in the archive.
            mode &= 0o1777;
        }
        for xattr in self.xattrs.iter().filter(|one| is_kept(&one.name)) {
            match rustix::fs::fsetxattr(open, &*xattr.name, &xattr.value, XattrFlags::empty()) {
                // Only root may set these.
                Err(Errno::PERM) if !owners => {}
                done => done?,
            }
        }
        rustix::fs::fchmod(open, Mode::from_raw_mode(mode))?;
        rustix::fs::futimens(open, &self.times())?;
        Ok(())
    }

    /// Sets the owner and the time of a new symbolic link.
    pub(crate) fn apply_to_link(
        &self,
        at: BorrowedFd<'_>,
        name: &[u8],
        owners: bool,
    ) -> io::Result<()> {
        if owners {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(at, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

/// Whether an extended attribute is part of the app's state. The others belong to the filesystem or to the machine's own
/// policy.
fn is_kept(xattr: &[u8]) -> bool {
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

/// The kept extended attributes of an open inode, sorted by name.
pub(crate) fn xattrs(of: BorrowedFd<'_>) -> io::Result<Vec<ExtendedAttribute>> {
    let mut list = match rustix::fs::flistxattr_query(of) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => vec![0; length?],
    };
    let length = rustix::fs::flistxattr(of, list.as_mut_slice())?;
    let mut xattrs = Vec::new();
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| is_kept(name))
    {
        let mut value = vec![0; MAX_XATTR];
        let length = match rustix::fs::fgetxattr(of, name, value.as_mut_slice()) {
            // Some filesystems list an ACL that only repeats the mode, but have no value for it.
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        value.truncate(length);
        let name = name.to_owned();
        xattrs.push(ExtendedAttribute { name, value });
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}
