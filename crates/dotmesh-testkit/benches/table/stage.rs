//! Two nodes and a hub, each on a machine of its own, and what a transfer between them costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Daemon, Machine, Network};

use crate::measure::{Cost, seconds};
use crate::memory;

/// Where a node keeps its files.
pub(crate) const POOL: &str = "/var/lib/dotmesh/pool";

/// How long anything may take that should be quick.
const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) machine: Machine,
    daemon: Daemon,
}

impl Node {
    pub(crate) async fn start(machine: Machine) -> Result<Self> {
        let arguments = ["--trash-grace", "0", "--undo-time", "0"];
        let mut daemon = machine.spawn_daemon("dotmeshd", &arguments).await?;
        daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
        Ok(Self { machine, daemon })
    }

    /// Runs a line that has to succeed; returns what it printed on standard output.
    pub(crate) async fn ok(&self, line: &str) -> String {
        self.machine.run(line).await.success().stdout
    }

    /// What the daemon has taken so far.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        usage(&self.machine, &self.daemon).await
    }
}

pub(crate) struct Stage {
    pub(crate) alice: Node,
    pub(crate) bob: Node,
    hub: Machine,
    dothub: Daemon,
    accounts: std::cell::Cell<usize>,
}

impl Stage {
    pub(crate) async fn start() -> Result<Self> {
        let network = Network::start().await?;
        let node = async |name| {
            let machine = network.machine_without_docker(name).await?;
            // A pull asks which containers use the dot; none do, so no images are needed.
            machine.start_docker().await?;
            Node::start(machine).await
        };
        let (alice, bob) = tokio::try_join!(node("alice"), node("bob"))?;
        let hub = network.machine_without_docker("hub").await?;
        let data = hub.home().join("hub");
        let data = data.to_str().context("a path that is text")?;
        let listen = format!("{}:8180", hub.address());
        let arguments = ["serve", "--data", data, "--listen", &listen];
        let mut dothub = hub.spawn_daemon("dothub", &arguments).await?;
        let answers = format!("curl -fsS http://{listen}/api/v1/version");
        let probe = async || {
            let answer = hub.run(&answers).await;
            ensure!(answer.status.success(), "{}", answer.stderr);
            Ok(())
        };
        dothub.wait_until("the hub to answer", SOON, probe).await?;
        Ok(Self {
            alice,
            bob,
            hub,
            dothub,
            accounts: 0.into(),
        })
    }

    /// One request to the hub, as short as there is.
    pub(crate) fn round_trip(&self) -> String {
        let address = self.hub.address();
        format!("curl -fsS -o /dev/null http://{address}:8180/api/v1/version")
    }

    /// A new account, that both nodes have a remote of the same name for. In its namespace there is nothing that a
    /// push could do without sending.
    pub(crate) async fn account(&self) -> Result<String> {
        let number = self.accounts.get();
        self.accounts.set(number + 1);
        let name = format!("user{number}");
        let add = format!("dothub user add {name} --data hub");
        let added = self.hub.run(&add).await.success();
        let key = added.stdout.lines().last().context("no key")?.to_owned();
        let address = self.hub.address();
        for node in [&self.alice, &self.bob] {
            let remote = format!("echo {key} | dm remote add {name} {name}@http://{address}:8180");
            node.ok(&remote).await;
        }
        Ok(name)
    }

    /// Runs a `dm push`, `pull` or `clone` on a node when all is quiet, and tells what it took there and at the hub.
    pub(crate) async fn transfer(&self, node: &Node, line: &str) -> Result<Cost> {
        self.settle().await?;
        self.transfer_now(node, line).await
    }

