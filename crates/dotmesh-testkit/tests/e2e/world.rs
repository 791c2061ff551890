//! Shared code of the tests: machines that are Dotmesh nodes, a hub, and the demo app.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Daemon, Engine, Machine, Network, Output, wait_for};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// A time limit for anything that should be quick, on a slow and busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// What `dm cluster init` writes for Podman.
pub(crate) fn podman_config() -> &'static str {
    "# Written by 'dm cluster init', removed by 'dm cluster reset'.
[engine]
volume_plugin_timeout = 120

[engine.volume_plugins]
dm = \"/run/docker/plugins/dm.sock\"
"
}

/// A machine that runs `dotmeshd` and Docker.
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) daemon: Daemon,
    /// A private copy of the demo app, in a folder with the tutorial's name.
    pub(crate) app: PathBuf,
}

impl Node {
    pub(crate) async fn start(network: &Network, name: &str) -> Result<Self> {
        Self::start_with(network, name, &[]).await
    }

    /// Starts a node that does not keep deleted state, so that tests see freed space.
    pub(crate) async fn start_with(
        network: &Network,
        name: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::start_in(network.machine(name).await?, arguments).await
    }

    /// Starts a node with a certain Engine.
    pub(crate) async fn start_on(network: &Network, engine: Engine, name: &str) -> Result<Self> {
        Self::start_in(network.machine_with(engine, name).await?, &[]).await
    }

    /// The same on a prepared machine.
    pub(crate) async fn start_in(machine: Machine, arguments: &[&str]) -> Result<Self> {
        if machine.engine().is_podman() {
            // The service reads its configuration when it starts.
            fs::create_dir_all(machine.path("/etc/containers/containers.conf.d"))?;
            fs::write(
                machine.path("/etc/containers/containers.conf.d/dotmesh.conf"),
                podman_config(),
            )?;
            machine.stop_docker().await?;
            machine.start_docker().await?;
        }
        let mut all = vec!["--trash-grace", "0"];
        if !arguments.contains(&"--undo-time") {
            all.extend(["--undo-time", "0"]);
        }
        if !arguments.contains(&"--pool-limit") {
            all.extend(["--pool-limit", "4G"]);
        }
        all.extend(arguments);
        let mut daemon = machine.spawn_daemon("dotmeshd", &all).await?;
        daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/moby-counter");
        let app = machine.home().join("moby-counter");
        let copied = Command::new("cp")
            .arg("-rT")
            .arg(&example)
            .arg(&app)
            .status()
            .await?;
        ensure!(copied.success(), "cannot copy the example");
        // Compose 2 is a plugin of Docker's client. `docker-compose` is Compose 1.
        if machine.engine() == Engine::Host {
            let plugin = "mkdir -p .docker/cli-plugins && ln -s $(command -v compose-2) .docker/cli-plugins/docker-compose";
            machine.run(plugin).await.success();
        }
        Ok(Self {
            machine,
            daemon,
            app,
        })
    }

    /// Runs a line of shell in the app's folder, as a person at this machine would.
    pub(crate) async fn run(&self, line: &str) -> Output {
        self.machine.run_in(&self.app, line).await
    }

    /// Runs a line that must succeed, and returns its standard output.
    pub(crate) async fn ok(&self, line: &str) -> String {
        self.run(line).await.success().stdout
    }

    /// Runs a line that must fail, and returns its standard error.
    pub(crate) async fn fails(&self, line: &str) -> String {
        self.run(line).await.failure().stderr
    }

    /// Runs a line that must succeed, and returns its standard error.
    pub(crate) async fn says(&self, line: &str) -> String {
        self.run(line).await.success().stderr
    }

    /// The commits that `dm log` lists.
    pub(crate) async fn commits(&self, revision: &str) -> Result<serde_json::Value> {
        let log = self.ok(&format!("dm log --json {revision}")).await;
        let mut log: serde_json::Value = serde_json::from_str(&log)?;
        Ok(log["commits"].take())
    }

    pub(crate) async fn says_no(&self, line: &str, words: &[&str]) {
        let said = self.fails(line).await;
        for word in words {
            assert!(said.contains(word), "{line}: no '{word}' in {said}");
        }
    }

