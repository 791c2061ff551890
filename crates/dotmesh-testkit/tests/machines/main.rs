//! Tests of the test machines: containers, networks, and the clean-up at the end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dotmesh_testkit::{Link, Machine, Network, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(90);

/// Sends `request` over TCP, and returns the answer.
async fn ask(address: &str, request: &str) -> anyhow::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn redis_answers(machine: &Machine, port: u16) -> anyhow::Result<()> {
    let address = format!("{}:{port}", machine.address());
    wait_for("Redis to answer", SOON, async || {
        let answer = ask(&address, "PING\r\nQUIT\r\n").await?;
        anyhow::ensure!(answer.starts_with("+PONG"), "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_published_port_is_reached_from_the_host() -> anyhow::Result<()> {
    let machine = Machine::start("alice").await?;
    machine
        .run("docker run -d --name redis -p 7000:6379 redis:7")
        .await
        .success();
    redis_answers(&machine, 7000).await?;
    let names = machine
        .run("docker ps --format '{{.Names}}'")
        .await
        .success();
    assert_eq!(names.stdout, "redis\n");
    Ok(())
}

#[tokio::test]
async fn the_example_runs() -> anyhow::Result<()> {
    let machine = Machine::start("alice").await?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/moby-counter");
    machine
        .run_in(&example, "DM_DRIVER=local docker-compose up -d --no-build")
        .await
        .success();
    let web = format!("{}:8100", machine.address());
    wait_for("the example to reach its stores", SOON, async || {
        let login = "POST /login HTTP/1.0\r\nContent-Length: 15\r\n\r\n{\"Name\":\"fred\"}";
        let answer = ask(&web, login).await?;
        anyhow::ensure!(answer.contains("{\"Id\":1,\"Name\":\"fred\"}"), "{answer}");
        let answer = ask(&web, "GET /v1/whales HTTP/1.0\r\n\r\n").await?;
        anyhow::ensure!(answer.ends_with("[]"), "{answer}");
        Ok(())
    })
    .await?;
    let volumes = machine.run("docker volume ls -q").await.success().stdout;
    let expected = [
        "mobycounter_app.clicks-db",
        "mobycounter_app.uploads",
        "mobycounter_app.users-db",
    ];
    assert_eq!(volumes.lines().collect::<Vec<_>>(), expected);
    Ok(())
}

#[tokio::test]
async fn machines_are_apart_and_reach_each_other() -> anyhow::Result<()> {
    let network = Network::start().await?;
    let (alice, bob) = tokio::try_join!(network.machine("alice"), network.machine("bob"))?;
    alice
        .run("docker run -d -p 7000:6379 redis:7")
        .await
        .success();
    redis_answers(&alice, 7000).await?;
    assert_eq!(bob.run("docker ps -q").await.success().stdout, "");

    alice.run("mkdir -p /run/docker/plugins && touch /run/docker/plugins/mine /var/lib/mine /etc/mine").await.success();
    bob.run("ls /run/docker/plugins/mine || ls /var/lib/mine || ls /etc/mine")
        .await
        .failure();
    assert!(alice.path("/etc/mine").exists());
    assert!(!Path::new("/etc/mine").exists());

    let from_bob = format!(
        "docker run --rm --network host redis:7 redis-cli -h {} -p 7000 ping",
        alice.address()
    );
    assert_eq!(bob.run(&from_bob).await.success().stdout, "PONG\n");

    // Machines and their containers can reach a server of the test on the host.
    let listener = TcpListener::bind((network.host_address(), 0)).await?;
    let port = listener.local_addr()?.port();
    let serve = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            connection.write_all(b"hello\n").await?;
        }
        std::io::Result::Ok(())
    });
    let listen = format!(
        "exec 3<>/dev/tcp/{}/{port} && cat <&3",
        network.host_address()
    );
    let outside = bob.command("bash").args(["-c", &listen]).output().await?;
    assert_eq!(outside.stdout, b"hello\n");
    let inside = format!("docker run --rm debian:bookworm-slim bash -c '{listen}'");
    assert_eq!(bob.run(&inside).await.success().stdout, "hello\n");
    serve.abort();
    Ok(())
}

#[tokio::test]
async fn docker_is_stopped_killed_and_started() -> anyhow::Result<()> {
    let machine = Machine::start("alice").await?;
    machine
        .run("docker run -d --restart always -p 7000:6379 redis:7")
        .await
        .success();
    redis_answers(&machine, 7000).await?;

    machine.stop_docker().await?;
    machine.run("docker ps").await.failure();
    machine.start_docker().await?;
    redis_answers(&machine, 7000).await?;

    machine.kill9_docker().await?;
    machine.run("docker ps").await.failure();
    machine.start_docker().await?;
    redis_answers(&machine, 7000).await
}

