//! Engines without root: rootless Docker and rootless Podman, each in the user namespace of its user.
//!
//! Such an Engine gets a volume as an idmapped mount: its own root owns what root owns in the pool. So a state is the
//! same on every Engine. The mount is in a folder that only this user and root can enter.
#![expect(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]

use std::fs::{DirBuilder, File};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use dotmesh_pool::OpenFolder;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use tokio::net::UnixListener;

/// An Engine in another user namespace than the daemon's.
#[derive(Debug, Clone)]
pub(crate) struct Rootless {
    /// The user who runs it.
    uid: u32,
    namespace: Arc<File>,
}

/// Who has connected to the volume driver.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// `None` for an Engine that runs as the machine's root.
    pub(crate) rootless: Option<Rootless>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let peer = stream.io().peer_cred();
        let found = peer.and_then(|peer| match peer.pid() {
            Some(pid) => Rootless::of(pid, peer.uid()),
            None => Ok(None),
        });
        // A caller that has ended does not read the answer.
        let rootless = found.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot find the user namespace of a caller");
            None
        });
        Self { rootless }
    }
}

impl Rootless {
    /// The Engine of a process, unless it is in this process's user namespace.
    pub(crate) fn of(pid: i32, uid: u32) -> Result<Option<Self>> {
        let namespace = File::open(format!("/proc/{pid}/ns/user"))?;
        let theirs = namespace.metadata()?;
        let ours = std::fs::metadata("/proc/self/ns/user")?;
        if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) {
            return Ok(None);
        }
        let namespace = Arc::new(namespace);
        Ok(Some(Self { uid, namespace }))
    }

    /// The place with this number, below the folder for Engines without root.
    pub(crate) fn place(&self, folder: &Path, number: &str) -> PathBuf {
        folder.join(self.uid.to_string()).join(number)
    }

    /// Makes a place, which others than its user and root cannot enter.
    pub(crate) fn make_place(&self, place: &Path) -> Result<()> {
        let of_user = place.parent().unwrap_or(place);
        let mut builder = DirBuilder::new();
        if let Some(folder) = of_user.parent()
            && !folder.exists()
        {
            builder.recursive(true).mode(0o755).create(folder)?;
            // The umask must not keep users out.
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(folder, everybody)?;
        }
        match DirBuilder::new().mode(0o700).create(of_user) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => chown(of_user, Some(self.uid), None)?,
        }
        DirBuilder::new().mode(0o700).create(place)
    }

    /// Mounts a folder at a place with the owners of this Engine's user namespace, and without devices.
    pub(crate) fn attach(&self, folder: &OpenFolder, place: &Path) -> Result<()> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(folder.as_fd(), "", clone)?;
        self.map_owners(&tree)?;
        // The user owns the folder of the place. Without `MOVE_MOUNT_T_SYMLINKS`, a symlink that they put there fails.
        let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", CWD, place, from_descriptor)?;
        Ok(())
    }

    fn map_owners(&self, tree: &OwnedFd) -> Result<()> {
        let namespace = self.namespace.as_raw_fd();
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NODEV,
            attr_clr: 0,
            propagation: 0,
            userns_fd: u64::try_from(namespace).map_err(Error::other)?,
        };
        // Safe: the descriptors are open, the path is an empty string, and the size is that of the structure.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                tree.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attributes,
                size_of_val(&attributes),
            )
        };
        if done == 0 {
            return Ok(());
        }
        let error = Error::last_os_error();
        Err(match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::Unsupported => Error::new(
                error.kind(),
                "this kernel cannot map the owners of files on btrfs, which an Engine without root needs: Linux 5.15 or later can",
            ),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::Rootless;

    #[test]
    fn only_another_user_namespace_is_rootless() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Rootless::of(own, 0).unwrap().is_none());
        let mut child = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The line says that the namespace is there.
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = Rootless::of(pid, 1000).unwrap().unwrap();
        assert_eq!(
            found.place("/run/x".as_ref(), "7"),
            std::path::Path::new("/run/x/1000/7")
        );
        child.kill().unwrap();
        child.wait().unwrap();
        Rootless::of(pid, 1000).unwrap_err();
    }
}
