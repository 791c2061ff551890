//! The root in which the peers run: those of Debian sid, whatever the host has.

use std::path::PathBuf;

use anyhow::Result;
use dotmesh_testkit::Machine;

/// Where a machine has the root.
pub(crate) const ROOT: &str = "/var/lib/peers";

/// The folder of rustic, which Debian does not have: `cargo install rustic-rs --root /opt/rustic`.
const RUSTIC: &str = "/opt/rustic/bin";

/// Mounts the root `$1`, so that programs in it see the pool and the folder `$2` at their usual paths.
const MOUNT: &str = r#"
    mkdir -p "$2" "$2.root/upper" "$2.root/work" /var/lib/peers /var/lib/dotmesh
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2.root/upper,workdir=$2.root/work" /var/lib/peers
    for kept in /proc /dev /run /var/lib/dotmesh "$2" /opt/rustic/bin; do
        [ -e "$kept" ] || continue
        mkdir -p "/var/lib/peers$kept"
        mount --rbind "$kept" "/var/lib/peers$kept"
    done
"#;

/// Mounts the root on a machine. Returns the folder for repositories and caches.
pub(crate) async fn mount(machine: &Machine) -> Result<PathBuf> {
    let root = path().await?;
    let folder = machine.home().join("peers");
    let words = format!("{} {}", root.display(), folder.display());
    machine
        .run(&format!("set -e -- {words}; {MOUNT}"))
        .await
        .success();
    Ok(folder)
}

/// The root on the host. It is made if it is not there yet.
pub(crate) async fn path() -> Result<PathBuf> {
    tokio::task::spawn_blocking(|| dotmesh_testkit::root("peers-sid")).await?
}

/// A line of shell that runs a line of bash in a machine's root, with these variables. The line has no single quotes.
pub(crate) fn line(variables: &[(&str, String)], line: &str) -> String {
    let variables = variables
        .iter()
        .map(|(name, value)| format!(" {name}='{value}'"));
    let variables: String = variables.collect();
    format!(
        "chroot {ROOT} /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin:{RUSTIC} LANG=C.UTF-8{variables} \
         bash -e -o pipefail -c '{line}'"
    )
}