    /// Runs a short-lived container with one volume at `/v`, and returns its standard output.
    pub(crate) async fn in_volume(&self, volume: &str, line: &str) -> String {
        self.make_volume(volume).await;
        self.ok(&format!(
            "docker run --rm --network none -v {volume}:/v --volume-driver dm debian:bookworm-slim sh -ec '{line}'"
        ))
        .await
    }

    /// Starts a long-running container with one volume at `/v`.
    pub(crate) async fn keep_running(&self, name: &str, volume: &str) {
        self.make_volume(volume).await;
        self.ok(&format!(
            "docker run -d --init --network none --name {name} -v {volume}:/v --volume-driver dm debian:bookworm-slim sleep 100000"
        ))
        .await;
    }

    /// Makes a volume where `docker run` cannot, since it does not get the driver.
    async fn make_volume(&self, volume: &str) {
        if self.machine.engine().is_podman() {
            let line =
                format!("docker volume inspect {volume} || docker volume create -d dm {volume}");
            self.ok(&line).await;
        }
    }

    /// Starts the demo app, and waits until all of it answers.
    pub(crate) async fn app_up(&self) -> Result<()> {
        self.ok("docker-compose up -d --no-build").await;
        self.app_ready().await
    }

    /// Waits until the page, Redis, the users service and PostgreSQL answer.
    pub(crate) async fn app_ready(&self) -> Result<()> {
        wait_for("the app to answer", SOON, async || {
            let ping = self.run("curl -fsS -m 5 localhost:8100/v1/ping").await;
            ensure!(
                ping.stdout.contains("true"),
                "ping: {} {}",
                ping.stdout,
                ping.stderr
            );
            let users = self.sql_once("select count(*) from users").await;
            ensure!(users.status.success(), "{}", users.stderr);
            let image = self
                .run("curl -sS -m 5 -o /dev/null -w '%{http_code}' localhost:8100/users/0/image")
                .await;
            ensure!(!image.stdout.starts_with('5'), "users: {}", image.stdout);
            Ok(())
        })
        .await
    }

    async fn sql_once(&self, query: &str) -> Output {
        self.run(&format!(
            "docker-compose exec -T users-db psql -U postgres -tAc \"{query}\""
        ))
        .await
    }

    /// Runs a query in the demo app's PostgreSQL.
    pub(crate) async fn sql(&self, query: &str) -> String {
        self.sql_once(query)
            .await
            .success()
            .stdout
            .trim()
            .to_owned()
    }

    /// Runs a command in the demo app's Redis.
    pub(crate) async fn redis(&self, command: &str) -> String {
        let line = format!("docker-compose exec -T redis redis-cli {command}");
        self.ok(&line).await.trim().to_owned()
    }

    /// The SHA-256 of a response.
    pub(crate) async fn hash_of_page(&self, path: &str) -> String {
        self.ok(&format!("curl -fsS localhost:8100{path} | sha256sum"))
            .await
    }

    /// The SHA-256 of a file, in the same format.
    pub(crate) async fn hash_of_file(&self, path: &str) -> String {
        self.ok(&format!("sha256sum < {path}")).await
    }

    /// Logs in to the demo app, which registers a new user, and returns the user's id.
    pub(crate) async fn log_in(&self, user: &str) -> String {
        let line = format!(
            "curl -fsS localhost:8100/login -H 'Content-Type: application/json' -d '{{\"Name\":\"{user}\"}}'"
        );
        let answer = self.ok(&line).await;
        answer
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect()
    }

    /// Uploads a picture for a user of the demo app.
    pub(crate) async fn upload(&self, user_id: &str, file: &str) {
        self.ok(&format!(
            "curl -fsS -o /dev/null -F uploadfile=@{file} localhost:8100/users/{user_id}/image"
        ))
        .await;
    }

    /// Stores a click, as the demo app's page does.
    pub(crate) async fn click(&self, x: u32, y: u32) {
        self.ok(&format!("curl -fsS localhost:8100/v1/whales -d {x}:{y}"))
            .await;
    }

    /// The names of all dots.
    pub(crate) async fn dots(&self) -> Vec<String> {
        let rows = self.ok("dm list -H").await;
        let first = |row: &str| row.split('\t').next().unwrap_or_default().to_owned();
        rows.lines().map(first).collect()
    }

