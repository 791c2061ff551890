//! Two nodes and a hub, each on its own machine, with a disk of limited size.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Daemon, Machine, Network, Output, wait_for};

use crate::model::{Id, Model, ROOT, Seen};
use crate::proxy::Proxy;
use crate::report::Report;
use crate::rows::Store;
use crate::writer::Writer;

/// The time limit for anything that should be quick, on a slow and busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The time that containers may take to return after Docker was killed.
pub(crate) const COMES_BACK: Duration = Duration::from_secs(100);

/// Ends the processes that a killed Docker leaves behind, as a reboot does.
const REBOOT: &str = "for process in /proc/[0-9]*; do \
    case $(cat $process/comm) in containerd*|runc*|docker*|redis-*|postgres|psql|mariadb*) kill -9 ${process#/proc/};; esac; \
    done 2>/dev/null; \
    umount -l /run/docker/netns/* 2>/dev/null; \
    find /run/docker -mindepth 1 -maxdepth 1 ! -name plugins -exec rm -rf '{}' +";

const SOCKET: &str = "/run/dotmesh/api.sock";
const HUB_PORT: u16 = 8180;

/// The hub's data folder on its machine.
pub(crate) const HUB_DATA: &str = "/var/lib/dotmesh/hub";

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) hub: Hub,
    pub(crate) proxy: Proxy,
    pub(crate) model: Model,
    pub(crate) report: Report,
    pub(crate) numbers: Numbers,
}

pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) daemon: Daemon,
    pub(crate) docker_runs: bool,
    pub(crate) writer: Option<Writer>,
}

pub(crate) struct Hub {
    pub(crate) machine: Machine,
    pub(crate) server: Daemon,
    key: String,
    url: String,
}

/// Unique numbers for writers and branches.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    writer: u32,
    branch: u32,
}

impl Numbers {
    pub(crate) fn writer(&mut self) -> u32 {
        self.writer += 1;
        self.writer
    }

    /// The name of a new branch of a node.
    pub(crate) fn branch(&mut self, node: usize) -> String {
        self.branch += 1;
        let letter = if node == 0 { 'a' } else { 'b' };
        format!("{letter}-{}", self.branch)
    }
}

impl World {
    /// Starts everything: a dot with a first commit on the first node, pushed, and cloned by the second node.
    pub(crate) async fn start(seed: u64) -> Result<World> {
        let network = Network::start().await?;
        let hub = Hub::start(&network).await?;
        let behind = SocketAddr::from((hub.machine.address(), HUB_PORT));
        let proxy = Proxy::start((network.host_address(), 0).into(), behind).await?;
        let (alice, bob) =
            tokio::try_join!(Node::start(&network, "alice"), Node::start(&network, "bob"))?;
        let mut world = World {
            nodes: vec![alice, bob],
            hub,
            proxy,
            model: Model::default(),
            report: Report::new(seed),
            numbers: Numbers::default(),
        };
        for (at, user) in ["alice", "bob"].into_iter().enumerate() {
            let key = world.hub.add_user(user).await?;
            let line = format!(
                "echo {key} | dm remote add hub {user}@http://{}",
                world.proxy.address
            );
            world.nodes[at].ok(&line).await?;
            if at == 0 {
                world.hub.key = key;
            }
        }
        Ok(world)
    }
}

impl Node {
    async fn start(network: &Network, name: &str) -> Result<Node> {
        let machine = network.machine(name).await?;
        mount_disk(&machine, "6G").await?;
        let arguments = [
            "--trash-grace",
            "0",
            "--undo-time",
            "0",
            "--pool-size",
            "4G",
        ];
        let mut daemon = machine.spawn_daemon("dotmeshd", &arguments).await?;
        daemon.wait_for_socket(SOCKET).await?;
        Ok(Node {
            machine,
            daemon,
            docker_runs: true,
            writer: None,
        })
    }

