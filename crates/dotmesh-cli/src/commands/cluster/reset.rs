//! `dm cluster reset`

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_api::node::{DotSummary, NodeVersion};

use super::{require_root, service};
use crate::commands::containers;
use crate::context::Context;
use crate::error::{CliError, Result};

/// Stop Dotmesh on this machine, and take its service away
///
/// The dots stay unless told otherwise, and containers keep running: 'dm cluster init' starts it again. Must run as root.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Delete all dots with all their commits, too
    #[arg(long)]
    delete_data: bool,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Where everything is kept [default: what the daemon was started with, else /var/lib/dotmesh]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Where 'dm' reaches the daemon [default: DOTMESH_SOCKET, else /run/dotmesh/api.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    require_root("reset")?;
    let socket = args
        .socket
        .as_deref()
        .unwrap_or(context.environment.socket());
    let node = NodeClient::new(socket)?;
    let version = node.version().await.ok();
    let pid = version
        .as_ref()
        .map(|version| version.pid)
        .or_else(|| service::read_pid(socket));
    let told = pid
        .and_then(|pid| service::option_of(pid, "--root"))
        .map(PathBuf::from);
    let root = args
        .root
        .or(told)
        .unwrap_or_else(|| "/var/lib/dotmesh".into());

    if args.delete_data {
        check_root(&root)?;
        check_data(context, &node, version.as_ref(), &root, args.force).await?;
    }
    let had_unit = service::has_systemd() && service::has_unit();
    if had_unit {
        service::remove_unit().await?;
    } else if let Some(pid) = pid {
        service::stop_process(pid).await?;
    }
    service::remove_file(&service::pid_file(socket))?;
    let plugin = version
        .and_then(|version| version.driver)
        .unwrap_or_else(|| "dm".to_owned());
    remove_dead_socket(socket)?;
    remove_dead_socket(
        &Path::new("/run/docker/plugins")
            .join(plugin)
            .with_extension("sock"),
    )?;
    context.ui.status(if had_unit || pid.is_some() {
        "Dotmesh was stopped."
    } else {
        "Dotmesh was not running."
    });
    if args.delete_data {
        unmount_below(&root)?;
        std::fs::remove_dir_all(&root).map_err(|error| {
            CliError::failed(format!("cannot delete {}", root.display())).caused_by(error)
        })?;
        context.config.update(|config| {
            config.nodes.remove(&socket.display().to_string());
            Ok(())
        })?;
        context
            .ui
            .status(&format!("{} was deleted, with all dots.", root.display()));
    } else if is_root(&root) {
        context
            .ui
            .status(&format!("The dots are still in {}", root.display()));
    }
    Ok(())
}

/// Whether a daemon has kept its things there.
fn is_root(folder: &Path) -> bool {
    folder.join("dotmeshd.lock").exists()
}

/// Refuses to delete a folder that is not a node's.
fn check_root(root: &Path) -> Result<()> {
    if is_root(root) {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "{} does not look like a folder of Dotmesh's",
        root.display()
    ))
    .hint("Say where everything is kept with --root DIR."))
}

/// Refuses while containers need the data; asks whether it may be deleted.
async fn check_data(
    context: &Context,
    node: &NodeClient,
    version: Option<&NodeVersion>,
    root: &Path,
    force: bool,
) -> Result<()> {
    if version.is_none() {
        if force {
            return Ok(());
        }
        return Err(CliError::failed(
            "Dotmesh is not running, so it cannot say which containers need its data",
        )
        .hint("Start it with 'dm cluster init', or delete the data nevertheless with --force."));
    }
    let dots = node.dots().await?;
    let mut users = Vec::new();
    for dot in &dots {
        let detail = node.dot(&dot.name).await?;
        users.extend(
            detail
                .branches
                .into_iter()
                .flat_map(|branch| branch.containers),
        );
    }
    if !users.is_empty() {
        users.sort();
        users.dedup();
        let users = containers(&users, ", ");
        return Err(
            CliError::failed(format!("containers are using dots: {users}"))
                .hint("Stop them first, e.g. with 'docker stop'."),
        );
    }
    if !force {
        context.ui.status(&loss(&dots, root));
        let question = "Please confirm that you really want to delete all dots of this machine, including all branches and commits?";
        context.ui.confirm(question).await?;
    }
    Ok(())
}

/// What will be lost.
pub fn loss(dots: &[DotSummary], root: &Path) -> String {
    let place = root.display();
    if dots.is_empty() {
        return format!("{place} holds no dots");
    }
    let names: Vec<_> = dots.iter().map(|dot| dot.name.to_string()).collect();
    let count = if names.len() == 1 {
        "1 dot".to_owned()
    } else {
        format!("{} dots", names.len())
    };
    format!("{place} holds {count}: {}", names.join(", "))
}

/// A socket that nobody listens on makes those who try wait.
fn remove_dead_socket(path: &Path) -> Result<()> {
    if UnixStream::connect(path).is_ok() {
        Ok(())
    } else {
        service::remove_file(path)
    }
}

fn unmount_below(root: &Path) -> Result<()> {
    // The paths of others' mounts need not be UTF-8.
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| CliError::failed("cannot read /proc/self/mountinfo").caused_by(error))?;
    let table = String::from_utf8_lossy(&table);
    for place in mounts_below(&table, root) {
        rustix::mount::unmount(&place, rustix::mount::UnmountFlags::empty()).map_err(|error| {
            CliError::failed(format!("cannot unmount {}", place.display()))
                .caused_by(error)
                .hint("Find what uses it with 'fuser -vm', then try again. Nothing was deleted.")
        })?;
    }
    Ok(())
}

/// What is mounted at a folder or below it, in the order to take it away.
pub fn mounts_below(table: &str, root: &Path) -> Vec<PathBuf> {
    let places = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    let mut places: Vec<_> = places
        .map(PathBuf::from)
        .filter(|p| p.starts_with(root))
        .collect();
    places.reverse();
    places
}

/// Blanks are octal numbers in the table.
fn unescape(place: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(place.to_owned(), |place, (code, text)| {
        place.replace(code, text)
    })
}