    /// Waits until a line of shell succeeds and prints the expected text.
    pub(crate) async fn until_prints(&self, line: &str, expected: &str) -> Result<()> {
        wait_for(&format!("`{line}`"), SOON, async || {
            let output = self.run(line).await;
            ensure!(
                output.status.success() && output.stdout == expected,
                "{output}"
            );
            Ok(())
        })
        .await
    }

    /// Waits for an event of a container after a time from `date +%s.%N`.
    pub(crate) async fn wait_for_event(
        &self,
        since: &str,
        container: &str,
        event: &str,
    ) -> Result<()> {
        let mut events = self
            .machine
            .command("docker")
            .args(["events", "--since", since, "--filter"])
            .arg(format!("container={container}"))
            .arg("--filter")
            .arg(format!("event={event}"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = events.stdout.take().context("docker events")?;
        let mut lines = BufReader::new(stdout).lines();
        tokio::time::timeout(SOON, lines.next_line())
            .await
            .with_context(|| format!("no event {event} of {container}"))??;
        Ok(())
    }

    /// Waits until the containers run, and all see the branch that `dm list` shows. Returns the branch.
    pub(crate) async fn until_consistent(&self, dot: &str, containers: &[&str]) -> Result<String> {
        wait_for("the containers to run on one branch", SOON, async || {
            self.consistent(dot, containers).await
        })
        .await
    }

    /// The branch that all of the containers run on, which must be the one that `dm list` says.
    pub(crate) async fn consistent(&self, dot: &str, containers: &[&str]) -> Result<String> {
        let list = self.run("dm list -H").await;
        let row = list.stdout.lines().find(|row| row.starts_with(dot));
        let branch = row.and_then(|row| row.split('\t').nth(1));
        let branch = branch.with_context(|| list.to_string())?;
        for container in containers {
            let seen = self
                .run(&format!("docker exec {container} cat /v/branch"))
                .await;
            ensure!(
                seen.status.success() && seen.stdout.trim() == branch,
                "dm list says {branch}, but {seen}"
            );
        }
        Ok(branch.to_owned())
    }

    /// The start times of containers, in a format that sorts by time.
    pub(crate) async fn started_at(&self, containers: &[&str]) -> Vec<String> {
        let containers = containers.join(" ");
        let line = format!("docker inspect -f '{{{{.State.StartedAt}}}}' {containers}");
        self.ok(&line).await.lines().map(str::to_owned).collect()
    }

    /// Asserts that containers run.
    pub(crate) async fn all_running(&self, containers: &[&str]) {
        let names = containers.join(" ");
        let line = format!("docker inspect -f '{{{{.State.Running}}}}' {names}");
        let states = self.ok(&line).await;
        assert_eq!(states, "true\n".repeat(containers.len()), "of {names}");
    }

    /// The folder of a volume on the machine's disk.
    pub(crate) async fn folder_of(&self, volume: &str) -> String {
        let line = format!("docker volume inspect -f '{{{{.Mountpoint}}}}' {volume}");
        self.ok(&line).await.trim().to_owned()
    }

    /// A number in `dm list`.
    pub(crate) async fn number(&self, dot: &str, column: usize) -> Result<u64> {
        let cell = self.cell(dot, column).await;
        cell.parse().context(cell)
    }

    /// A cell of `dm list`, in the row of a dot. Columns count from 1.
    pub(crate) async fn cell(&self, dot: &str, column: usize) -> String {
        let rows = self.ok("dm list -H").await;
        let row = rows.lines().find(|row| row.split('\t').next() == Some(dot));
        let row = row.unwrap_or_else(|| panic!("no dot {dot} in:\n{rows}"));
        row.split('\t')
            .nth(column - 1)
            .unwrap_or_default()
            .to_owned()
    }
}

/// A hub on the host, which all machines of a network reach.
pub(crate) struct Hub {
    /// The URL for machines and browsers.
    pub(crate) url: String,
    data: tempfile::TempDir,
    _server: Child,
}

impl Hub {
    pub(crate) async fn start(network: &Network) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut server = binary("dothub")
            .args([
                "serve",
                "--listen",
                &format!("{}:0", network.host_address()),
                "--sign-up",
                "open",
            ])
            .arg("--data")
            .arg(data.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start dothub")?;
        let stdout = server.stdout.take().context("dothub's output")?;
        let line = BufReader::new(stdout)
            .lines()
            .next_line()
            .await?
            .context("dothub ended")?;
        let url = line
            .strip_prefix("listening on ")
            .context(line.clone())?
            .to_owned();
        Ok(Self {
            url,
            data,
            _server: server,
        })
    }

    /// Adds an account while the hub runs, and returns its key.
    pub(crate) async fn add_user(&self, name: &str) -> Result<String> {
        let output = binary("dothub")
            .args(["user", "add", name, "--data"])
            .arg(self.data.path())
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let stdout = String::from_utf8(output.stdout)?;
        Ok(stdout.lines().last().context("no key")?.to_owned())
    }

    /// Sets an account's password.
    pub(crate) async fn set_password(&self, name: &str, password: &str) -> Result<()> {
        let mut child = binary("dothub")
            .args(["user", "password", name, "--data"])
            .arg(self.data.path())
            .stdin(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("its input")?;
        stdin.write_all(password.as_bytes()).await?;
        drop(stdin);
        ensure!(child.wait().await?.success(), "no password was set");
        Ok(())
    }

    /// Makes a user an administrator.
    pub(crate) async fn make_administrator(&self, name: &str) -> Result<()> {
        let mut command = binary("dothub");
        command.args(["user", "admin", name, "--on", "--data"]);
        let output = command.arg(self.data.path()).output().await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Gives a user access to another user's dot.
    pub(crate) async fn collaborate(&self, dot: &str, user: &str, access: &str) -> Result<()> {
        let mut command = binary("dothub");
        command.args([
            "collaborator",
            "add",
            dot,
            user,
            "--access",
            access,
            "--data",
        ]);
        let output = command.arg(self.data.path()).output().await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The bytes that the hub has on its disk.
    pub(crate) async fn stored_bytes(&self) -> Result<u64> {
        let du = Command::new("du")
            .arg("-sb")
            .arg(self.data.path())
            .output()
            .await?;
        let text = String::from_utf8(du.stdout)?;
        text.split_whitespace()
            .next()
            .context("du")?
            .parse()
            .context("du")
    }

    /// Makes this hub the remote `hub` of a node's user.
    pub(crate) async fn log_in(&self, node: &Node, user: &str) -> Result<()> {
        let key = self.add_user(user).await?;
        node.ok(&format!(
            "echo {key} | dm remote add hub {user}@{}",
            self.url
        ))
        .await;
        Ok(())
    }
}

fn binary(name: &str) -> Command {
    // Tests run from target/PROFILE/deps, next to the binaries.
    let tests = std::env::current_exe().expect("a test is a program");
    let folder = tests
        .ancestors()
        .nth(2)
        .expect("a test is in target/PROFILE/deps");
    let mut command = Command::new(folder.join(name));
    command.env("RUST_LOG", "warn");
    command
}

/// Alice and Bob, each with their own node and an account on one hub.
pub(crate) struct Team {
    pub(crate) hub: Hub,
    pub(crate) alice: Node,
    pub(crate) bob: Node,
}

impl Team {
    pub(crate) async fn start() -> Result<Self> {
        let network = Network::start().await?;
        let hub = Hub::start(&network).await?;
        let (alice, bob) =
            tokio::try_join!(Node::start(&network, "alice"), Node::start(&network, "bob"))?;
        hub.log_in(&alice, "alice").await?;
        hub.log_in(&bob, "bob").await?;
        Ok(Self { hub, alice, bob })
    }

    /// Alice's dot `app` with one commit. She has pushed it, and Bob has cloned it and has write access.
    pub(crate) async fn sharing() -> Result<Self> {
        let team = Self::start().await?;
        team.alice.in_volume("app", "echo 1 >/v/base").await;
        team.alice.ok("dm commit -m base && dm push hub").await;
        team.hub.collaborate("alice/app", "bob", "write").await?;
        team.bob.ok("dm clone hub alice/app").await;
        Ok(team)
    }
}

/// The MiB that a transfer reports as received.
pub(crate) fn received(told: &str) -> f64 {
    let done = told.lines().find_map(|line| line.strip_prefix("Done! "));
    let (number, unit) = done
        .and_then(|done| done.split_once(" received")?.0.split_once(' '))
        .expect("a line about the traffic");
    let number: f64 = number.parse().expect("a number");
    match unit {
        "B" => number / 1024.0 / 1024.0,
        "KiB" => number / 1024.0,
        "MiB" => number,
        other => panic!("a unit that is not expected: {other}"),
    }
}