    pub(crate) async fn run(&self, line: &str) -> Output {
        self.machine.run(line).await
    }

    /// Runs a line that must succeed, and returns its output.
    pub(crate) async fn ok(&self, line: &str) -> Result<String> {
        let output = self.run(line).await;
        ensure!(output.status.success(), "{output}");
        Ok(output.stdout)
    }

    /// Starts the killed processes.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        // At its start Docker asks the daemon for its volumes, so the daemon comes first.
        if !self.daemon.is_running() {
            self.daemon.start_again().await?;
            self.daemon.wait_for_socket(SOCKET).await?;
        }
        if !self.docker_runs {
            self.machine.start_docker().await?;
            self.docker_runs = true;
        }
        Ok(())
    }

    /// Starts Docker as after a reboot. A killed Docker may become unable to start or stop a container.
    pub(crate) async fn reboot_docker(&mut self) -> Result<()> {
        self.machine.kill9_docker().await?;
        self.docker_runs = false;
        self.ok(REBOOT).await?;
        self.start_again().await
    }

    /// The databases whose containers were stopped from outside, and that neither Docker restarts nor `dm list`
    /// names. A database that exited by itself does not count: Redis does so when its disk is full.
    pub(crate) async fn stopped_and_not_named(&self) -> Vec<&'static str> {
        let list = self.run("dm list").await;
        let mut stopped = Vec::new();
        for store in Store::ALL {
            let name = store.name();
            let format = "{{.State.Status}} {{.State.ExitCode}}";
            let line = format!("timeout 10 docker inspect -f '{format}' {name}");
            let status = self.run(&line).await.stdout;
            let is_stopped = match status.trim().split_once(' ') {
                Some(("created" | "dead", _)) => true,
                // It ended on request, or by a signal.
                Some(("exited", code)) => matches!(code, "0" | "137" | "143"),
                _ => false,
            };
            if is_stopped && !list.stderr.contains(name) {
                stopped.push(name);
            }
        }
        stopped
    }

    /// Makes the containers of the databases. They start on the current branch.
    pub(crate) async fn make_containers(&self) -> Result<()> {
        let run = |store: Store| async move { self.ok(&store.run_line()).await };
        let [redis, postgres, mariadb] = Store::ALL;
        tokio::try_join!(run(redis), run(postgres), run(mariadb))?;
        Ok(())
    }

    /// The branches and heads that `dm` shows.
    pub(crate) async fn look(&self) -> Result<Seen> {
        let text = self
            .ok("dm branch && for b in $(dm branch | tr -d '* '); do echo \"= $b\"; dm log --json -n 1 $b || exit; done")
            .await?;
        let (branches, logs) = text.split_once("= ").unwrap_or((&text, ""));
        let current = branches.lines().find_map(|line| line.strip_prefix("* "));
        let mut seen = Seen {
            current: current.context("no current branch")?.to_owned(),
            heads: BTreeMap::new(),
        };
        for part in logs.split("\n= ") {
            let Some((name, json)) = part.split_once('\n') else {
                continue;
            };
            let log: serde_json::Value =
                serde_json::from_str(json).with_context(|| text.clone())?;
            let member = |name: &str| match log["commits"][0][name].as_str() {
                Some(id) if id.chars().any(|digit| digit != '0') => id.to_owned(),
                _ => ROOT.to_owned(),
            };
            let head = (member("id"), member("parent"));
            seen.heads.insert(name.to_owned(), head);
        }
        Ok(seen)
    }
}

