//! The environment variables that `dm` uses. Only this module reads them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::node_address::{DEFAULT_IMAGE, NodeAddress};

/// The default path of the node's socket.
pub const DEFAULT_SOCKET: &str = "/run/dotmesh/api.sock";

/// The environment variables that `dm` uses.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HOME`
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, if it is an absolute path as its specification demands.
    pub config_home: Option<PathBuf>,
    /// `PATH`
    pub path: OsString,
    /// `DOTMESH_SOCKET`
    pub socket: Option<PathBuf>,
    /// `DOTMESH_HOST`
    pub host: Option<String>,
    /// `DOTMESH_IMAGE`
    pub image: Option<String>,
    /// `DOTMESH_DOT`
    pub dot: Option<String>,
    /// `DOTMESH_PASSWORD`
    pub api_key: Option<String>,
    /// `DOCKER_HOST`
    pub docker_host: Option<String>,
    /// `DOTMESH_COMPOSE`
    pub compose: Option<String>,
    /// `COMPOSE_PROJECT_NAME`
    pub compose_project: Option<String>,
    /// `COMPOSE_PROFILES`
    pub compose_profiles: Option<String>,
    /// `BROWSER`
    pub browser: Option<String>,
    /// Whether `DISPLAY` or `WAYLAND_DISPLAY` is set, so that a browser can open windows.
    pub has_display: bool,
    /// `PAGER`. An empty one means no pager.
    pub pager: Option<String>,
    /// Whether `LESS` has options for the pager.
    pub has_less_options: bool,
    /// Whether a terminal may get colours: `NO_COLOR` is not set, and `TERM` is not `dumb`.
    pub allows_colours: bool,
    /// `USER`, else `LOGNAME`
    pub user: Option<String>,
    /// Who ran `sudo`, if this is root by it.
    pub sudo: Option<Sudo>,
    /// The names of the proxy and certificate variables that are set.
    pub network: Vec<String>,
}

/// A person who ran `sudo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sudo {
    /// The name.
    pub user: String,
    /// The number.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

impl Environment {
    /// Reads the variables. An empty variable counts as unset.
    pub fn read() -> Self {
        let get = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| get(name).and_then(|value| value.into_string().ok());
        Self {
            home: get("HOME").map(PathBuf::from),
            config_home: get("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute()),
            path: get("PATH").unwrap_or_default(),
            socket: get("DOTMESH_SOCKET").map(PathBuf::from),
            host: text("DOTMESH_HOST"),
            image: text("DOTMESH_IMAGE"),
            dot: text("DOTMESH_DOT"),
            api_key: text("DOTMESH_PASSWORD"),
            docker_host: text("DOCKER_HOST"),
            compose: text("DOTMESH_COMPOSE"),
            compose_project: text("COMPOSE_PROJECT_NAME"),
            compose_profiles: text("COMPOSE_PROFILES"),
            browser: text("BROWSER"),
            has_display: get("DISPLAY").or_else(|| get("WAYLAND_DISPLAY")).is_some(),
            pager: std::env::var("PAGER").ok(),
            has_less_options: std::env::var_os("LESS").is_some(),
            allows_colours: get("NO_COLOR").is_none()
                && get("TERM").is_none_or(|terminal| terminal != "dumb"),
            user: text("USER").or_else(|| text("LOGNAME")),
            sudo: sudo(text),
            network: network().map(str::to_owned).collect(),
        }
    }

    /// The config file: the one under `XDG_CONFIG_HOME`, or the one of earlier versions if only that exists.
    pub fn config_file(&self) -> Option<PathBuf> {
        let earlier = self.home.as_ref().map(|home| home.join(".dotmesh/config"));
        let folder = self.config_home.clone();
        let folder = folder.or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        let file = folder.join("dotmesh/config");
        let is_earlier = |earlier: &PathBuf| earlier.exists() && !file.exists();
        Some(earlier.filter(is_earlier).unwrap_or(file))
    }

    /// Where a node of this machine listens.
    pub fn socket(&self) -> &Path {
        let named = self.host.as_deref();
        let named = named.and_then(|host| host.strip_prefix("unix://"));
        let named = named.map(Path::new).or(self.socket.as_deref());
        named.unwrap_or(Path::new(DEFAULT_SOCKET))
    }

    /// Where the node is that commands are about.
    pub fn node(&self) -> Result<NodeAddress> {
        match &self.host {
            Some(host) => host.parse(),
            None => Ok(NodeAddress::Socket(self.socket().to_owned())),
        }
    }

    /// The image by which a node in a Docker Engine is reached.
    pub fn image(&self) -> &str {
        self.image.as_deref().unwrap_or(DEFAULT_IMAGE)
    }

    /// The first file of that name in `PATH`, or in the usual `sbin` folders, which users often do not have in `PATH`.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&self.path)
            .chain(administration)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    }
}

/// `SUDO_USER`, `SUDO_UID` and `SUDO_GID`. Anybody may set them, so they count for root only, who may be everybody.
fn sudo(text: impl Fn(&'static str) -> Option<String>) -> Option<Sudo> {
    let sudo = Sudo {
        user: text("SUDO_USER")?,
        uid: text("SUDO_UID")?.parse().ok()?,
        gid: text("SUDO_GID")?.parse().ok()?,
    };
    let is_root = rustix::process::geteuid().is_root();
    (is_root && sudo.uid != 0).then_some(sudo)
}

fn network() -> impl Iterator<Item = &'static str> {
    let set = |name: &&str| dotmesh_api::network::variable(name).is_some();
    dotmesh_api::network::VARIABLES.into_iter().filter(set)
}
