//! Two nodes and a hub, each on its own machine, and the cost of a transfer between them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dotmesh_testkit::{Daemon, Link, Machine, Network};

use crate::measure::{Cost, children_time, seconds};
use crate::memory;
use crate::peer_root;
use crate::peer_servers::Servers;

/// The folder of a node's pool.
pub(crate) const POOL: &str = "/var/lib/dotmesh/pool";

/// The time limit for anything that should be quick.
const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) machine: Machine,
    daemon: Daemon,
}

impl Node {
    pub(crate) async fn start(machine: Machine) -> Result<Self> {
        Self::start_with(machine, &["--trash-grace", "0", "--undo-time", "0"]).await
    }

    /// The same with other options of the daemon.
    pub(crate) async fn start_with(machine: Machine, arguments: &[&str]) -> Result<Self> {
        let mut daemon = machine.spawn_daemon("dotmeshd", arguments).await?;
        daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
        Ok(Self { machine, daemon })
    }

    /// Runs a line that must succeed, and returns its standard output.
    pub(crate) async fn ok(&self, line: &str) -> String {
        self.machine.run(line).await.success().stdout
    }

    /// The daemon's usage so far.
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
    servers: tokio::sync::OnceCell<Servers>,
}

impl Stage {
    /// Starts all of it. The hub is behind a cable of the speed that `BENCH_NET` names, if it names one.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_behind(chosen_link()?).await
    }

    /// The same, with a cable of this speed.
    pub(crate) async fn start_behind(link: Option<Link>) -> Result<Self> {
        let network = Network::start().await?;
        let node = async |name| {
            let machine = network.machine_without_docker(name).await?;
            // A pull asks Docker which containers use the dot. There are none, so no images are needed.
            machine.start_docker().await?;
            Node::start(machine).await
        };
        let (alice, bob) = tokio::try_join!(node("alice"), node("bob"))?;
        let hub = match link {
            Some(link) => network.distant_machine("hub", link).await?,
            None => network.machine_without_docker("hub").await?,
        };
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
            servers: tokio::sync::OnceCell::new(),
        })
    }

    /// Changes the speed of the hub's cable.
    pub(crate) fn set_link(&self, link: Link) -> Result<()> {
        self.hub.set_link(link)
    }

    /// A minimal request to the hub.
    pub(crate) fn round_trip(&self) -> String {
        let address = self.hub.address();
        format!("curl -fsS -o /dev/null http://{address}:8180/api/v1/version")
    }

    /// Makes a new account, with a remote of its name on both nodes. Its namespace is empty, so a push must send
    /// everything.
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

    /// Repacks everything that the hub has, in a process of its own.
    pub(crate) async fn repack(&self) -> Result<Cost> {
        self.settle().await?;
        let line = "dothub repack --after 0 --data hub >&2 && times";
        let start = Instant::now();
        let printed = self.hub.run(line).await.success().stdout;
        Ok(Cost {
            wall: seconds(start.elapsed()),
            hub_cpu: children_time(&printed).context("what times says")?,
            ..Cost::default()
        })
    }

    /// The bytes of all packs that the hub has, without those that wait to be deleted.
    pub(crate) async fn stored(&self) -> Result<f64> {
        let checked = self
            .hub
            .run("dothub check --json --data hub")
            .await
            .success();
        let report: serde_json::Value = serde_json::from_str(&checked.stdout)?;
        report["bytes"].as_f64().context("no bytes")
    }

    /// Runs a `dm push`, `pull` or `clone` on an idle node. Returns the cost there and at the hub.
    pub(crate) async fn transfer(&self, node: &Node, line: &str) -> Result<Cost> {
        self.settle().await?;
        self.transfer_now(node, line).await
    }

    /// The same during other work.
    pub(crate) async fn transfer_now(&self, node: &Node, line: &str) -> Result<Cost> {
        for (machine, daemon) in [(&node.machine, &node.daemon), (&self.hub, &self.dothub)] {
            let pid = daemon.pid().context("a daemon has ended")?;
            // Reset the peak memory.
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

    /// The servers of the peers, which are behind the hub's cable, too. The first call makes the root on both sides.
    pub(crate) async fn servers(&self) -> Result<&Servers> {
        let start = async || {
            peer_root::mount(&self.alice.machine).await?;
            Servers::start(&self.hub, &self.alice.machine).await
        };
        self.servers.get_or_try_init(start).await
    }

    /// Runs a line on the hub's machine that must succeed, and returns its standard output.
    pub(crate) async fn on_hub(&self, line: &str) -> String {
        self.hub.run(line).await.success().stdout
    }

    /// Flushes pending writes and touches the free memory, so the next measurement does not pay for them.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.hub.run("sync").await.success();
        memory::warm_up()
    }

    async fn hub_usage(&self) -> Result<Usage> {
        usage(&self.hub, &self.dothub).await
    }

    /// The bytes that the hub's network card received and sent.
    pub(crate) async fn counted(&self) -> Result<[f64; 2]> {
        let line = "grep eth0: /proc/net/dev";
        let printed = self.hub.run(line).await.success().stdout;
        let mut fields = printed.split_whitespace().skip(1);
        let received = fields.next().context("received bytes")?.parse()?;
        let sent = fields.nth(7).context("sent bytes")?.parse()?;
        Ok([received, sent])
    }
}

/// The speed that `BENCH_NET` names: `lan`, `wan`, or nothing for a network without delay or limit.
pub(crate) fn chosen_link() -> Result<Option<Link>> {
    match std::env::var("BENCH_NET").unwrap_or_default().as_str() {
        "" => Ok(None),
        "lan" => Ok(Some(Link::LAN)),
        "wan" => Ok(Some(Link::WAN)),
        other => bail!("there is no network {other}; there are lan and wan"),
    }
}

/// A `perf` profile of the whole machine during a transfer, in a file of the folder `BENCH_PROFILE`.
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

/// A daemon's usage: the CPU time so far in seconds, and the peak memory in bytes.
pub(crate) struct Usage {
    pub(crate) cpu: f64,
    pub(crate) peak: f64,
}

pub(crate) async fn usage(machine: &Machine, daemon: &Daemon) -> Result<Usage> {
    let pid = daemon.pid().context("a daemon has ended")?;
    let line = format!("cat /proc/{pid}/stat && grep VmHWM: /proc/{pid}/status");
    let printed = machine.run(&line).await.success().stdout;
    // The second field is a name in parentheses, with arbitrary characters.
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

/// The unit of times in `/proc/PID/stat`. It is the same on all Linux systems.
const TICKS_A_SECOND: f64 = 100.0;

/// The amount that `dm` reports as sent or received: `12.34 MiB sent`.
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
