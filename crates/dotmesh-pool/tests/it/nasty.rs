//! Creates difficult files and folders, as a container can in its volume.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, XattrFlags};

/// An open directory. Its path may be too long for system calls.
pub(crate) struct Place(OwnedFd);

impl Place {
    pub(crate) fn open(path: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(rustix::fs::openat(CWD, path, flags, Mode::empty()).expect("a directory"))
    }

    fn enter(&self, name: &[u8]) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(rustix::fs::openat(&self.0, name, flags, Mode::empty()).expect("a directory"))
    }

    pub(crate) fn directory(&self, name: &[u8]) -> Self {
        rustix::fs::mkdirat(&self.0, name, Mode::RWXU).expect("a new directory");
        self.enter(name)
    }

    /// Creates nested directories that all have the same name. Returns the innermost one.
    pub(crate) fn deep(&self, name: &[u8], levels: usize) -> Self {
        let mut at = self.directory(name);
        for _ in 1..levels {
            at = at.directory(name);
        }
        at
    }

    pub(crate) fn file(&self, name: &[u8]) -> std::fs::File {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR);
        file.expect("a new file").into()
    }

    /// Creates a subvolume.
    pub(crate) fn subvolume(&self, name: &[u8]) -> Self {
        let path = [self.path().as_bytes(), b"/", name].concat();
        btrfs(&["subvolume", "create"], OsStr::from_bytes(&path));
        self.enter(name)
    }

    /// Makes this subvolume read-only.
    pub(crate) fn freeze(&self) {
        let path = self.path();
        let status = Command::new("btrfs")
            .args(["property", "set", "-t", "subvol", &path, "ro", "true"])
            .status();
        assert!(status.expect("btrfs runs").success());
    }

    pub(crate) fn flag(&self, flags: IFlags) {
        rustix::fs::ioctl_setflags(&self.0, flags).expect("flags that btrfs has");
    }

    pub(crate) fn device(&self, name: &[u8]) {
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(&self.0, name, FileType::CharacterDevice, Mode::RUSR, null)
            .expect("a device node");
    }

    pub(crate) fn attribute(&self, value: &[u8]) {
        rustix::fs::fsetxattr(&self.0, "user.large", value, XattrFlags::empty())
            .expect("an extended attribute");
    }

    /// A short path to the directory, for programs.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

pub(crate) fn btrfs(arguments: &[&str], path: &OsStr) {
    let output = Command::new("btrfs").args(arguments).arg(path).output();
    let output = output.expect("btrfs runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {path:?}: {error}");
}
