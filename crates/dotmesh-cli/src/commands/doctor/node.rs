//! What the daemon says of itself, as findings.

use std::path::Path;

use dotmesh_api::node::{EngineReport, HubReport, NodeVersion, PoolReport, Report};
use dotmesh_model::UserName;
use dotmesh_model::size::format_size;

use super::machine::JOIN;
use super::{Finding, Level};
use crate::config::{Remote, RemoteName};
use crate::error::CliError;

/// Clocks that are so many seconds apart get a warning: times of commits would be out of order.
const CLOCKS_APART: u64 = 60;

/// Whether the daemon answers, and is of this version.
pub fn daemon(
    version: std::result::Result<&NodeVersion, &CliError>,
    socket: &Path,
    is_member: bool,
) -> Finding {
    let shown = socket.display();
    match version {
        Ok(node) if node.version == env!("CARGO_PKG_VERSION") => Finding::ok(
            "daemon",
            format!("version {} at {shown}, process {}", node.version, node.pid),
        ),
        Ok(node) => {
            let ours = env!("CARGO_PKG_VERSION");
            let says = format!("version {} at {shown}, and dm has version {ours}", node.version);
            Finding::warn("daemon", says)
                .advice("Install both of one version, and restart the daemon: 'sudo systemctl restart dotmeshd'.")
        }
        Err(_) if socket.exists() && !is_member => {
            let says = format!("you may not use the socket {shown}");
            Finding::fail("daemon", says).advice(JOIN)
        }
        Err(error) => Finding::fail("daemon", error.message())
            .advice("Start it with 'sudo dm cluster init'. With systemd, 'journalctl -u dotmeshd' says why it ended.")
            .advice("If it listens elsewhere, say where in DOTMESH_SOCKET."),
    }
}

/// What nobody looked at.
pub(super) fn not_looked_at(subject: &'static str) -> Finding {
    Finding::warn(subject, "not looked at, as the daemon does not answer")
}

/// The pool, the disk below it, and Docker.
pub fn report(report: &Report) -> Vec<Finding> {
    let mut findings = match &report.pool {
        Ok(told) => pool(told),
        Err(error) => {
            let finding = Finding::fail("pool", error.to_string());
            vec![error.hint.iter().fold(finding, Finding::advice)]
        }
    };
    findings.push(match &report.docker {
        Ok(count) => {
            let engine = report.engine.as_ref();
            let engine = engine.map_or("Docker".to_owned(), |engine| {
                format!("{} {}", engine.name, engine.version)
            });
            let says = format!("the daemon reaches {engine}, which has {count} containers");
            Finding::ok("engine", says)
        }
        Err(error) => Finding::fail(
            "engine",
            format!("the daemon does not reach Docker: {error}"),
        )
        .advice("Start it with 'sudo systemctl start docker'.")
        .advice("If the Engine listens elsewhere, start the daemon with --docker-host."),
    });
    findings.extend(report.engine.as_ref().and_then(local_volumes));
    findings.push(match &report.plugin {
        None => Finding::warn(
            "plugin",
            "the daemon serves no volume driver, as it was told",
        ),
        Some(plugin) if plugin.exists => Finding::ok(
            "plugin",
            format!(
                "volume driver {} at {}",
                plugin.driver,
                plugin.socket.display()
            ),
        ),
        Some(plugin) => {
            let says = format!("the socket {} is gone", plugin.socket.display());
            Finding::fail("plugin", says)
                .advice("Restart the daemon: 'sudo systemctl restart dotmeshd'.")
        }
    });
    findings
}

/// Volumes that look like dots, but whose data nobody versions.
fn local_volumes(engine: &EngineReport) -> Option<Finding> {
    let first = engine.local_volumes.first()?;
    let (name, all) = (&engine.name, engine.local_volumes.join(", "));
    let finding = Finding::warn(
        "volumes",
        format!("{name} has local volumes that are no dots: {all}"),
    );
    Some(match engine.name.as_str() {
        "Podman" => finding
            .advice("'docker run --volume-driver dm' silently makes a local volume of Podman.")
            .advice(format!("Make the volume first, under a new name or once the local one is removed: 'podman volume create -d dm {first}'.")),
        _ => finding.advice("A dot has the same name. The volume was made without 'driver: dm', or '--volume-driver dm'."),
    })
}

/// Whether Podman knows the driver. `plugins` is what `podman info` lists.
pub fn podman(driver: &str, plugins: Option<&str>) -> Finding {
    let Some(plugins) = plugins else {
        return Finding::warn(
            "podman",
            "'podman info' does not answer you, so its volume plugins are unknown",
        );
    };
    let known = plugins.trim_matches(['[', ']']).split_whitespace();
    if known.into_iter().any(|plugin| plugin == driver) {
        return Finding::ok("podman", format!("it knows the volume driver {driver}"));
    }
    Finding::fail(
        "podman",
        format!("it does not know the volume driver {driver}"),
    )
    .advice("'sudo dm cluster init' writes it into /etc/containers/containers.conf.d/dotmesh.conf.")
    .advice("Then restart Podman's service: 'sudo systemctl restart podman.socket podman.service'.")
}

fn pool(pool: &PoolReport) -> Vec<Finding> {
    let (place, total) = (pool.place.display(), format_size(pool.total));
    let free = format_size(pool.free);
    let says = format!("{free} of {total} free in {place}");
    let room = "Delete dots with 'dm dot delete', or make room on the disk. 'dm op log' shows what undo keeps.";
    let mut findings = vec![match () {
        () if pool.read_only => Finding::fail("pool", format!("btrfs refuses writes in {place}"))
            .advice("Make room on the disk below it. The daemon mounts the pool again by itself. The kernel's log says why: 'sudo dmesg'."),
        () if pool.free < pool.total / 20 => Finding::warn("pool", says).advice(room),
        () => Finding::ok("pool", says),
    }];
    if let Some(disk) = &pool.disk {
        let says = format!(
            "{} free below the pool, which leaves {} to others",
            format_size(disk.free),
            format_size(disk.reserve)
        );
        findings.push(match disk.free > disk.reserve {
            true => Finding::ok("disk", says),
            false => {
                Finding::warn("disk", says).advice("The pool cannot grow. Make room on that disk.")
            }
        });
    }
    findings
}

/// One hub.
pub fn hub(name: &RemoteName, remote: &Remote, told: &HubReport) -> Finding {
    let address = &remote.address;
    let user = remote.user().map_or("nobody", UserName::as_str);
    let version = match &told.version {
        Ok(version) => version,
        Err(error) => {
            let finding = Finding::fail("hub", format!("{name}: {error}"));
            return match &error.hint {
                Some(hint) => finding.advice(hint),
                None => finding.advice("Is the address right ('dm remote -v'), and does the hub run? Behind a proxy, see 'proxies' below."),
            };
        }
    };
    if let Some(error) = &told.refused {
        return Finding::fail("hub", format!("{name}: {address} refuses {user}: {error}"))
            .advice(format!("Log in again: dm login {address}"));
    }
    let says = match remote.user() {
        Some(user) => format!("{name}: {address}, version {version}, as {user}"),
        None => format!("{name}: {address}, version {version}, without a login"),
    };
    match told.clock_ahead {
        Some(ahead) if ahead.unsigned_abs() > CLOCKS_APART => {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            let apart = ahead.unsigned_abs();
            let says = format!("{says}; its clock is {apart} s {direction} this machine's");
            Finding::new(Level::Warn, "hub", says).advice(
                "Set the wrong one: 'timedatectl' shows whether this machine's is synchronised.",
            )
        }
        _ => Finding::ok("hub", says),
    }
}
