//! `dm cluster reset`

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use dotmesh_api::node::{DotSummary, NodeVersion};
use dotmesh_api::{ErrorCode, NodeClient};
use serde::Serialize;
use utoipa::ToSchema;

use super::places::{Places, PoolPlace, list};
use super::{require_root, service};
use crate::commands::containers;
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Stop Dotmesh on this machine, and remove its service
///
/// The command says what it will stop, unmount and delete, and asks. Dots stay unless --delete-data is given, and containers
/// keep running. 'dm cluster init' starts Dotmesh again. Must run as root.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Delete all dots with all their commits, too
    #[arg(long)]
    delete_data: bool,

    /// Do not ask, and delete the data even if Dotmesh does not run and cannot say which containers use it
    #[arg(short, long)]
    force: bool,

    /// Where everything is kept [default: what the daemon was started with, else /var/lib/dotmesh]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Where 'dm' reaches the daemon [default: DOTMESH_SOCKET, else /run/dotmesh/api.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// What the reset will do. It is shown before the user confirms.
#[derive(Debug, Default)]
pub struct Plan {
    /// The daemon's process, if it runs.
    pub pid: Option<u32>,
    /// Whether there is a systemd service to remove.
    pub has_unit: bool,
    /// The sockets to remove after the daemon has exited.
    pub sockets: Vec<PathBuf>,
    /// The root of the node's data, without symlinks.
    pub root: PathBuf,
    /// Whether the root belongs to a daemon.
    pub has_data: bool,
    /// What is deleted. `None` without `--delete-data`.
    pub deletion: Option<Deletion>,
}

/// The deletion of the data.
#[derive(Debug, Default)]
pub struct Deletion {
    /// The dots that the daemon lists. Empty if it does not run.
    pub dots: Vec<String>,
    /// The mounts of the node.
    pub places: Places,
    /// Where the dots are, if they are outside the root. They are not deleted.
    pub elsewhere: Option<String>,
    /// Whether the empty root folder stays, because it is a mount point or a symlink leads to it.
    pub keeps_folder: bool,
}

/// What a reset did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stopped {
    /// Whether the daemon ran, or had a service.
    pub was_running: bool,
    /// Where everything is, or was.
    #[schema(value_type = String)]
    pub root: PathBuf,
    /// Whether a daemon has data there that was kept.
    pub has_data: bool,
    /// What was deleted. `null` without `--delete-data`.
    pub deleted: Option<DeletedData>,
}

/// What a reset deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedData {
    /// The dots, as far as the daemon said.
    pub dots: Vec<String>,
    /// Where the dots are still, if they are outside of the root.
    pub dots_elsewhere: Option<String>,
    /// Whether the root's folder stays, empty.
    pub keeps_folder: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Stopped> {
    require_root("reset")?;
    let socket = args
        .socket
        .clone()
        .unwrap_or_else(|| context.environment.socket().to_owned());
    let node = NodeClient::new(&socket)?;
    let version = node.version().await.ok();
    let pid = version
        .as_ref()
        .map(|version| version.pid)
        .or_else(|| service::read_pid(&socket));
    let has_unit = service::has_systemd() && service::has_unit();
    let words = pid.and_then(service::words_of);
    let words = words.or_else(|| has_unit.then(service::words_of_unit)?);
    let words = words.unwrap_or_default();
    let named = args
        .root
        .clone()
        .or_else(|| service::option_of(&words, "--root").map(PathBuf::from))
        .unwrap_or_else(|| "/var/lib/dotmesh".into());
    // Mount tables have paths without symlinks. Deleting a symlink would not delete the data.
    let root = named.canonicalize().unwrap_or_else(|_| named.clone());
    let mut plan = Plan {
        pid,
        has_unit,
        sockets: [Some(socket.clone()), plugin(&words, version.as_ref())]
            .into_iter()
            .flatten()
            .collect(),
        has_data: is_root(&root),
        root,
        deletion: None,
    };
    let pool = pool_place(&plan.root, &words);
    if args.delete_data {
        check_root(&plan.root)?;
        let dots = check_data(&node, version.as_ref(), args.force).await?;
        let places = Places::read(&plan.root, &pool)?;
        places.refuse_foreign(&plan.root)?;
        plan.deletion = Some(Deletion {
            dots: dots.iter().map(|dot| dot.name.to_string()).collect(),
            elsewhere: elsewhere(&plan.root, &words),
            keeps_folder: places.root_is_mount || named.is_symlink(),
            places,
        });
    }
    context.ui.status(&plan.render());
    if !args.force {
        context.ui.confirm(plan.question()).await?;
    }

    if has_unit {
        service::remove_unit().await?;
    } else if let Some(pid) = pid {
        service::stop_process(pid).await?;
    }
    service::remove_file(&service::pid_file(&socket))?;
    for socket in &plan.sockets {
        remove_dead_socket(socket)?;
    }
    super::podman::forget()?;
    let was_running = has_unit || pid.is_some();
    context.ui.status(if was_running {
        "Dotmesh was stopped."
    } else {
        "Dotmesh was not running."
    });
    let mut stopped = Stopped {
        was_running,
        has_data: plan.has_data && plan.deletion.is_none(),
        root: plan.root,
        deleted: None,
    };
    if let Some(deletion) = plan.deletion {
        delete(&stopped.root, &deletion, &pool)?;
        if deletion.elsewhere.is_none() {
            context.config.update(|config| {
                config.nodes.remove(&socket.display().to_string());
                Ok(())
            })?;
        }
        stopped.deleted = Some(DeletedData {
            dots: deletion.dots,
            dots_elsewhere: deletion.elsewhere,
            keeps_folder: deletion.keeps_folder,
        });
    }
    Ok(stopped)
}

