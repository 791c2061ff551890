//! Finds out whether the Engine is Podman, and tells Podman of the volume driver.

use std::path::{Path, PathBuf};

use super::service;
use crate::environment::Environment;
use crate::error::{CliError, Result};

/// Where Docker's clients look for an Engine. Debian's package podman-docker links it to Podman's socket.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Where Podman answers Docker's clients.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// The part of Podman's configuration that this program writes.
const CONFIG_FILE: &str = "/etc/containers/containers.conf.d/dotmesh.conf";

/// How long Podman waits for a mount, in seconds. Its default is 5, which a copy of an image's files can exceed.
const PLUGIN_TIMEOUT: u32 = 120;

/// The Engine's URL if it is Podman: by the given URL, by the socket that is there, or because nothing else is.
pub(super) fn find(environment: &Environment, docker_host: Option<&str>) -> Option<String> {
    let podman = || format!("unix://{PODMAN_SOCKET}");
    if let Some(host) = docker_host {
        let socket = Path::new(host.strip_prefix("unix://")?);
        return is_podmans(socket).then(|| host.to_owned());
    }
    let socket = Path::new(DOCKER_SOCKET);
    if is_podmans(socket) {
        return Some(podman());
    }
    let has_docker = socket.exists() || environment.find_program("dockerd").is_some();
    (!has_docker && environment.find_program("podman").is_some()).then(podman)
}

fn is_podmans(socket: &Path) -> bool {
    let real = socket.canonicalize().unwrap_or_else(|_| socket.to_owned());
    real.ends_with("podman.sock")
}

/// The configuration that makes Podman use the driver.
pub fn config(driver: &str, socket: &Path) -> String {
    format!(
        "# Written by 'dm cluster init', removed by 'dm cluster reset'.\n\
         [engine]\n\
         volume_plugin_timeout = {PLUGIN_TIMEOUT}\n\
         \n\
         [engine.volume_plugins]\n\
         {driver} = \"{}\"\n",
        socket.display()
    )
}

/// Writes the configuration, and has Podman read it. `plugin` is the driver's socket.
pub(super) async fn introduce(plugin: &Path) -> Result<()> {
    let driver = plugin.file_stem().unwrap_or_default().to_string_lossy();
    let text = config(&driver, plugin);
    let file = PathBuf::from(CONFIG_FILE);
    if std::fs::read_to_string(&file).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
    written
        .map_err(|error| CliError::io(format!("cannot write {CONFIG_FILE}")).caused_by(error))?;
    if service::has_systemd() {
        // The daemon reaches Podman through the socket. A service that runs has read the old configuration.
        service::systemctl(&["enable", "--now", "podman.socket"]).await?;
        service::systemctl(&["try-restart", "podman.service"]).await?;
    }
    Ok(())
}

/// Removes the configuration. Without the driver, Podman would report an error for each of its volumes.
pub(super) fn forget() -> Result<()> {
    service::remove_file(Path::new(CONFIG_FILE))
}
