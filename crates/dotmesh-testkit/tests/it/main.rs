//! The machines themselves, tried out: containers, networks, the end of things.

use std::time::{Duration, Instant};

use dotmesh_testkit::{Machine, Network, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(30);

/// Sends `request` over TCP and returns the answer.
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
    assert!(!std::path::Path::new("/etc/mine").exists());

    let from_bob = format!(
        "docker run --rm --network host redis:7 redis-cli -h {} -p 7000 ping",
        alice.address()
    );
    assert_eq!(bob.run(&from_bob).await.success().stdout, "PONG\n");

    // What the test serves on the host is reached by machines and by their containers.
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
    machine
        .run("truncate -s 200M /var/lib/dotmesh/disk && mkfs.btrfs -q /var/lib/dotmesh/disk")
        .await
        .success();
    machine.run("mkdir /var/lib/dotmesh/pool && mount -o loop /var/lib/dotmesh/disk /var/lib/dotmesh/pool").await.success();
    let home = machine.home();
    let folder = home.parent().unwrap().to_owned();
    let root = machine.path("/");
    assert!(folder.exists() && root.exists());
    let began = Instant::now();
    drop(machine);
    assert!(began.elapsed() < SOON);
    assert!(!folder.exists() && !root.exists());
    Ok(())
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
