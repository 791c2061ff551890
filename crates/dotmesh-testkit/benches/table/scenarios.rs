//! What is measured, each on a machine of its own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dotmesh_testkit::{Daemon, Machine, Network, wait_for};

use crate::measure::{ROUNDS, Table, median, peak_memory, show, time};

const SOON: Duration = Duration::from_secs(60);

/// The dot of two gigabytes that figures are about.
const TWO_GIGABYTES: &str = "dd if=/dev/urandom bs=1M count=2048 status=none";

async fn node(network: &Network, name: &str) -> Result<(Machine, Daemon)> {
    let machine = network.machine(name).await?;
    let arguments = ["--pool-size", "20G", "--trash-grace", "0"];
    let mut daemon = machine.spawn_daemon("dotmeshd", &arguments).await?;
    daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    Ok((machine, daemon))
}

/// `dm commit` on a large dot, against nothing but the snapshot.
pub(crate) async fn commit(table: &mut Table) -> Result<()> {
    let (machine, _daemon) = node(&Network::start().await?, "commit").await?;
    machine
        .run("dm mount --create big /tmp/$$.big")
        .await
        .success();
    let work = "/var/lib/dotmesh/pool/dots/admin/big/branches/master";
    machine
        .run(&format!(
            "{TWO_GIGABYTES} of={work}/data/__default__/file && sync"
        ))
        .await
        .success();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let snapshot =
            format!("btrfs subvolume snapshot -r {work} /var/lib/dotmesh/pool/bare-{round}");
        bare.push(time(&machine, &snapshot).await);
        ours.push(time(&machine, "dm commit -m commit").await);
    }
    let (ours, bare) = (median(ours), median(bare));
    let peer = ("btrfs subvolume snapshot", bare);
    table.compare(
        "`dm commit`, 2 GB, idle",
        ours,
        peer,
        "at most 15 ms over the peer",
    );
    Ok(())
}

/// `dm checkout` without containers, and with two databases against stopping and starting them.
pub(crate) async fn checkout(table: &mut Table) -> Result<()> {
    let (machine, _daemon) = node(&Network::start().await?, "checkout").await?;
    machine
        .run("dm init app && dm commit -m one && dm checkout -b other")
        .await
        .success();
    let mut alone = Vec::new();
    for _ in 0..ROUNDS {
        alone.push(time(&machine, "dm checkout master").await);
        alone.push(time(&machine, "dm checkout other").await);
    }
    table.state(
        "`dm checkout`, no containers",
        &show(median(alone)),
        "at most 50 ms",
    );

    let run = "docker run -d --network host --volume-driver dm --name";
    let databases = format!(
        "{run} redis -v app.redis:/data redis:7 && {run} postgres -e POSTGRES_PASSWORD=s -v app.pg:/var/lib/postgresql/data postgres:15"
    );
    machine.run(&databases).await.success();
    ready(&machine).await?;
    machine
        .run("dm commit -m databases && dm checkout -b third")
        .await
        .success();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ready(&machine).await?;
        peer.push(
            time(
                &machine,
                "docker stop redis postgres && docker start redis postgres",
            )
            .await,
        );
        ready(&machine).await?;
        let branch = if round % 2 == 0 { "other" } else { "third" };
        ours.push(time(&machine, &format!("dm checkout {branch}")).await);
    }
    let peer = ("docker stop + docker start", median(peer));
    table.compare(
        "`dm checkout`, Redis and PostgreSQL",
        median(ours),
        peer,
        "at most 1.15",
    );
    Ok(())
}

async fn ready(machine: &Machine) -> Result<()> {
    wait_for("the databases to answer", SOON, async || {
        let line = "docker exec redis redis-cli ping && docker exec postgres psql -h 127.0.0.1 -U postgres -c 'select 1'";
        let answer = machine.run(line).await;
        anyhow::ensure!(answer.status.success(), "{}", answer.stderr);
        Ok(())
    })
    .await
}

/// `dm list` with 1,000 dots of 100 commits.
pub(crate) async fn list(table: &mut Table) -> Result<()> {
    const DOTS: usize = 1000;
    let (machine, daemon) = node(&Network::start().await?, "list").await?;
    let commit = "curl -fsS -o /dev/null --unix-socket /run/dotmesh/api.sock -H content-type:application/json -d";
    let body = r#"{"message":"m","author":"a"}"#;
    // Eight at a time: snapshots that are asked for together are made together.
    let line = format!(
        "seq {DOTS} | xargs -P 8 -I@ sh -c 'dm init dot@ 2>/dev/null && {commit} '\\''{body}'\\'' http://node/v1/dots/admin/dot@/commits?[1-100]'"
    );
    let start = Instant::now();
    machine.run(&line).await.success();
    table.state(
        "making 1,000 dots of 100 commits",
        &show(start.elapsed()),
        "",
    );
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(time(&machine, "dm list").await);
    }
    table.state(
        "`dm list`, 1,000 dots of 100 commits",
        &show(median(times)),
        "under 100 ms",
    );
    let memory = peak(&machine, &daemon).await?;
    table.state(
        "peak memory of `dotmeshd` doing so",
        &memory,
        "under 256 MiB",
    );
    Ok(())
}

/// Push and clone of a large dot: the memory that they take, and the time for the record.
pub(crate) async fn transfer(table: &mut Table) -> Result<()> {
    let network = Network::start().await?;
    let (alice, alice_daemon) = node(&network, "alice").await?;
    let (bob, bob_daemon) = node(&network, "bob").await?;
    let listen = format!("{}:8180", alice.address());
    let mut hub = alice
        .spawn_daemon(
            "dothub",
            &["serve", "--data", "/var/lib/hub", "--listen", &listen],
        )
        .await?;
    let url = format!("http://{listen}");
    let answers = format!("curl -fsS {url}/api/v1/version");
    hub.wait_until("the hub to answer", SOON, async || {
        let answer = alice.run(&answers).await;
        anyhow::ensure!(answer.status.success(), "{}", answer.stderr);
        Ok(())
    })
    .await?;
    let added = alice
        .run("dothub user add alice --data /var/lib/hub")
        .await
        .success();
    let key = added.stdout.lines().last().context("no key")?.to_owned();
    for machine in [&alice, &bob] {
        machine
            .run(&format!("echo {key} | dm remote add hub alice@{url}"))
            .await
            .success();
    }
    let file = "/var/lib/dotmesh/pool/dots/admin/big/branches/master/data/__default__/file";
    alice
        .run("dm mount --create big /tmp/$$.big")
        .await
        .success();
    alice
        .run(&format!("{TWO_GIGABYTES} of={file} && dm commit -m big"))
        .await
        .success();
    table.state(
        "first push of 2 GB, incompressible",
        &show(time(&alice, "dm push hub big").await),
        "",
    );
    table.state(
        "clone of it",
        &show(time(&bob, "dm clone hub big").await),
        "",
    );
    let bar = "under 256 MiB";
    table.state(
        "peak memory of `dotmeshd`, push",
        &peak(&alice, &alice_daemon).await?,
        bar,
    );
    table.state(
        "peak memory of `dotmeshd`, clone",
        &peak(&bob, &bob_daemon).await?,
        bar,
    );
    table.state("peak memory of `dothub`", &peak(&alice, &hub).await?, bar);
    Ok(())
}

/// The most memory that a daemon ever had.
async fn peak(machine: &Machine, daemon: &Daemon) -> Result<String> {
    let pid = daemon.pid().context("the daemon does not run")?;
    let status = machine
        .run(&format!("cat /proc/{pid}/status"))
        .await
        .success()
        .stdout;
    peak_memory(&status)
}
