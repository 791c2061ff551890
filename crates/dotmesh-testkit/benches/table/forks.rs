//! Forks: how fast one starts, what many take, and whether they wait for each other.

#![expect(
    clippy::print_stdout,
    reason = "printing results is what a benchmark is for"
)]

use anyhow::{Context as _, Result};
use dotmesh_testkit::{Machine, Network};

use crate::app::Size;
use crate::measure::{Metric, Row, Table, median, time};
use crate::stage::{Node, POOL};

/// The number of measurements of a start and of a reset.
const ROUNDS: usize = 5;
/// The number of forks whose space is measured.
const MANY: usize = 20;
/// The number of forks that start at the same time.
const TOGETHER: usize = 8;
/// The data of the app, in MiB.
const DATA: usize = 2048;

/// The app: two databases, a folder of files, and a web server's place. `DRIVER` and `NAME` make it the peer's.
const APP: &str = "services:
  redis:
    image: redis:7
    command: redis-server --appendonly yes
    volumes: ['app.redis:/data']
    healthcheck: {test: [CMD, redis-cli, ping], interval: 1s}
  pg:
    image: postgres:15
    environment: {POSTGRES_PASSWORD: s}
    volumes: ['app.pg:/var/lib/postgresql/data']
    healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1, -U, postgres], interval: 1s}
  files:
    image: debian:bookworm-slim
    command: sleep 100000
    init: true
    volumes: ['app.files:/files']
  web:
    image: debian:bookworm-slim
    command: sleep 100000
    init: true
    ports: ['${PORT:-8100}:80']
    depends_on: {pg: {condition: service_healthy}, redis: {condition: service_healthy}}
volumes:
  app.redis: {driver: '${DRIVER:-dm}'}
  app.pg: {driver: '${DRIVER:-dm}'}
  app.files: {driver: '${DRIVER:-dm}'}
";

/// Measures all of it.
pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let node = Node::start(Network::start().await?.machine("forks").await?).await?;
    let machine = &node.machine;
    std::fs::create_dir_all(machine.home().join("shop")).context("a folder")?;
    std::fs::write(machine.home().join("shop/compose.yaml"), APP).context("a file")?;
    let megabytes = size.of(DATA);
    node.ok("mkdir -p ~/.docker/cli-plugins && ln -sf $(command -v compose-2) ~/.docker/cli-plugins/docker-compose")
        .await;
    node.ok("cd ~/shop && docker compose up -d --wait").await;
    node.ok(&format!(
        "cd ~/shop && docker compose exec -T files dd if=/dev/urandom of=/files/data bs=1M count={megabytes} status=none && sync"
    ))
    .await;
    // At a small scale, which tries out the benchmark, there are fewer of everything.
    // Space comes first, while btrfs has none of deleted forks to free.
    space(table, machine, size.of(MANY).max(2), megabytes).await?;
    start(table, machine, size.of(ROUNDS), megabytes).await;
    reset(table, machine, size.of(ROUNDS)).await;
    together(table, machine, size.of(TOGETHER).max(2)).await;
    Ok(())
}

fn row(figure: &str, ours: f64, peer: (&str, f64), at_most: f64) -> Row {
    Row {
        figure: figure.to_owned(),
        ours: Metric::Time.show(ours),
        peers: format!("{} ({})", Metric::Time.show(peer.1), peer.0),
        ratio: format!("{:.2}", ours / peer.1),
        bar: format!("at most {at_most} × the peer"),
        met: Some(ours <= at_most * peer.1),
    }
}

/// `dm up` until healthy, compared with Compose on initialised volumes.
async fn start(table: &mut Table, machine: &Machine, rounds: usize, megabytes: usize) {
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let peer = format!(
            "cd ~/shop && export DRIVER=local PORT={} && docker compose -p peer{round}",
            8200 + round
        );
        machine
            .run(&format!(
                "{peer} up -d --wait && docker compose -p peer{round} down"
            ))
            .await
            .success();
        peers.push(time(machine, &format!("{peer} up -d --wait")).await);
        machine.run(&format!("{peer} down -v")).await.success();
        let name = format!("start{round}");
        ours.push(time(machine, &format!("cd ~/shop && dm up --name {name}")).await);
        machine
            .run(&format!("dm down {name} --delete"))
            .await
            .success();
    }
    table.add(row(
        &format!("`dm up` of four services with {megabytes} MiB"),
        median(ours),
        ("docker compose up, empty volumes", median(peers)),
        1.3,
    ));
}