#[tokio::test]
async fn daemons_end_as_told() -> anyhow::Result<()> {
    let machine = Machine::start("alice").await?;
    let mut daemon = machine
        .spawn_daemon("redis-server", &["--unixsocket", "/run/redis.sock"])
        .await?;
    daemon.wait_for_socket("/run/redis.sock").await?;
    daemon.kill9().await?;
    assert!(!daemon.is_running());
    daemon.start_again().await?;
    daemon.wait_for_socket("/run/redis.sock").await?;
    daemon.restart().await?;
    daemon.wait_for_socket("/run/redis.sock").await?;
    assert!(
        daemon.log().contains("User requested shutdown"),
        "{}",
        daemon.log()
    );
    daemon.terminate().await?;

    let mut fails = machine.spawn_daemon("false", &[]).await?;
    let error = fails
        .wait_for_socket("/run/none")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("false on alice has ended"), "{error}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left() -> anyhow::Result<()> {
    let machine = Machine::start("alice").await?;
    machine.run("docker run -d redis:7").await.success();
    let pool = "cd /var/lib/dotmesh && truncate -s 200M disk && mkfs.btrfs -q disk >&2 && mkdir pool \
        && losetup --find --show disk && mount $(losetup --noheadings --output NAME --associated disk) pool";
    let device = machine
        .run(pool)
        .await
        .success()
        .stdout
        .trim_end()
        .to_owned();
    let loops = || -> anyhow::Result<String> {
        let output = Command::new("losetup")
            .args(["--list", "--noheadings", "--output", "NAME"])
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    anyhow::ensure!(
        loops()?.lines().any(|name| name == device),
        "{device} is there"
    );
    let home = machine.home();
    let folder = home.parent().unwrap().to_owned();
    let root = machine.path("/");
    assert!(folder.exists() && root.exists());
    let began = Instant::now();
    drop(machine);
    assert!(began.elapsed() < SOON);
    assert!(!folder.exists() && !root.exists());
    wait_for("the disk image to be let go", SOON, async || {
        let loops = loops()?;
        anyhow::ensure!(!loops.lines().any(|name| name == device), "{loops}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_condition_that_never_comes_is_described() {
    let waited = wait_for(
        "rain",
        Duration::from_millis(50),
        async || -> anyhow::Result<()> { anyhow::bail!("a blue sky") },
    );
    let error = waited.await.unwrap_err().to_string();
    assert!(
        error.contains("rain") && error.contains("a blue sky"),
        "{error}"
    );
}

/// The seconds that a machine needs to connect to the host, and to get all of an answer from it.
async fn get(machine: &Machine, port: u16) -> anyhow::Result<(f64, f64)> {
    let host = machine.network().host_address();
    let line = format!(
        "curl -fsS -o /dev/null -w '%{{time_connect}} %{{time_total}}' http://{host}:{port}/"
    );
    let printed = machine.run(&line).await.success().stdout;
    let (connect, total) = printed.split_once(' ').unwrap_or_default();
    Ok((connect.parse()?, total.parse()?))
}

#[tokio::test]
async fn a_cable_delays_packets_and_limits_their_rate() -> anyhow::Result<()> {
    const LENGTH: usize = 2_000_000;
    let network = Network::start().await?;
    let slow = Link {
        rate: 40_000_000,
        round_trip: Duration::from_millis(100),
    };
    let machine = network.distant_machine("far", slow).await?;
    let listener = TcpListener::bind((network.host_address(), 0)).await?;
    let port = listener.local_addr()?.port();
    let serve = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = connection.read(&mut request).await?;
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            connection.write_all(head.as_bytes()).await?;
            connection.write_all(&vec![7; LENGTH]).await?;
        }
        std::io::Result::Ok(())
    });
    // The first connection also asks for the host's address.
    get(&machine, port).await?;
    let (connect, total) = get(&machine, port).await?;
    assert!(connect >= 0.1, "connected in {connect} s");
    // 0.4 s for the bytes at that rate, and a round trip for the request.
    assert!(total - connect >= 0.5, "got all in {total} s");

    let fast = Link {
        rate: 1_000_000_000,
        round_trip: Duration::ZERO,
    };
    machine.set_link(fast)?;
    let mut fastest = f64::MAX;
    for _ in 0..5 {
        let (connect, _) = get(&machine, port).await?;
        fastest = fastest.min(connect);
    }
    assert!(fastest < 0.1, "connected in {fastest} s");
    serve.abort();

    let near = network.machine_without_docker("near").await?;
    assert!(near.set_link(fast).is_err());
    Ok(())
}
