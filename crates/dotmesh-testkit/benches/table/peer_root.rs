//! The root in which the peers run: those of Debian sid, whatever the host has. Also their servers, on the hub's machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Daemon, Machine};

use crate::stage::{Usage, usage};

/// Where a machine has the root.
const ROOT: &str = "/var/lib/peers";

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

/// The servers of restic and borg.
pub(crate) struct Servers {
    machine: Machine,
    rest: Daemon,
    folder: PathBuf,
}

impl Servers {
    /// Starts them on `machine`. The user of `client` may then log in.
    pub(crate) async fn start(machine: &Machine, client: &Machine) -> Result<Self> {
        let folder = mount(machine).await?;
        let address = machine.address();
        let make_key = "mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N \"\" -f /root/.ssh/id_ed25519 && cat /root/.ssh/id_ed25519.pub";
        let key = client.run(&line(&[], make_key)).await.success().stdout;
        let log_in = format!(
            "mkdir -p -m 700 /root/.ssh && echo \"{}\" >/root/.ssh/authorized_keys && mkdir -p /run/sshd && /usr/sbin/sshd -o UsePAM=no",
            key.trim()
        );
        machine.run(&line(&[], &log_in)).await.success();
        let know =
            format!("ssh-keyscan -q {address} >/root/.ssh/known_hosts && ssh {address} true");
        client.run(&line(&[], &know)).await.success();

        let path = folder.to_str().context("a path that is text")?;
        let listen = format!("{address}:8000");
        let arguments = [
            ROOT,
            "/usr/bin/restic-rest-server",
            "--no-auth",
            "--path",
            path,
            "--listen",
            &listen,
        ];
        let mut rest = machine.spawn_daemon("chroot", &arguments).await?;
        let probe = async || {
            let answer = client
                .run(&format!("curl -sS -o /dev/null http://{listen}/"))
                .await;
            ensure!(answer.status.success(), "{}", answer.stderr);
            Ok(())
        };
        let soon = Duration::from_secs(30);
        rest.wait_until("rest-server to answer", soon, probe)
            .await?;
        Ok(Self {
            machine: machine.clone(),
            rest,
            folder,
        })
    }

    /// The address of a repository for restic and rustic.
    pub(crate) fn rest(&self, name: &str) -> String {
        format!("rest:http://{}:8000/{name}", self.machine.address())
    }

    /// The address of a repository for borg.
    pub(crate) fn ssh(&self, name: &str) -> String {
        let path = self.path(name);
        format!("ssh://root@{}{}", self.machine.address(), path.display())
    }

    /// Where a repository is on the servers' machine, and on the host.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What rest-server has used so far.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        usage(&self.machine, &self.rest).await
    }
}