/// The bytes that the pool's filesystem uses, once nothing changes them: btrfs frees the space of deleted forks by and by. The
/// daemon's balloon is not counted: it follows the free space of the disk below.
async fn used(machine: &Machine) -> Result<f64> {
    let line = format!(
        "used() {{ sync -f {POOL}; all=$(df --block-size=1 --output=used {POOL} | tail -1); \
         echo $((all - $(stat -c %s {POOL}/balloon 2>/dev/null || echo 0))); }}; \
         last=; for try in $(seq 30); do now=$(used); [ \"$last\" = \"$now\" ] && break; last=$now; sleep 2; done; echo $now"
    );
    let said = machine.run(&line).await.success().stdout;
    said.trim().parse().context("a number of bytes")
}

/// The bytes that were written to the pool's device so far.
async fn written(machine: &Machine) -> Result<f64> {
    let line = format!(
        "sync -f {POOL}; device=$(df --output=source {POOL} | tail -1); \
         read -r _ _ _ _ _ _ sectors _ </sys/class/block/${{device##*/}}/stat; echo $((sectors * 512))"
    );
    let said = machine.run(&line).await.success().stdout;
    said.trim().parse().context("a number of bytes")
}

/// The space of many forks, compared with what the start of one writes.
async fn space(table: &mut Table, machine: &Machine, many: usize, megabytes: usize) -> Result<()> {
    let before = used(machine).await?;
    let mut one = 0.0_f64;
    for number in 0..many {
        let line = format!("cd ~/shop && dm up --name many{number}");
        let written_before = written(machine).await?;
        machine.run(&line).await.success();
        // Some starts of PostgreSQL make a new file for its log.
        one = one.max(written(machine).await? - written_before);
    }
    let all = used(machine).await? - before;
    for number in 0..many {
        let line = format!("dm down many{number} --delete");
        machine.run(&line).await.success();
    }
    println!("  one start writes at most {}", Metric::Bytes.show(one));
    let figure = format!("space of {many} forks of {megabytes} MiB");
    let limit = (one * many as f64).min(600e6);
    table.limit(&figure, Metric::Bytes, all, limit);
    Ok(())
}

/// A line that runs commands at the same time, and fails if one of them fails.
fn at_once(commands: &[String]) -> String {
    let started = commands.iter();
    let started: String = started
        .map(|command| format!("{command} & all=\"$all $!\"; "))
        .collect();
    format!("all=; {started}for one in $all; do wait $one || exit 1; done")
}

/// `dm reset` of a fork, compared with a restart of its databases.
async fn reset(table: &mut Table, machine: &Machine, rounds: usize) {
    let up = "cd ~/shop && dm up --name reset && dm --dot shop_app@reset commit -m one";
    machine.run(up).await.success();
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // The containers that have the fork's data.
        let restart = ["redis", "pg", "files"]
            .map(|service| format!("docker restart shop-reset-{service}-1"));
        peers.push(time(machine, &at_once(&restart)).await);
        // A database that still starts takes longer to stop.
        let healthy = "cd ~/shop && dm up --name reset";
        machine.run(healthy).await.success();
        let reset = "dm --dot shop_app@reset reset --hard HEAD --no-wait";
        ours.push(time(machine, reset).await);
        machine.run(healthy).await.success();
    }
    machine.run("dm down reset --delete").await.success();
    table.add(row(
        "`dm reset` of a fork",
        median(ours),
        ("docker restart, in parallel", median(peers)),
        1.1,
    ));
}

/// Several forks at the same time, compared with one after the other.
async fn together(table: &mut Table, machine: &Machine, many: usize) {
    let names = |word: &str| (0..many).map(|n| format!("{word}{n}")).collect::<Vec<_>>();
    let (apart, beside) = (names("apart"), names("beside"));
    let up = |name: &str| format!("(cd ~/shop && dm up --name {name})");
    let serial: Vec<String> = apart.iter().map(|name| up(name)).collect();
    let parallel: Vec<String> = beside.iter().map(|name| up(name)).collect();
    let one_by_one = time(machine, &serial.join(" && ")).await;
    let together = time(machine, &at_once(&parallel)).await;
    for name in apart.iter().chain(&beside) {
        let down = format!("dm down {name} --delete");
        machine.run(&down).await.success();
    }
    table.add(row(
        &format!("{many} forks at the same time"),
        together,
        ("one after the other", one_by_one),
        0.6,
    ));
}
