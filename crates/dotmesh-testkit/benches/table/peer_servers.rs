//! The servers of the peers, on the hub's machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Daemon, Machine};

use crate::peer_root::{ROOT, line, mount};
use crate::stage::{Usage, usage};

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
