//! The machine of the measurement, and the versions of the peers.
#![expect(
    clippy::print_stdout,
    reason = "printing what the figures hold for is part of the benchmark"
)]

use std::process::Command;

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
    ("restic", "restic version | cut -d' ' -f2"),
    ("borg", "borg --version | cut -d' ' -f2"),
    (
        "rustic",
        "PATH=$PATH:/opt/rustic/bin rustic --version 2>/dev/null | cut -d' ' -f2",
    ),
    ("rsync", "rsync --version | awk 'NR == 1 { print $3 }'"),
    (
        "btrfs-progs",
        "btrfs --version | awk 'NR == 1 { print $2 }'",
    ),
    ("zstd", "zstd --version | grep -o 'v[0-9.]*' | head -1"),
    (
        "PostgreSQL",
        "/usr/lib/postgresql/*/bin/postgres --version | awk '{ print $3 }'",
    ),
    (
        "Redis",
        "redis-server --version | grep -o 'v=[0-9.]*' | cut -c3-",
    ),
];

/// Prints the facts. Those that are not available are left out.
pub(crate) fn describe() {
    let facts = FACTS.iter().filter_map(|(name, line)| {
        let output = Command::new("sh").args(["-c", line]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.trim();
        (!text.is_empty()).then(|| format!("{name} {text}"))
    });
    println!("\nMachine: {}.", facts.collect::<Vec<_>>().join(", "));
}
