//! The machine of the measurement, and the versions of the peers.
#![expect(
    clippy::print_stdout,
    reason = "printing what the figures hold for is part of the benchmark"
)]

use std::process::Command;

use anyhow::Result;

use crate::peer_root;
use crate::peers::chosen;

/// The facts to print, each with a line of shell.
const FACTS: &[(&str, &str)] = &[
    ("CPU", "lscpu | sed -n 's/^Model name: *//p' | head -1"),
    ("cores", "nproc"),
    (
        "memory",
        "awk '/^MemTotal/ { printf \"%.0f GiB\", $2 / 1048576 }' /proc/meminfo",
    ),
    ("system", ". /etc/os-release && echo $PRETTY_NAME"),
    ("kernel", "uname -r"),
    (
        "PostgreSQL",
        "/usr/lib/postgresql/*/bin/postgres --version | awk '{ print $3 }'",
    ),
    (
        "Redis",
        "redis-server --version | grep -o 'v=[0-9.]*' | cut -c3-",
    ),
];

/// The same for the peers, whose root is the working folder.
const PEERS: &[(&str, &str)] = &[
    ("restic", "chroot . /usr/bin/restic version | cut -d' ' -f2"),
    (
        "rest-server",
        "chroot . /usr/bin/restic-rest-server --version | awk '{ print $4 }'",
    ),
    ("borg", "chroot . /usr/bin/borg --version | cut -d' ' -f2"),
    ("rustic", "/opt/rustic/bin/rustic --version | cut -d' ' -f2"),
    (
        "rsync",
        "chroot . /usr/bin/rsync --version | awk 'NR == 1 { print $3 }'",
    ),
    (
        "btrfs-progs",
        "chroot . /usr/bin/btrfs --version | awk 'NR == 1 { print $2 }'",
    ),
    (
        "zstd",
        "chroot . /usr/bin/zstd --version | grep -o 'v[0-9.]*' | head -1",
    ),
];

/// Prints the facts. Those that are not available are left out.
pub(crate) async fn describe() -> Result<()> {
    let mut facts: Vec<_> = FACTS.iter().filter_map(|fact| tell(fact, "/")).collect();
    if !chosen()?.is_empty() {
        let root = peer_root::path().await?;
        let root = root.display().to_string();
        facts.extend(PEERS.iter().filter_map(|fact| tell(fact, &root)));
    }
    println!("\nMachine: {}.", facts.join(", "));
    Ok(())
}

fn tell((name, line): &(&str, &str), folder: &str) -> Option<String> {
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", line]).current_dir(folder).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    (!text.is_empty()).then(|| format!("{name} {text}"))
}