impl Hub {
    async fn start(network: &Network) -> Result<Hub> {
        let machine = network.machine_without_docker("hub").await?;
        mount_disk(&machine, "4G").await?;
        let listen = format!("0.0.0.0:{HUB_PORT}");
        let arguments = ["serve", "--data", HUB_DATA, "--listen", &listen];
        let server = machine.spawn_daemon("dothub", &arguments).await?;
        let url = format!("http://{}:{HUB_PORT}", machine.address());
        let mut hub = Hub {
            machine,
            server,
            key: String::new(),
            url,
        };
        hub.wait_until_ready().await?;
        Ok(hub)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.url);
        let machine = self.machine.clone();
        self.server
            .wait_until("the hub to be ready", SOON, async || {
                let ready = machine.run(&format!("curl -fsS -m 5 {url}")).await;
                ensure!(ready.status.success(), "{ready}");
                Ok(())
            })
            .await
    }

    pub(crate) async fn start_again(&mut self) -> Result<()> {
        if !self.server.is_running() {
            self.server.start_again().await?;
            self.wait_until_ready().await?;
        }
        Ok(())
    }

    async fn add_user(&self, name: &str) -> Result<String> {
        let line = format!("dothub user add {name} --data {HUB_DATA}");
        let output = self.machine.run(&line).await;
        ensure!(output.status.success(), "{output}");
        let key = output.stdout.lines().last().context("no key")?;
        Ok(key.to_owned())
    }

    pub(crate) async fn collaborate(&self, dot: &str, user: &str) -> Result<()> {
        let line = format!("dothub collaborator add {dot} {user} --access write --data {HUB_DATA}");
        let output = self.machine.run(&line).await;
        ensure!(output.status.success(), "{output}");
        Ok(())
    }

    /// Calls the hub's API as the first node's user.
    pub(crate) async fn call(&self, method: &str, path: &str) -> Output {
        let (machine, line) = self.request(method, path);
        machine.run(&line).await
    }

    /// The command that calls the hub's API, and the machine to run it on.
    pub(crate) fn request(&self, method: &str, path: &str) -> (Machine, String) {
        let line = format!(
            "curl -sS -m 60 --fail-with-body -X {method} -H 'Authorization: Bearer {}' {}/api/v1{path}",
            self.key, self.url
        );
        (self.machine.clone(), line)
    }

    /// Restores a deleted dot of the first node's user.
    pub(crate) async fn restore(&self, name: &str) -> Result<()> {
        let trash = self.call("GET", "/trash").await;
        ensure!(trash.status.success(), "{trash}");
        let trash: serde_json::Value = serde_json::from_str(&trash.stdout)?;
        let deleted = trash.as_array().context("the trash is a list")?;
        let dot = deleted
            .iter()
            .find(|dot| {
                dot["name"]
                    .as_str()
                    .is_some_and(|full| full.ends_with(name))
            })
            .with_context(|| format!("no {name} in the trash: {trash}"))?;
        let id = dot["id"]
            .as_str()
            .map_or_else(|| dot["id"].to_string(), str::to_owned);
        let restored = self.call("POST", &format!("/trash/{id}/restore")).await;
        ensure!(restored.status.success(), "{restored}");
        Ok(())
    }

    /// The branches of the dot on the hub.
    pub(crate) async fn look(&self) -> Result<BTreeMap<String, Id>> {
        wait_for("the hub's branches", SOON, async || {
            let output = self.call("GET", "/dots/alice/app").await;
            ensure!(output.status.success(), "{output}");
            let dot: serde_json::Value = serde_json::from_str(&output.stdout)?;
            let branches = dot["branches"].as_array().context("no branches")?;
            let mut heads = BTreeMap::new();
            for branch in branches {
                let name = branch["name"].as_str().context("no name")?;
                let head = branch["head"].as_str().context("no head")?;
                heads.insert(name.to_owned(), head.to_owned());
            }
            Ok(heads)
        })
        .await
    }
}

/// Mounts a separate disk for a daemon's data. It is removed with the machine.
async fn mount_disk(machine: &Machine, size: &str) -> Result<()> {
    let line = format!(
        "truncate -s {size} disk.img && mkfs.ext4 -q -m 0 disk.img && mount -o loop disk.img /var/lib/dotmesh"
    );
    let output = machine.run(&line).await;
    ensure!(output.status.success(), "{output}");
    Ok(())
}
