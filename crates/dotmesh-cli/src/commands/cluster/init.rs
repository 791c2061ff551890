//! `dm cluster init`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dotmesh_api::node::NodeVersion;
use dotmesh_model::size::{NotASize, parse_size};
use serde::Serialize;
use utoipa::ToSchema;

use super::machine::Machine;
use super::podman;
use super::require_root;
use super::service::{self, Detached};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;

/// How long the daemon may take to answer. The first start may have to create a disk image.
const ANSWERS_WITHIN: Duration = Duration::from_secs(90);

/// Start Dotmesh on this machine
///
/// Runs the daemon dotmeshd. With systemd it is a service, which also starts at every boot. Without systemd it is a separate
/// process. If the Engine is Podman, its configuration gets the volume driver. Must run as root. Does nothing if Dotmesh runs
/// already.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dotmesh")]
    pub root: PathBuf,

    /// Where 'dm' reaches the daemon [default: DOTMESH_SOCKET, else /run/dotmesh/api.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Where Docker reaches the volume driver. The driver has the file's name. 'none' means no driver [default:
    /// /run/docker/plugins/dm.sock]
    #[arg(long, value_name = "PATH")]
    pub docker_plugin: Option<String>,

    /// Where the Docker Engine is [default: DOCKER_HOST, else unix:///var/run/docker.sock, else Podman's socket]
    #[arg(long, value_name = "URL")]
    pub docker_host: Option<String>,

    /// Keep the pool on this block device, or in this folder of a btrfs filesystem, instead of in a file
    #[arg(long, value_name = "PATH")]
    pub pool: Option<PathBuf>,

    /// Ignored, as the pool grows as far as the disk allows; kept for existing scripts
    #[arg(long, value_name = "SIZE", value_parser = check_size, hide = true)]
    pub pool_size: Option<String>,

    /// How large the pool may become, such as 100GB [default: as large as the disk below it allows]
    #[arg(long, value_name = "SIZE", value_parser = check_size)]
    pub pool_limit: Option<String>,

    /// The daemon's proxy for hubs with https
    #[arg(long, value_name = "URL")]
    pub https_proxy: Option<String>,

    /// The daemon's proxy for hubs with http
    #[arg(long, value_name = "URL")]
    pub http_proxy: Option<String>,

    /// Hosts, domains and networks that the daemon reaches without a proxy, separated by commas
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,

    /// Have the daemon trust the certificates in this file (PEM) besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

fn check_size(text: &str) -> std::result::Result<String, NotASize> {
    parse_size(text).map(|_| text.to_owned())
}

impl Args {
    /// The volume driver's socket, unless no driver is wanted.
    fn plugin_socket(&self) -> Option<PathBuf> {
        match &self.docker_plugin {
            None => Some(service::PLUGIN_SOCKET.into()),
            Some(none) if none == "none" => None,
            Some(path) => Some(absolute(Path::new(path)).into()),
        }
    }

    /// The daemon's arguments. Paths are absolute, as the daemon runs in another folder.
    pub fn for_daemon(&self, socket: &Path, docker_host: Option<&str>) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
        option("--root", absolute(&self.root));
        option("--socket", absolute(socket));
        if let Some(plugin) = &self.docker_plugin {
            let none = plugin == "none";
            option(
                "--docker-plugin",
                if none {
                    plugin.into()
                } else {
                    absolute(Path::new(plugin))
                },
            );
        }
        if let Some(host) = self.docker_host.as_deref().or(docker_host) {
            option("--docker-host", host.into());
        }
        if let Some(pool) = &self.pool {
            option("--pool", absolute(pool));
        }
        if let Some(limit) = &self.pool_limit {
            option("--pool-limit", limit.into());
        }
        for (name, value) in [
            ("--https-proxy", &self.https_proxy),
            ("--http-proxy", &self.http_proxy),
            ("--no-proxy", &self.no_proxy),
        ] {
            if let Some(value) = value {
                option(name, value.into());
            }
        }
        if let Some(file) = &self.ca_file {
            option("--ca-file", absolute(file));
        }
        words
    }
}

fn absolute(path: &Path) -> OsString {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .into_os_string()
}

/// Tells which daemon already answers at the socket. It may have another root than the requested one.
fn tell_running(ui: &Ui, running: &NodeVersion, asked: &Path) {
    let version = &running.version;
    let Some(root) = &running.root else {
        let text = format!("Dotmesh is already running, version {version}");
        return ui.status(&text);
    };
    let shown = root.display();
    ui.status(&format!(
        "Dotmesh is already running, version {version}, with its data in {shown}"
    ));
    if root.as_os_str() != absolute(asked) {
        ui.hint(&format!(
            "Nothing was started for {}. Stop the other one first, or choose another --socket and --docker-plugin.",
            asked.display()
        ));
    }
}

