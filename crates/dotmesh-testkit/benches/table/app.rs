//! The state of an app: a PostgreSQL cluster of pgbench, a Redis and images. pgbench makes the change.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;

use crate::data;
use crate::stage::{Node, POOL};

/// The size of the state: a factor for all of its parts.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) f64);

impl Size {
    pub(crate) fn of(self, full: usize) -> usize {
        ((full as f64 * self.0) as usize).max(1)
    }
}

/// The amount of work for pgbench.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    Seconds(usize),
    /// A number of transactions, spread over the tables.
    Transactions(usize),
    /// A number of transactions, on as many rows as an app of this size has.
    TransactionsOf(usize, Size),
}

/// The work that pgbench did.
pub(crate) struct Done {
    pub(crate) transactions: usize,
    pub(crate) a_second: f64,
}

/// The scale of pgbench: 100,000 rows each.
const SCALE: usize = 60;
const CLIENTS: usize = 8;
const KEYS_AT_ONCE: usize = 10_000;
/// A folder of the machine itself. PostgreSQL may not enter the folders of the pool, so it uses a mount here.
const RUN: &str = "/run/bench";

/// A dot with the state of an app. PostgreSQL runs between `start` and `stop`.
pub(crate) struct App<'a> {
    node: &'a Node,
    pub(crate) dot: String,
}

impl<'a> App<'a> {
    /// Makes the state. No process of it is running then.
    pub(crate) async fn create(node: &'a Node, dot: &str, size: Size) -> Result<Self> {
        let app = Self::empty(node, dot).await?;
        let data = app.data();
        node.ok(&format!(
            "mkdir {data}/pg {data}/redis && chown postgres {data}/pg && chmod 700 {data}/pg"
        ))
        .await;
        app.mount().await;
        app.postgres("initdb -D /run/bench/pg -A trust").await;
        app.run_postgres().await;
        app.postgres("createdb bench").await;
        let scale = size.of(SCALE);
        app.postgres(&format!("pgbench -q -i -s {scale} bench"))
            .await;
        app.stop().await;
        app.fill_redis(size.of(1_000_000)).await?;
        let images = node.machine.path(format!("{data}/images"));
        tokio::task::spawn_blocking(move || data::images(&images, size.of(1000))).await??;
        Ok(app)
    }

    /// Makes the same state in another dot, as if it had been made there. Its files share no page of the cache with
    /// the first dot.
    pub(crate) async fn copy(&self, dot: &str) -> Result<Self> {
        let copy = Self::empty(self.node, dot).await?;
        let line = format!("cp -a --reflink=always {}/. {}/", self.data(), copy.data());
        self.node.ok(&line).await;
        Ok(copy)
    }

    async fn empty(node: &'a Node, dot: &str) -> Result<Self> {
        node.ok(&format!("dm mount --create {dot} .{dot}")).await;
        let dot = dot.to_owned();
        Ok(Self { node, dot })
    }

    fn data(&self) -> String {
        data_of(&self.dot)
    }

    async fn mount(&self) {
        let data = self.data();
        self.node
            .ok(&format!(
                "mkdir -p {RUN}/pg && chown postgres {RUN} && mount --bind {data}/pg {RUN}/pg"
            ))
            .await;
    }

    /// Starts PostgreSQL.
    pub(crate) async fn start(&self) {
        self.mount().await;
        self.run_postgres().await;
    }

    async fn run_postgres(&self) {
        self.postgres(
            "pg_ctl -s -w -D /run/bench/pg -l /run/bench/log -o \"-h '' -k /run/bench\" start",
        )
        .await;
    }

    /// Stops PostgreSQL with a clean shutdown.
    pub(crate) async fn stop(&self) {
        self.postgres("pg_ctl -s -w -D /run/bench/pg -m fast stop")
            .await;
        self.node.ok(&format!("umount {RUN}/pg")).await;
    }

