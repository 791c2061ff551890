//! The daemon's life: attach, put right, listen, look after, stop.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::node::Node;
use crate::operations::{housekeeping, mount, reconcile, recover, watch};
use crate::{api, plugin};

/// Runs the daemon until it is told to stop. Containers keep their volumes: the pool stays mounted.
pub async fn run(config: Config) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("dotmeshd mounts its pool and so must run as root; try it with sudo");
    }
    raise_file_limit();
    std::fs::create_dir_all(&config.root)
        .with_context(|| format!("create {}", config.root.display()))?;
    // Only root and Docker, which is root, get to what containers have written.
    std::fs::set_permissions(&config.root, PermissionsExt::from_mode(0o700))
        .with_context(|| format!("close {}", config.root.display()))?;
    let _lock = lock_root(&config.root)?;
    let node = Node::open(config).await.context("open the pool")?;
    reconcile::reconcile(&node)
        .await
        .context("compare the registry with the pool")?;
    recover::undo_half_made(&node)
        .await
        .context("undo an interrupted switch")?;

    let stop = stop_signal()?;
    let api = listen(&node.config.socket, Access::Group)?;
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
    tokio::spawn(housekeeping::keep_house(node.clone()));
    tokio::spawn(watch::watch(node.clone()));
    let restoring = node.clone();
    tokio::spawn(async move {
        if let Err(error) = mount::restore(&restoring).await {
            tracing::warn!(%error, "volumes of users are not mounted again");
        }
    });
    let serve_plugin = async {
        match plugin {
            Some(listener) => axum::serve(listener, plugin::router(node.clone())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = axum::serve(api, api::router(node.clone())) => ended.context("serve the API")?,
        ended = serve_plugin => ended.context("serve the Docker plugin")?,
        () = stop => tracing::info!("stopping"),
    }
    // A socket without a daemon makes Docker wait.
    let sockets = [
        Some(node.config.socket.clone()),
        node.config.plugin_socket(),
    ];
    for socket in sockets.into_iter().flatten() {
        let _ = std::fs::remove_file(socket);
    }
    Ok(())
}

/// A push opens each folder above a file. With the usual limit of 1024, a few pushes of deep folders would leave no
/// descriptor for anything else.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// One daemon per root: two would undo each other's work.
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
    /// Root, and the group `dotmesh` where there is one.
    Group,
}

fn listen(path: &Path, access: Access) -> Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("something already listens on {}", path.display());
    }
    // Left by a daemon that was killed.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
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
    Ok(listener)
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