/// The daemon that runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Running {
    /// Whether this command started it.
    pub started: bool,
    /// The daemon.
    #[serde(flatten)]
    pub node: NodeVersion,
    /// The folder that was asked for.
    #[serde(skip)]
    pub root: PathBuf,
    /// Who ran `dm` with `sudo`.
    #[serde(skip)]
    pub person: Option<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Running> {
    let socket = args
        .socket
        .clone()
        .unwrap_or_else(|| context.environment.socket().to_owned());
    let node = dotmesh_api::NodeClient::new(&socket)?;
    if let Ok(node) = node.version().await {
        // Podman may have been installed since the daemon was started.
        if rustix::process::geteuid().is_root() {
            introduce_to_podman(context, &args).await?;
        }
        return Ok(Running {
            started: false,
            node,
            root: args.root,
            person: None,
        });
    }
    require_root("init")?;
    let wants_docker = args.docker_plugin.as_deref() != Some("none");
    let machine = Machine::look(&context.environment, wants_docker).await;
    let program = machine.ready()?;
    make_group().await;

    let podman = introduce_to_podman(context, &args).await?;
    let host = podman.or_else(|| context.environment.docker_host.clone());
    let words = args.for_daemon(&socket, host.as_deref());
    let detached = if service::has_systemd() {
        service::start_unit(program, &words).await?;
        None
    } else {
        Some(Detached::start(program, &words, &args.root)?)
    };
    let by_hand = detached.is_some();
    let version = tokio::time::timeout(ANSWERS_WITHIN, answer(&node, detached))
        .await
        .map_err(|_| {
            let log = if by_hand {
                format!("Read its log: {}", args.root.join("dotmeshd.log").display())
            } else {
                "Read its log with 'journalctl -u dotmeshd'.".to_owned()
            };
            CliError::new(
                Code::NodeUnreachable,
                format!(
                    "dotmeshd was started but does not answer at {}",
                    socket.display()
                ),
            )
            .hint(log)
        })??;
    if by_hand {
        let file = service::pid_file(&socket);
        std::fs::write(&file, format!("{}\n", version.pid)).map_err(|error| {
            CliError::io(format!("cannot write {}", file.display())).caused_by(error)
        })?;
    }
    let sudo = context.environment.sudo.as_ref();
    Ok(Running {
        started: true,
        node: version,
        root: args.root,
        person: sudo.map(|sudo| sudo.user.clone()),
    })
}

/// Tells Podman of the driver, if Podman is the Engine. Returns its URL then.
async fn introduce_to_podman(context: &Context, args: &Args) -> Result<Option<String>> {
    let Some(plugin) = args.plugin_socket() else {
        return Ok(None);
    };
    let host = args.docker_host.as_deref();
    let host = host.or(context.environment.docker_host.as_deref());
    let podman = podman::find(&context.environment, host);
    if podman.is_some() {
        podman::introduce(&plugin).await?;
    }
    Ok(podman)
}

impl Human for Running {
    fn show(&self, ui: &Ui) -> Result<()> {
        if !self.started {
            tell_running(ui, &self.node, &self.root);
            return Ok(());
        }
        let version = &self.node.version;
        ui.status(&format!("Dotmesh is running, version {version}"));
        if let Some(driver) = &self.node.driver {
            ui.status(&format!(
                "Docker volumes of driver '{driver}' are dots now."
            ));
        }
        ui.hint(&how_to_join(self.person.as_deref()));
        Ok(())
    }
}

/// Waits until the daemon answers. Fails if it exits.
async fn answer(
    node: &dotmesh_api::NodeClient,
    mut detached: Option<Detached>,
) -> Result<NodeVersion> {
    loop {
        if let Ok(version) = node.version().await {
            return Ok(version);
        }
        if let Some(detached) = &mut detached {
            detached.check()?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How a user joins the group that may use the daemon. `user` is who ran `sudo`.
pub fn how_to_join(user: Option<&str>) -> String {
    let user = user.unwrap_or("$USER");
    format!(
        "Members of the group 'dotmesh' need no sudo for 'dm'. Join it with 'sudo usermod -aG dotmesh {user}', then log in again."
    )
}

/// Creates the group whose members may use the daemon's socket. If that fails, only root may use it.
async fn make_group() {
    let mut groupadd = tokio::process::Command::new("groupadd");
    groupadd.args(["--system", "--force", "dotmesh"]);
    groupadd
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _ = groupadd.status().await;
}