impl Human for Stopped {
    fn show(&self, ui: &Ui) -> Result<()> {
        let shown = self.root.display();
        let Some(deleted) = &self.deleted else {
            if self.has_data {
                ui.status(&format!("The dots are still in {shown}"));
            }
            return Ok(());
        };
        ui.status(&match (&deleted.dots_elsewhere, deleted.keeps_folder) {
            (None, false) => format!("{shown} was deleted, with all dots."),
            (None, true) => format!("All dots and everything else in {shown} were deleted."),
            (Some(_), false) => format!("{shown} was deleted."),
            (Some(_), true) => format!("Everything in {shown} was deleted."),
        });
        if deleted.keeps_folder {
            ui.status(&format!(
                "The empty folder {shown} stays, as it is a mount point or a symlink leads to it."
            ));
        }
        if let Some(place) = &deleted.dots_elsewhere {
            ui.warning(&format!(
                "the dots are not deleted: they are in the pool at {place}, outside of {shown}"
            ));
        }
        Ok(())
    }
}

/// Unmounts and deletes the data.
fn delete(root: &Path, deletion: &Deletion, pool: &PoolPlace) -> Result<()> {
    // Read the mounts again: only now that the daemon has exited, it cannot add any.
    let places = Places::read(root, pool)?;
    places.refuse_foreign(root)?;
    places.unmount()?;
    delete_content(root)?;
    if !deletion.keeps_folder {
        std::fs::remove_dir(root).map_err(|error| {
            CliError::io(format!(
                "{} is empty, but cannot be deleted",
                root.display()
            ))
            .caused_by(error)
        })?;
    }
    Ok(())
}

/// Deletes the content of a folder, and fails if something is left.
pub fn delete_content(root: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        CliError::io(format!("cannot look into {}", root.display())).caused_by(error)
    };
    let content = || -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(root).map_err(failed)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<std::io::Result<_>>().map_err(failed)
    };
    let mut reasons = BTreeMap::new();
    for path in content()? {
        let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let removed = if is_folder {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = removed {
            reasons.insert(path, error.to_string());
        }
    }
    let left = content()?;
    if left.is_empty() {
        return Ok(());
    }
    let left = left.iter().map(|path| match reasons.get(path) {
        Some(reason) => format!("\n  {}: {reason}", path.display()),
        None => format!("\n  {}: created meanwhile", path.display()),
    });
    Err(CliError::io(format!(
        "not all of {} could be deleted; this is left:{}",
        root.display(),
        left.collect::<String>()
    ))
    .hint("Dotmesh was stopped. Find out what prevents the deletion, then try again with --force."))
}

