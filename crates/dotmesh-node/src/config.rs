//! The daemon's command line.

use std::path::PathBuf;

use clap::Parser;
use dotmesh_model::size::parse_size;

/// The Dotmesh daemon: keeps the state of this machine's apps as dots.
#[derive(Debug, Clone, Parser)]
#[command(name = "dotmeshd", version, about)]
pub struct Config {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dotmesh")]
    pub root: PathBuf,

    /// Where `dm` reaches the daemon.
    #[arg(long, value_name = "PATH", default_value = "/run/dotmesh/api.sock")]
    pub socket: PathBuf,

    /// Where Docker reaches the volume driver; the file's name is the driver's. `none` for no driver.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/docker/plugins/dm.sock"
    )]
    pub docker_plugin: String,

    /// Where volumes are mounted for Docker; for a managed plugin, its `propagatedMount`. [default: `mounts` in the root]
    #[arg(long, value_name = "PATH")]
    pub mounts: Option<PathBuf>,

    /// Where the Docker Engine is.
    #[arg(
        long,
        value_name = "URL",
        env = "DOCKER_HOST",
        default_value = "unix:///var/run/docker.sock"
    )]
    pub docker_host: String,

    /// Keep the pool on this block device, or in this folder of a btrfs filesystem, instead of in a file under the root.
    #[arg(long, value_name = "PATH")]
    pub pool: Option<PathBuf>,

    /// How large the pool's file is made at first. It takes space only as it fills.
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = parse_size)]
    pub pool_size: u64,

    /// How large the pool's file may grow. Without a limit: as large as the disk allows.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub pool_limit: Option<u64>,

    /// How many seconds deleted state is kept before its space is given back.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub trash_grace: u64,

    /// Rebuild the registry from the pool, then go on as usual.
    #[arg(long)]
    pub rebuild_registry: bool,
}

impl Config {
    /// The plugin's socket, unless there shall be none.
    pub fn plugin_socket(&self) -> Option<PathBuf> {
        (self.docker_plugin != "none").then(|| PathBuf::from(&self.docker_plugin))
    }

    /// The folder of the places where volumes are mounted.
    pub fn mounts(&self) -> PathBuf {
        let mounts = self.mounts.clone();
        mounts.unwrap_or_else(|| self.root.join("mounts"))
    }

    /// The volume driver's name, as Docker derives it from the socket.
    pub fn driver(&self) -> Option<String> {
        let socket = self.plugin_socket()?;
        Some(socket.file_stem()?.to_string_lossy().into_owned())
    }
}
