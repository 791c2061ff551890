//! The daemon's lifecycle: attach the pool, recover, listen, run background tasks, stop.

use std::future::IntoFuture as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use dotmesh_pool::PoolError;
use rustix::fs::{Mode, OFlags};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::{forks, housekeeping, mount, reconcile, recover, watch};
use crate::{api, plugin, remount};

/// Runs the daemon until it gets a stop signal. Containers keep their volumes, since the pool stays mounted.
pub async fn run(config: Config) -> Result<()> {
    if config.remove_dead_sockets {
        return remove_dead_sockets(&config);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("dotmeshd must run as root, since it mounts its pool: try sudo");
    }
    raise_file_limit();
    // Report bad options before anything is mounted.
    config.network().map_err(anyhow::Error::msg)?;
    std::fs::create_dir_all(&config.root)
        .with_context(|| format!("create {}", config.root.display()))?;
    // Only root, and so Docker, may read what containers wrote.
    std::fs::set_permissions(&config.root, PermissionsExt::from_mode(0o700))
        .with_context(|| format!("restrict access to {}", config.root.display()))?;
    let _lock = lock_root(&config.root)?;
    let node = open(config).await?;
    reconcile::reconcile(&node)
        .await
        .context("compare the registry with the pool")?;
    recover::undo_half_made(&node)
        .await
        .context("undo an interrupted switch")?;

    let stop = stop_signal()?;
    let (api, _api_socket) = listen(&node.config.socket, Access::Group)?;
    let plugin = match node.config.plugin_socket() {
        Some(path) => Some(listen(&path, Access::Root)?),
        None => None,
    };
    let interrupted = node.registry.open_switches().await?.len();
    tracing::info!(
        node = node.pool.node(),
        socket = %node.config.socket.display(),
        driver = node.config.driver().as_deref().unwrap_or("none"),
        interrupted,
        "ready"
    );
    let house = tokio::spawn(housekeeping::keep_house(node.clone()));
    tokio::spawn(watch::watch(node.clone()));
    tokio::spawn(forks::watch(node.clone()));
    let restoring = node.clone();
    tokio::spawn(async move {
        if let Err(error) = mount::restore(&restoring).await {
            tracing::warn!(%error, "cannot mount the users' volumes again");
        }
    });
    let serve_plugin = async {
        match plugin {
            Some((listener, _socket)) => axum::serve(listener, plugin::router(node.clone())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = axum::serve(api, api::router(node.clone())) => ended.context("serve the API")?,
        ended = serve_plugin => ended.context("serve the Docker plugin")?,
        () = stop => tracing::info!("stopping"),
        _ = house => return Err(begin_anew()),
    }
    Ok(())
}

/// Opens the pool. A read-only pool is remounted first, which needs room on the disk below and can take long.
/// Meanwhile, `dm` and Docker get an error that says so.
async fn open(config: Config) -> Result<Node> {
    match Node::open(config.clone()).await {
        Err(NodeError::Pool(PoolError::ReadOnly { .. })) => {}
        opened => return opened.context("open the pool"),
    }
    let path = config.root.join("pool");
    let (api, api_socket) = listen(&config.socket, Access::Group)?;
    let answering = tokio::spawn(axum::serve(api, api::without_pool(path.clone())).into_future());
    let (plugin, plugin_socket) = match config.plugin_socket() {
        Some(socket) => {
            let (plugin, socket) = listen(&socket, Access::Root)?;
            let serving = axum::serve(plugin, plugin::without_pool(path)).into_future();
            (Some(tokio::spawn(serving)), Some(socket))
        }
        None => (None, None),
    };
    let unmounted = remount::unmount(&config).await;
    for task in plugin.into_iter().chain([answering]) {
        task.abort();
        // The socket closes once the task is gone.
        let _ = task.await;
    }
    drop((api_socket, plugin_socket));
    unmounted.context("unmount the read-only pool")?;
    Node::open(config).await.context("open the pool")
}

/// Re-executes this program, so that nothing in it uses the pool any more. Returns only on failure.
fn begin_anew() -> anyhow::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut program = std::process::Command::new("/proc/self/exe");
    program
        .arg0(name)
        .args(arguments)
        .env(housekeeping::REMOUNTED, "1");
    let error = program.exec();
    anyhow::Error::new(error).context("restart the daemon to mount the pool again")
}

/// Removes sockets that nobody listens on. A socket without a daemon makes Docker wait.
fn remove_dead_sockets(config: &Config) -> Result<()> {
    for socket in [Some(config.socket.clone()), config.plugin_socket()]
        .into_iter()
        .flatten()
    {
        if !is_listened_on(&socket) {
            remove_socket(&socket)?;
        }
    }
    Ok(())
}

fn is_listened_on(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// Succeeds if the file doesn't exist.
fn remove_socket(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A push keeps each parent folder of a file open. With the usual limit of 1024, a few pushes of deep folders would use
/// up all descriptors.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Ensures one daemon per root. Two would undo each other's work.
fn lock_root(root: &Path) -> Result<std::fs::File> {
    let path = root.join("dotmeshd.lock");
    let file =
        std::fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "another dotmeshd runs on {}; stop it, or choose another place with --root",
            root.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

#[derive(Clone, Copy)]
enum Access {
    Root,
    /// Root, and the group `dotmesh` if it exists.
    Group,
}

/// The file of a socket that this daemon listens on. It is removed when the daemon ends in any way but SIGKILL: a
/// socket without a daemon makes Docker wait.
#[derive(Debug)]
struct SocketFile {
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

fn listen(path: &Path, access: Access) -> Result<(UnixListener, SocketFile)> {
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
    let mode = match access {
        Access::Root => 0o600,
        Access::Group => {
            if let Some(group) = group_id("dotmesh") {
                std::os::unix::fs::chown(path, None, Some(group))?;
            }
            0o660
        }
    };
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    Ok((listener, socket))
}

fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string(PathBuf::from("/etc/group")).ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Access, listen};

    #[tokio::test]
    async fn a_socket_goes_with_the_daemon_and_never_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dm.sock");
        let (listener, socket) = listen(&path, Access::Root).unwrap();
        listen(&path, Access::Root).unwrap_err();
        assert!(path.exists(), "the refused daemon has left it");
        // Simulates a killed daemon.
        std::mem::forget(socket);
        drop(listener);
        assert!(path.exists());
        let (_listener, old) = listen(&path, Access::Root).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (_other, new) = listen(&path, Access::Root).unwrap();
        drop(old);
        assert!(path.exists(), "it is another daemon's");
        drop(new);
        assert!(!path.exists());
    }
}