impl Plan {
    /// The summary of what will happen.
    pub fn render(&self) -> String {
        let mut lines = vec!["This is what 'dm cluster reset' does here:".to_owned()];
        let root = self.root.display();
        let mut line = |what: &str, of: String| lines.push(format!("  {what:<10} {of}"));
        match (self.pid, self.has_unit) {
            (Some(pid), true) => line(
                "stops",
                format!("dotmeshd, process {pid}, and removes its systemd service"),
            ),
            (Some(pid), false) => line("stops", format!("dotmeshd, process {pid}")),
            (None, true) => line(
                "stops",
                "nothing, as dotmeshd does not run, but removes its systemd service".to_owned(),
            ),
            (None, false) => line("stops", "nothing, as dotmeshd does not run".to_owned()),
        }
        line("removes", format!("the sockets {}", list(&self.sockets)));
        let Some(deletion) = &self.deletion else {
            line("unmounts", "nothing".to_owned());
            line("deletes", "nothing".to_owned());
            if self.has_data {
                line("keeps", format!("the dots, in {root}"));
            }
            return lines.join("\n");
        };
        line(
            "unmounts",
            match deletion.places.own.as_slice() {
                [] => "nothing".to_owned(),
                own => list(own),
            },
        );
        let what = if deletion.keeps_folder {
            format!("everything in {root}")
        } else {
            root.to_string()
        };
        line(
            "deletes",
            match (&deletion.elsewhere, deletion.dots.as_slice()) {
                (Some(_), _) => what,
                (None, []) => format!("{what}, with all dots that are in it"),
                (None, [dot]) => format!("{what}, with 1 dot: {dot}"),
                (None, dots) => format!("{what}, with {} dots: {}", dots.len(), dots.join(", ")),
            },
        );
        if let Some(place) = &deletion.elsewhere {
            line("keeps", format!("the pool with the dots, at {place}"));
        }
        lines.join("\n")
    }

    fn question(&self) -> &'static str {
        match &self.deletion {
            None => "Please confirm that you really want to stop Dotmesh on this machine",
            Some(deletion) if deletion.elsewhere.is_some() => {
                "Please confirm that you really want to remove Dotmesh from this machine"
            }
            Some(_) => {
                "Please confirm that you really want to delete all dots of this machine, including all branches and commits?"
            }
        }
    }
}

/// The socket of the volume driver. `None` if the daemon runs without the driver.
fn plugin(words: &[String], version: Option<&NodeVersion>) -> Option<PathBuf> {
    let socket = service::plugin_socket(words);
    match version.map(|version| version.driver.as_deref()) {
        Some(None) => None,
        _ => socket,
    }
}

/// Finds out where the pool is.
fn pool_place(root: &Path, words: &[String]) -> PoolPlace {
    match service::option_of(words, "--pool").map(PathBuf::from) {
        Some(folder) if folder.is_dir() => {
            PoolPlace::Folder(folder.canonicalize().unwrap_or(folder))
        }
        Some(_) => PoolPlace::Mounted,
        None if root.join("pool.img").exists() || !words.is_empty() => PoolPlace::Mounted,
        None => PoolPlace::Unknown,
    }
}

/// Where the dots are, if they are outside the root.
fn elsewhere(root: &Path, words: &[String]) -> Option<String> {
    match service::option_of(words, "--pool") {
        Some(place) if Path::new(&place).starts_with(root) => None,
        Some(place) => Some(place),
        None if root.join("pool.img").exists() || root.join("pool/format.json").exists() => None,
        None => Some("the place that dotmeshd was given with --pool".to_owned()),
    }
}

/// Whether the folder is the root of a daemon.
fn is_root(folder: &Path) -> bool {
    folder.join("dotmeshd.lock").exists()
}

/// Refuses to delete a folder that is not the root of a daemon.
fn check_root(root: &Path) -> Result<()> {
    if is_root(root) {
        return Ok(());
    }
    Err(CliError::new(
        Code::Refused,
        format!("{} is not a folder with Dotmesh's data", root.display()),
    )
    .hint("Name the right folder with --root DIR."))
}

/// Refuses while containers use the data. Returns the dots.
async fn check_data(
    node: &NodeClient,
    version: Option<&NodeVersion>,
    force: bool,
) -> Result<Vec<DotSummary>> {
    if version.is_none() {
        if force {
            return Ok(Vec::new());
        }
        return Err(CliError::new(
            Code::Refused,
            "Dotmesh is not running, so it cannot say which containers need its data",
        )
        .hint("Start it with 'dm cluster init', or delete the data anyway with --force."));
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
        return Err(CliError::new(
            ErrorCode::InUse,
            format!("containers are using dots: {users}"),
        )
        .hint("Stop them first, e.g. with 'docker stop'."));
    }
    Ok(dots)
}

/// Removes a socket, unless somebody listens on it. Clients such as Docker would wait for a dead socket.
fn remove_dead_socket(path: &Path) -> Result<()> {
    if UnixStream::connect(path).is_ok() {
        Ok(())
    } else {
        service::remove_file(path)
    }
}
