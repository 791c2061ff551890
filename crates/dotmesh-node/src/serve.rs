//! The daemon's lifecycle: attach the pool, recover, listen, run background tasks, stop.

use std::future::IntoFuture as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_pool::PoolError;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::{forks, housekeeping, mount, reconcile, recover, summaries, watch};
use crate::rootless::Caller;
use crate::sockets::{DriverSocket, is_listened_on, listen, remove_socket};
use crate::{api, plugin, remount};

/// How long a daemon that cannot start tells Docker why. A service manager then tries again.
const REFUSES_FOR: Duration = Duration::from_secs(5);

/// Runs the daemon until it gets a stop signal. Containers keep their volumes, since the pool stays mounted.
pub async fn run(config: Config) -> Result<()> {
    if config.remove_dead_sockets {
        return remove_dead_sockets(&config);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("dotmeshd must run as root, since it mounts its pool: try sudo");
    }
    raise_file_limit();
    let driver = config.plugin_socket();
    let mut driver = match &driver {
        Some(path) => DriverSocket::inherited(path)?,
        None => None,
    };
    let is_plugin = config.is_managed_plugin();
    let (node, _lock) = match prepare(config, &mut driver).await {
        Ok(prepared) => prepared,
        Err(error) => {
            if let Some(driver) = driver.filter(|driver| is_plugin || driver.is_inherited()) {
                refuse(&driver, &error).await?;
            }
            return Err(error);
        }
    };

    let stop = stop_signal()?;
    let (api, _api_socket) = listen(&node.config.socket)?;
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
    tokio::spawn(summaries::send_all(node.clone()));
    let restoring = node.clone();
    tokio::spawn(async move {
        if let Err(error) = mount::restore(&restoring).await {
            tracing::warn!(%error, "cannot mount the users' volumes again");
        }
    });
    let serve_plugin = async {
        match &driver {
            Some(driver) => {
                let router = plugin::router(node.clone());
                let router = router.into_make_service_with_connect_info::<Caller>();
                Ok(axum::serve(driver.listener()?, router).await?)
            }
            None => std::future::pending::<Result<()>>().await,
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

/// Opens the pool, and brings the registry and what was interrupted in order. Docker waits meanwhile.
async fn prepare(
    config: Config,
    driver: &mut Option<DriverSocket>,
) -> Result<(Node, std::fs::File)> {
    // Report bad options before anything is mounted.
    config.network().map_err(anyhow::Error::msg)?;
    std::fs::create_dir_all(&config.root)
        .with_context(|| format!("create {}", config.root.display()))?;
    // Only root, and so Docker, may read what containers wrote.
    std::fs::set_permissions(&config.root, PermissionsExt::from_mode(0o700))
        .with_context(|| format!("restrict access to {}", config.root.display()))?;
    let lock = lock_root(&config.root)?;
    if let (None, Some(path)) = (&driver, config.plugin_socket()) {
        *driver = Some(DriverSocket::make(&path)?);
    }
    let node = open(config, driver.as_ref()).await?;
    reconcile::reconcile(&node)
        .await
        .context("compare the registry with the pool")?;
    recover::undo_half_made(&node)
        .await
        .context("undo an interrupted switch")?;
    Ok((node, lock))
}

/// Tells Docker why there is no driver. Without an answer it would wait, for each volume.
async fn refuse(driver: &DriverSocket, error: &anyhow::Error) -> Result<()> {
    tracing::error!("cannot start: {error:#}");
    let message = format!("Dotmesh cannot start, so there are no volumes: {error:#}");
    let router = plugin::refusing(ErrorBody::new(ErrorCode::Internal, message));
    let serving = axum::serve(driver.listener()?, router).into_future();
    let _ = tokio::time::timeout(REFUSES_FOR, serving).await;
    Ok(())
}

/// Opens the pool. A read-only pool is remounted first, which needs room on the disk below and can take long.
/// Meanwhile, `dm` and Docker get an error that says so.
async fn open(config: Config, driver: Option<&DriverSocket>) -> Result<Node> {
    match Node::open(config.clone()).await {
        Err(NodeError::Pool(PoolError::ReadOnly { .. })) => {}
        opened => return opened.context("open the pool"),
    }
    let path = config.root.join("pool");
    let (api, api_socket) = listen(&config.socket)?;
    let answering = tokio::spawn(axum::serve(api, api::without_pool(path.clone())).into_future());
    let refusing = match driver {
        Some(driver) => {
            let error = NodeError::Pool(PoolError::ReadOnly { path });
            let router = plugin::refusing(error.into());
            Some(tokio::spawn(
                axum::serve(driver.listener()?, router).into_future(),
            ))
        }
        None => None,
    };
    let unmounted = remount::unmount(&config).await;
    for task in refusing.into_iter().chain([answering]) {
        task.abort();
        // The socket closes once the task is gone.
        let _ = task.await;
    }
    drop(api_socket);
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
