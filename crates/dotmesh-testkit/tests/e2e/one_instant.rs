//! A commit captures one instant. Three stores are written one after the other, and no commit has them out of order.
//!
//! Each store syncs a write before it answers, as databases do. Without a sync, writes have no order on disk.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Machine, Network, wait_for};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::world::{Node, SOON};

const COMMITS: usize = 20;

const PSQL: &str = "docker exec -i postgres psql -h 127.0.0.1 -U postgres -qtA";
const REDIS_CLI: &str = "docker exec -i redis redis-cli";
const FILES: &str = "docker exec -i files sh -c 'while read n; do echo $n > /files/new && sync -d /files/new && mv /files/new /files/n && sync /files && echo $n; done'";

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_holds_all_stores_at_one_instant() -> Result<()> {
    let network = Network::start().await?;
    let node = Node::start(&network, "alice").await?;
    let run = "docker run -d --network host --volume-driver dm --name";
    node.ok(&format!(
        "{run} redis -v app.redis:/data redis:7 redis-server --appendonly yes --appendfsync always --dir /data"
    ))
    .await;
    node.ok(&format!(
        "{run} postgres -e POSTGRES_PASSWORD=secret -v app.postgres:/var/lib/postgresql/data postgres:15"
    ))
    .await;
    node.ok(&format!(
        "{run} files --init -v app.files:/files debian:bookworm-slim sleep 1000000"
    ))
    .await;
    ready(&node).await?;
    node.ok(&format!("echo 'create table t (n bigint)' | {PSQL}"))
        .await;

    let ids = commit_under_load(&node).await?;
    let mut seen = Vec::new();
    for id in &ids {
        node.ok(&format!("dm checkout -b at-{id} {id}")).await;
        ready(&node).await?;
        let redis = number(&node, "docker exec redis redis-cli get n").await?;
        let postgres = number(&node, &format!("echo 'select max(n) from t' | {PSQL}")).await?;
        let file = number(&node, "docker exec files cat /files/n").await?;
        ensure!(
            redis >= postgres && postgres >= file && file + 1 >= redis,
            "commit {id} is not one instant: redis {redis}, postgres {postgres}, file {file}"
        );
        seen.push(file);
    }
    ensure!(
        seen.is_sorted() && seen.first() < seen.last(),
        "nothing was written meanwhile: {seen:?}"
    );
    Ok(())
}

/// Makes commits while a writer writes n to Redis, then to PostgreSQL, then to a file, as fast as it can.
async fn commit_under_load(node: &Node) -> Result<Vec<String>> {
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let mut redis = Client::start(&node.machine, REDIS_CLI)?;
    let mut postgres = Client::start(&node.machine, PSQL)?;
    let mut files = Client::start(&node.machine, FILES)?;
    let writer = tokio::spawn({
        let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
        async move {
            for n in 1_u64.. {
                redis.ask(&format!("set n {n}")).await?;
                postgres
                    .ask(&format!("insert into t values ({n}) returning n;"))
                    .await?;
                files.ask(&n.to_string()).await?;
                written.store(n, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
            anyhow::Ok(())
        }
    });
    let mut ids = Vec::new();
    while ids.len() < COMMITS {
        let before = written.load(Ordering::SeqCst);
        wait_for("the writer to go on", SOON, async || {
            ensure!(written.load(Ordering::SeqCst) > before + 3);
            Ok(())
        })
        .await?;
        ids.push(node.ok("dm commit -m 'under load'").await.trim().to_owned());
    }
    stop.store(true, Ordering::SeqCst);
    writer.await??;
    Ok(ids)
}

/// A program that answers each line of input with a line.
struct Client {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(machine: &Machine, line: &str) -> Result<Self> {
        let mut child = machine
            .command("sh")
            .args(["-c", line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout")?).lines();
        Ok(Self {
            _child: child,
            stdin,
            stdout,
        })
    }

    async fn ask(&mut self, line: &str) -> Result<String> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        self.stdout
            .next_line()
            .await?
            .with_context(|| format!("no answer to {line}"))
    }
}

async fn ready(node: &Node) -> Result<()> {
    wait_for("the databases to answer", SOON, async || {
        let redis = node.run("docker exec redis redis-cli ping").await;
        ensure!(
            redis.stdout.contains("PONG"),
            "{} {}",
            redis.stdout,
            redis.stderr
        );
        let postgres = node.run(&format!("echo 'select 1' | {PSQL}")).await;
        ensure!(postgres.stdout.trim() == "1", "{}", postgres.stderr);
        Ok(())
    })
    .await
}

async fn number(node: &Node, line: &str) -> Result<u64> {
    let text = node.ok(line).await;
    text.trim().parse().with_context(|| text.clone())
}