    /// Runs pgbench with eight clients.
    pub(crate) async fn pgbench(&self, load: Load) -> Result<Done> {
        let amount = match load {
            Load::Seconds(seconds) => format!("-T {seconds}"),
            Load::Transactions(all) => format!("-t {}", all.div_ceil(CLIENTS)),
            Load::TransactionsOf(all, size) => {
                format!("-t {} -D scale={}", all.div_ceil(CLIENTS), size.of(SCALE))
            }
        };
        let report = self
            .postgres(&format!("pgbench -c {CLIENTS} -j 2 {amount} bench"))
            .await;
        let number = |after: &str| {
            let (_, rest) = report.split_once(after).context("pgbench says")?;
            let digits = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next();
            digits
                .and_then(|digits| digits.parse::<f64>().ok())
                .with_context(|| format!("a number after {after}"))
        };
        Ok(Done {
            transactions: number("actually processed: ")? as usize,
            a_second: number("tps = ")?,
        })
    }

    /// Makes the change: eight clients for some time, then a checkpoint that writes all of it to the tables' files.
    pub(crate) async fn change(&self, load: Load) -> Result<Done> {
        let done = self.pgbench(load).await?;
        self.postgres("psql -q -c checkpoint bench").await;
        Ok(done)
    }

    /// Makes PostgreSQL delete old write-ahead log at a checkpoint. Otherwise the amount that it keeps for reuse
    /// depends on the size of the database.
    pub(crate) async fn drop_old_log(&self) {
        let settings = format!("{}/pg/postgresql.conf", self.data());
        let line = format!("echo 'wal_recycle = off' >> {settings}");
        self.node.ok(&line).await;
    }

    /// Runs one of PostgreSQL's programs as the user `postgres`.
    async fn postgres(&self, line: &str) -> String {
        let quoted = line.replace('\'', r"'\''");
        self.node
            .ok(&format!(
                "cd / && runuser -u postgres -- env PGHOST={RUN} sh -c 'PATH=$(echo /usr/lib/postgresql/*/bin | cut -d\" \" -f1):$PATH; {quoted}'"
            ))
            .await
    }

    async fn fill_redis(&self, keys: usize) -> Result<()> {
        let socket = format!("{RUN}/redis");
        let data = self.data();
        let cli = format!("redis-cli -s {socket}");
        let start = format!(
            "redis-server --daemonize yes --dir {data}/redis --save '' --port 0 --unixsocket {socket} --logfile {RUN}/redis.log"
        );
        let ready = format!("until {cli} ping >/dev/null 2>&1; do sleep 0.05; done");
        self.node.ok(&format!("{start} && {ready}")).await;
        let mut pipe = self.node.machine.command("redis-cli");
        let mut pipe = pipe
            .args(["-s", &socket, "--pipe"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let mut commands = pipe.stdin.take().context("a pipe to redis-cli")?;
        for first in (0..keys).step_by(KEYS_AT_ONCE) {
            let some = data::redis_commands(first..keys.min(first + KEYS_AT_ONCE));
            commands.write_all(&some).await?;
        }
        drop(commands);
        ensure!(pipe.wait().await?.success(), "redis-cli --pipe failed");
        self.node
            .ok(&format!("{cli} save && {cli} shutdown nosave"))
            .await;
        Ok(())
    }

    /// Commits, and returns the path of the snapshot.
    pub(crate) async fn commit(&self) -> PathBuf {
        commit(self.node, &self.dot).await
    }
}

/// The top folder of a dot's working copy.
pub(crate) fn data_of(dot: &str) -> String {
    format!("{POOL}/dots/admin/{dot}/branches/master/data")
}

/// Commits a dot, and returns the path of the snapshot.
pub(crate) async fn commit(node: &Node, dot: &str) -> PathBuf {
    let id = node
        .ok(&format!("dm switch {dot} && dm commit -m state"))
        .await;
    let commits = PathBuf::from(format!("{POOL}/dots/admin/{dot}/commits"));
    commits.join(id.trim())
}