    /// The same beside whatever else goes on.
    pub(crate) async fn transfer_now(&self, node: &Node, line: &str) -> Result<Cost> {
        for (machine, daemon) in [(&node.machine, &node.daemon), (&self.hub, &self.dothub)] {
            let pid = daemon.pid().context("a daemon has ended")?;
            // The most memory is counted from here.
            machine
                .run(&format!("echo 5 >/proc/{pid}/clear_refs"))
                .await
                .success();
        }
        let before = (node.usage().await?, self.hub_usage().await?);
        let [received, sent] = self.counted().await?;
        let profile = Profile::start(line)?;
        let start = Instant::now();
        let told = node.machine.run(line).await.success().stderr;
        let wall = seconds(start.elapsed());

        drop(profile);
        let now = self.counted().await?;
        let counted = f64::max(now[0] - received, now[1] - sent);
        let after = (node.usage().await?, self.hub_usage().await?);
        Ok(Cost {
            wall,
            cpu: after.0.cpu - before.0.cpu,
            hub_cpu: after.1.cpu - before.1.cpu,
            bytes: told_bytes(&told).unwrap_or(counted),
            counted,
            node_peak: after.0.peak,
            hub_peak: after.1.peak,
        })
    }

    /// Writes out what is still to be written, and touches the memory that is free, lest the next one pays for it.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.hub.run("sync").await.success();
        memory::warm_up()
    }

    async fn hub_usage(&self) -> Result<Usage> {
        usage(&self.hub, &self.dothub).await
    }

    /// Bytes that the hub's network card received and sent.
    async fn counted(&self) -> Result<[f64; 2]> {
        let line = "grep eth0: /proc/net/dev";
        let printed = self.hub.run(line).await.success().stdout;
        let mut fields = printed.split_whitespace().skip(1);
        let received = fields.next().context("received bytes")?.parse()?;
        let sent = fields.nth(7).context("sent bytes")?.parse()?;
        Ok([received, sent])
    }
}

/// What the whole machine does meanwhile, as `perf` sees it, in a file of the folder that `BENCH_PROFILE` names.
struct Profile(std::process::Child);

impl Profile {
    fn start(line: &str) -> Result<Option<Self>> {
        let folder = std::env::var_os("BENCH_PROFILE").filter(|folder| !folder.is_empty());
        let Some(folder) = folder else {
            return Ok(None);
        };
        let folder = std::path::Path::new(&folder);
        std::fs::create_dir_all(folder)?;
        let name = format!("{} {line}.perf", std::fs::read_dir(folder)?.count());
        let perf = std::process::Command::new("perf")
            .args(["record", "-q", "-a", "-g", "-F", "499", "-o"])
            .arg(folder.join(name.replace(' ', "-")))
            .spawn()
            .context("perf is not installed")?;
        Ok(Some(Self(perf)))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.0.wait();
    }
}

/// What a daemon took: seconds of processor time so far, and the most bytes of memory.
pub(crate) struct Usage {
    cpu: f64,
    pub(crate) peak: f64,
}

async fn usage(machine: &Machine, daemon: &Daemon) -> Result<Usage> {
    let pid = daemon.pid().context("a daemon has ended")?;
    let line = format!("cat /proc/{pid}/stat && grep VmHWM: /proc/{pid}/status");
    let printed = machine.run(&line).await.success().stdout;
    // The second field, a name in parentheses, may hold anything.
    let (_, fields) = printed.rsplit_once(") ").context("/proc/PID/stat")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let number = |at: usize| -> Result<f64> {
        let field = fields.get(at).context("a field of /proc/PID/stat")?;
        Ok(field.parse()?)
    };
    let peak = fields.iter().rposition(|field| *field == "VmHWM:");
    Ok(Usage {
        cpu: (number(11)? + number(12)?) / TICKS_A_SECOND,
        peak: number(peak.context("VmHWM")? + 1)? * 1024.0,
    })
}

/// Of `/proc/PID/stat`; the same wherever Linux runs.
const TICKS_A_SECOND: f64 = 100.0;

/// What `dm` says was sent or received: `12.34 MiB sent`.
fn told_bytes(told: &str) -> Option<f64> {
    let words: Vec<_> = told.split_whitespace().collect();
    words.windows(3).find_map(|words| {
        let [number, unit, done] = words else {
            return None;
        };
        if !done.starts_with("sent") && !done.starts_with("received") {
            return None;
        }
        let shift = match *unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        Some(number * f64::from(1 << shift))
    })
}
