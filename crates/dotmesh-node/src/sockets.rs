//! The daemon's sockets: those that it makes, and those that a service manager made for it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::process::{ForeignRawFd, PidfdFlags, PidfdGetfdFlags};
use tokio::net::UnixListener;

/// The first descriptor that a service manager passes on (sd_listen_fds(3)).
const FIRST_INHERITED: ForeignRawFd = 3;

/// The volume driver's socket. Docker can connect as long as this value lives, and waits until somebody accepts.
#[derive(Debug)]
pub(crate) struct DriverSocket {
    listener: std::os::unix::net::UnixListener,
    /// `None` if the service manager owns the file.
    file: Option<SocketFile>,
}

impl DriverSocket {
    /// The socket that the service manager passed on, if any.
    pub(crate) fn inherited(path: &Path) -> Result<Option<Self>> {
        let Some(listener) = inherited(path)? else {
            return Ok(None);
        };
        // systemd makes it for root only, since the group may be missing when its unit is read.
        if let Err(error) = open_to_group(path) {
            tracing::warn!(socket = %path.display(), %error, "only root can use the volume driver");
        }
        Ok(Some(Self {
            listener,
            file: None,
        }))
    }

    /// Makes the socket.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        let (listener, file) = listen(path)?;
        Ok(Self {
            listener: listener.into_std()?,
            file: Some(file),
        })
    }

    /// Whether the service manager made it. It then stays when this daemon ends, and Docker goes on waiting.
    pub(crate) fn is_inherited(&self) -> bool {
        self.file.is_none()
    }

    /// A listener for a server. Connections that no server accepted wait for the next one.
    pub(crate) fn listener(&self) -> Result<UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(UnixListener::from_std(listener)?)
    }
}

/// The socket with this path, if the service manager passed it on. The descriptor itself stays open and inheritable, so
/// a daemon that executes itself anew finds it again.
fn inherited(path: &Path) -> Result<Option<std::os::unix::net::UnixListener>> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    let count = ForeignRawFd::try_from(number("LISTEN_FDS").unwrap_or(0))?;
    let me = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    for descriptor in FIRST_INHERITED..FIRST_INHERITED.saturating_add(count) {
        let socket = rustix::process::pidfd_getfd(&me, descriptor, PidfdGetfdFlags::empty())
            .context("take over the service manager's socket")?;
        let listener = std::os::unix::net::UnixListener::from(socket);
        let is_at = |address: std::os::unix::net::SocketAddr| address.as_pathname() == Some(path);
        if listener.local_addr().is_ok_and(is_at) {
            return Ok(Some(listener));
        }
    }
    tracing::warn!(socket = %path.display(), "the service manager passed on other sockets than this one");
    Ok(None)
}

pub(crate) fn is_listened_on(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// Succeeds if the file doesn't exist.
pub(crate) fn remove_socket(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The file of a socket that this daemon listens on. It is removed when the daemon ends in any way but SIGKILL: a
/// socket without a daemon makes Docker wait.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Keeps the inode number in use, so that another daemon's socket is never mistaken for this one.
    file: OwnedFd,
}

impl SocketFile {
    fn of(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            path: path.to_owned(),
            file: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    fn is_still_there(&self) -> std::io::Result<bool> {
        let ours = rustix::fs::fstat(&self.file)?;
        let there = rustix::fs::lstat(&self.path)?;
        Ok((ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_still_there().unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Lets root use a socket, and members of the group `dotmesh` if it exists. An Engine without root runs as a member.
fn open_to_group(path: &Path) -> Result<()> {
    if let Some(group) = group_id("dotmesh") {
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
    Ok(())
}

pub(crate) fn listen(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        let failed = || format!("create {}", folder.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
        // Members of the group must reach the socket, whatever the umask.
        let everybody = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, everybody).with_context(failed)?;
    }
    if is_listened_on(path) {
        bail!("something already listens on {}", path.display());
    }
    // Remove the socket of a daemon that was killed.
    remove_socket(path)?;
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    let socket = SocketFile::of(path).with_context(|| format!("find {}", path.display()))?;
    open_to_group(path)?;
    Ok((listener, socket))
}

/// The number of a group of the machine. In a managed plugin, the machine's files are those of its first process.
fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/proc/1/root/etc/group")
        .or_else(|_| std::fs::read_to_string("/etc/group"))
        .ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::listen;

    #[tokio::test]
    async fn a_socket_goes_with_the_daemon_and_never_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dm.sock");
        let (listener, socket) = listen(&path).unwrap();
        listen(&path).unwrap_err();
        assert!(path.exists(), "the refused daemon has left it");
        // Simulates a killed daemon.
        std::mem::forget(socket);
        drop(listener);
        assert!(path.exists());
        let (_listener, old) = listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (_other, new) = listen(&path).unwrap();
        drop(old);
        assert!(path.exists(), "it is another daemon's");
        drop(new);
        assert!(!path.exists());
    }
}
