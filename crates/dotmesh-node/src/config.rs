//! The daemon's command line.

use std::path::{Path, PathBuf};

use clap::Parser;
use dotmesh_api::network::{Network, NetworkOptions};
use dotmesh_model::size::parse_size;

/// The Dotmesh daemon: keeps the state of this machine's apps as dots.
#[derive(Debug, Clone, Parser)]
#[command(name = "dotmeshd", version, about)]
pub struct Config {
    /// The folder that holds all data.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dotmesh")]
    pub root: PathBuf,

    /// The API socket that `dm` connects to.
    #[arg(long, value_name = "PATH", default_value = "/run/dotmesh/api.sock")]
    pub socket: PathBuf,

    /// The volume driver's socket. Its file name is the driver's name. `none` turns the driver off.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/docker/plugins/dm.sock"
    )]
    pub docker_plugin: String,

    /// Where volumes are mounted for Docker. For a managed plugin: its `propagatedMount`. [default: `mounts` in the
    /// root]
    #[arg(long, value_name = "PATH")]
    pub mounts: Option<PathBuf>,

    /// The Docker Engine's address.
    #[arg(
        long,
        value_name = "URL",
        env = "DOCKER_HOST",
        default_value = "unix:///var/run/docker.sock"
    )]
    pub docker_host: String,

    /// Keep the pool on this block device, or in this folder of a btrfs filesystem, instead of in a file in the root.
    #[arg(long, value_name = "PATH")]
    pub pool: Option<PathBuf>,

    /// Ignored. Earlier versions gave the pool's file this size at first. Now it is as large as the disk and the limit
    /// allow.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide = true)]
    pub pool_size: Option<u64>,

    /// The pool's maximum size. [default: what the disk below it allows]
    #[arg(long, value_name = "SIZE", env = "DOTMESH_POOL_LIMIT", value_parser = parse_size)]
    pub pool_limit: Option<u64>,

    /// Seconds before data that 'dm undo' cannot restore is deleted.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub trash_grace: u64,

    /// How long 'dm undo' and 'dm redo' can restore what an operation replaced: 7d, 12h, 90s. 0 keeps nothing.
    #[arg(long, value_name = "TIME", env = "DOTMESH_UNDO_TIME", default_value = "7d", value_parser = parse_time)]
    pub undo_time: u64,

    /// The space for undo, over all dots. [default: a tenth of the pool]
    #[arg(long, value_name = "SIZE", env = "DOTMESH_UNDO_SPACE", value_parser = parse_size)]
    pub undo_space: Option<u64>,

    /// The proxy for https hubs. [default: HTTPS_PROXY, else ALL_PROXY]
    #[arg(long, value_name = "URL")]
    pub https_proxy: Option<String>,

    /// The proxy for http hubs. [default: HTTP_PROXY, else ALL_PROXY]
    #[arg(long, value_name = "URL")]
    pub http_proxy: Option<String>,

    /// Hosts, domains and networks to reach without a proxy, separated by commas. [default: NO_PROXY]
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,

    /// Trust the certificates in this PEM file, in addition to the system's. SSL_CERT_FILE and SSL_CERT_DIR replace the
    /// system's.
    #[arg(long, value_name = "FILE", env = "DOTMESH_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Rebuild the registry from the pool, then run as usual.
    #[arg(long)]
    pub rebuild_registry: bool,

    /// Remove sockets that nobody listens on, and exit. For service managers, after the daemon was killed.
    #[arg(long)]
    pub remove_dead_sockets: bool,
}

/// Parses a duration to seconds: `90`, `90s`, `5m`, `12h`, `7d`.
fn parse_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a time: write for instance 7d, 12h, 30m or 90s");
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).ok_or_else(wrong)
}

impl Config {
    /// The plugin's socket, or `None` if the driver is off.
    pub fn plugin_socket(&self) -> Option<PathBuf> {
        (self.docker_plugin != "none").then(|| PathBuf::from(&self.docker_plugin))
    }

    /// How hubs are reached.
    pub fn network(&self) -> Result<Network, String> {
        Network::new(&NetworkOptions {
            https_proxy: self.https_proxy.clone(),
            http_proxy: self.http_proxy.clone(),
            no_proxy: self.no_proxy.clone(),
            ca_file: self.ca_file.clone(),
        })
    }

    /// Whether Docker runs this daemon as a managed plugin. Only then, mounts are outside the root.
    pub fn is_managed_plugin(&self) -> bool {
        self.mounts.is_some()
    }

    /// The folder under which volumes are mounted.
    pub fn mounts(&self) -> PathBuf {
        let mounts = self.mounts.clone();
        mounts.unwrap_or_else(|| self.root.join("mounts"))
    }

    /// The folder under which volumes are mounted for Engines without root. They see it, and they cannot enter the root.
    pub fn rootless_mounts(&self) -> PathBuf {
        let folder = self.socket.parent().unwrap_or(Path::new("/"));
        folder.join("mounts")
    }

    /// The volume driver's name, as Docker derives it from the socket.
    pub fn driver(&self) -> Option<String> {
        let socket = self.plugin_socket()?;
        Some(socket.file_stem()?.to_string_lossy().into_owned())
    }
}
