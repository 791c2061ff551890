//! User errors and failures of the environment. Each message says what happened and what to do next.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Hub, Node, SOON};

impl Node {
    /// Asserts a line's exit code, and that its error message contains some parts.
    async fn refuses(&self, line: &str, code: i32, parts: &[&str]) {
        let output = self.run(line).await;
        assert_eq!(output.status.code(), Some(code), "{output}");
        for part in parts {
            assert!(output.stderr.contains(part), "no {part:?}: {output}");
        }
        assert!(!output.stderr.contains("panicked"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remotes_are_tried_out_before_they_are_kept() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let node = Node::start(&network, "alice").await?;
    let key = hub.add_user("alice").await?;
    let other = hub.add_user("bob").await?;
    let url = hub.url.clone();
    let add = format!("dm remote add hub alice@{url}");
    let denied = ["Permission denied", "hint:"];
    node.refuses(&format!("echo wrong | {add}"), 1, &denied)
        .await;
    node.refuses(&format!("DOTMESH_PASSWORD=wrong {add}"), 1, &denied)
        .await;
    node.refuses(&format!("echo {other} | {add}"), 1, &denied)
        .await;
    node.refuses(&format!("echo | {add}"), 2, &["no API key was given"])
        .await;
    node.refuses(&format!("{add} </dev/null"), 2, &["no API key was given"])
        .await;
    node.refuses(
        &format!("echo {key} | dm remote add hub nobody@{url}"),
        1,
        &[],
    )
    .await;
    node.refuses(
        &format!("echo {key} | dm remote add hub {url}"),
        2,
        &["USER@HOST"],
    )
    .await;
    node.refuses(
        &format!("echo {key} | dm remote add a/b alice@{url}"),
        2,
        &["a/b"],
    )
    .await;
    node.refuses(
        "echo k | dm remote add hub alice@localhost:http",
        2,
        &["port"],
    )
    .await;
    node.refuses("echo k | dm remote add hub alice@ftp://localhost", 2, &[])
        .await;
    node.refuses(
        "echo k | dm remote add hub alice@localhost:1",
        3,
        &["cannot reach", "hint:"],
    )
    .await;
    node.refuses(
        "echo k | dm remote add hub alice@no-such-host.invalid",
        3,
        &["cannot reach"],
    )
    .await;
    assert_eq!(node.ok("dm remote").await, "");

    // These servers are no hubs.
    let _web = node
        .machine
        .spawn_daemon("python3", &["-m", "http.server", "9000"])
        .await?;
    node.ok("docker run -d --init --network host --name redis redis:7 redis-server --port 9001 --protected-mode no")
        .await;
    wait_for("both to listen", SOON, async || {
        let line =
            "curl -fsS -o /dev/null localhost:9000 && docker exec redis redis-cli -p 9001 ping";
        let output = node.run(line).await;
        ensure!(output.status.success(), "{output}");
        Ok(())
    })
    .await?;
    node.refuses(
        "echo k | dm remote add hub alice@localhost:9000",
        3,
        &["is not a Dotmesh hub"],
    )
    .await;
    node.refuses(
        "echo k | dm remote add hub alice@localhost:9001",
        3,
        &["localhost:9001", "hint:"],
    )
    .await;
    // Without a scheme, `dm` tries TLS.
    let host = url.trim_start_matches("http://");
    node.refuses(
        &format!("echo {key} | dm remote add hub alice@{host}"),
        3,
        &["http://"],
    )
    .await;
    assert_eq!(node.ok("dm remote").await, "");

    node.ok(&format!("DOTMESH_PASSWORD={key} {add}")).await;
    assert_eq!(
        node.ok("dm remote -v").await,
        format!("* hub\talice@{url}\n")
    );
    node.refuses(
        &format!("echo {key} | {add}"),
        1,
        &["there is already a remote 'hub'"],
    )
    .await;
    node.ok(&format!(
        "echo '  {key}' | dm remote add second alice@{url}"
    ))
    .await;
    node.refuses("dm remote rm gone", 1, &["No such remote 'gone'"])
        .await;
    node.refuses("dm remote switch gone", 1, &["No such remote 'gone'"])
        .await;
    let config = node
        .ok("stat -c %a ~/.config/dotmesh/config; grep -c . ~/.config/dotmesh/config")
        .await;
    assert!(config.starts_with("600\n"), "{config}");
    let shown = node
        .ok("dm remote -v; dm --verbose remote -v 2>&1; dm --verbose list 2>&1")
        .await;
    assert!(!shown.contains(&key), "{shown}");

    // The hub has none of these.
    node.in_volume("app", "touch /v/file").await;
    node.refuses("dm push hub", 1, &["no commits to push", "dm commit"])
        .await;
    node.ok("dm commit -m one").await;
    node.refuses("dm push gone", 1, &["No such remote 'gone'"])
        .await;
    node.refuses("dm push hub gone", 1, &["No such dot 'gone'"])
        .await;
    node.refuses("dm push hub app gone", 1, &["Branch does not exist: gone"])
        .await;
    node.refuses("dm pull hub", 1, &["has no dot alice/app"])
        .await;
    node.refuses("dm clone hub gone", 1, &["has no dot alice/gone"])
        .await;
    node.refuses("dm clone hub", 2, &["Please specify which dot to clone"])
        .await;
    node.ok("dm push hub").await;
    node.refuses("dm pull hub app gone", 1, &["has no branch gone"])
        .await;
    node.refuses(
        "dm clone hub app gone --local-name copy",
        1,
        &["has no branch gone"],
    )
    .await;
    for name in ["a/b/c", "a@b..c", "a@", "'a b'", "../x", "@", "a."] {
        node.refuses(&format!("dm push hub --remote-name {name}"), 2, &[])
            .await;
        node.refuses(&format!("dm clone hub {name}"), 2, &[]).await;
        node.refuses(&format!("dm clone hub app --local-name {name}"), 2, &[])
            .await;
    }
    assert_eq!(node.dots().await, ["app"]);

    // Now the hub is gone.
    drop(hub);
    wait_for("the hub to be gone", SOON, async || {
        let output = node.run(&format!("curl -s {url}/api/v1/version")).await;
        ensure!(!output.status.success(), "{output}");
        Ok(())
    })
    .await?;
    for line in ["dm push hub", "dm pull hub", "dm clone hub other"] {
        node.refuses(line, 3, &["cannot reach", host]).await;
    }
    node.ok("dm commit -m 'goes on' && dm list").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_told_from_failure() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    for line in [
        "dm",
        "dm frobnicate",
        "dm list extra",
        "dm list --nope",
        "dm switch",
        "dm init",
        "dm commit",
        "dm commit -m",
        "dm checkout",
        "dm checkout --clean x",
        "dm checkout a b",
        "dm reset",
        "dm dot delete",
        "dm dot delete -f",
        "dm push hub app b --all",
        "dm remote add",
        "dm mount",
    ] {
        let output = node.run(line).await;
        assert_eq!(output.status.code(), Some(2), "{output}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{output}"
        );
    }
    let long = "x".repeat(65);
    for name in [
        "a/b/c", "..", "a/..", ".", "''", "a.b", "a@b", "-x", "'a b'", "a$", "ä", &long,
    ] {
        for command in ["dm init --", "dm switch --", "dm dot delete -f --"] {
            let output = node.run(&format!("{command} {name}")).await;
            assert_eq!(output.status.code(), Some(2), "{output}");
        }
    }
    let long = "x".repeat(201);
    for branch in [
        "a//b", "..", "a/..", ".", "''", "a.", "@", "a@{1}", "-x", "'a b'", "a~1", "a.lock", &long,
    ] {
        let output = node.run(&format!("dm checkout -b -- {branch}")).await;
        assert_eq!(output.status.code(), Some(2), "{output}");
    }
    assert_eq!(node.dots().await, [""; 0]);
    node.refuses(
        "dm commit -m x",
        1,
        &["No current dot is selected", "hint:"],
    )
    .await;
    node.refuses("dm switch gone", 1, &["gone", "dm list"])
        .await;
    node.refuses("dm dot show gone", 1, &["No such dot 'gone'"])
        .await;
    let longest = "x".repeat(64);
    let elsewhere = format!("dm init {longest}/{longest}");
    node.refuses(&elsewhere, 1, &["namespace admin only", "dm clone"])
        .await;
    node.ok(&format!("dm init {longest} && dm init app")).await;
    node.refuses("dm init app", 1, &["app exists already"])
        .await;
    node.refuses("dm reset HEAD^^", 1, &["Commits don't go back that far"])
        .await;
    node.refuses("dm reset ''", 1, &["does not name a commit"])
        .await;
    node.refuses("dm log gone", 1, &["No commits match gone", "dm log --all"])
        .await;
    node.refuses("dm tag 'a b'", 2, &["invalid tag name 'a b'"])
        .await;
    node.refuses("dm cp HEAD /tmp/x", 1, &["dm cp HEAD:SUBDOT/PATH"])
        .await;
    let closed = "dm clone http://127.0.0.1:1/alice/app";
    node.refuses(closed, 3, &["127.0.0.1:1: tcp", "that the hub runs"])
        .await;
    node.refuses("dm mount gone /tmp/m", 1, &["gone", "--create"])
        .await;
    for line in [
        "dm --help",
        "dm help commit",
        "dm commit --help",
        "dm --version",
        "dm version",
    ] {
        let shown = node.ok(line).await;
        assert!(!shown.is_empty(), "{line}");
    }

    // Now the configuration is damaged.
    node.ok("cp ~/.config/dotmesh/config ~/config && echo '{' >~/.config/dotmesh/config")
        .await;
    node.refuses("dm commit -m x", 1, &["dotmesh/config"]).await;
    node.ok("mv ~/config ~/.config/dotmesh/config").await;

    // Now the node is stopped.
    node.daemon.terminate().await?;
    for line in [
        "dm list",
        "dm commit -m x",
        "dm checkout -b x",
        "dm init x",
        "dm dot delete -f app",
    ] {
        node.refuses(line, 3, &["dm cluster init", "hint:"]).await;
    }
    let refused = node.fails("docker volume create -d dm new").await;
    assert!(refused.contains("dm"), "{refused}");
    node.refuses("DOTMESH_SOCKET=/dev/null dm list", 3, &["/dev/null"])
        .await;
    node.daemon.start_again().await?;
    node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    node.ok("dm list").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_says_so_and_loses_nothing() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let arguments = ["--pool-limit", "256M"];
    let node = Node::start_with(&network, "alice", &arguments).await?;
    hub.log_in(&node, "alice").await?;
    node.in_volume("big", "head -c 40M /dev/urandom >/v/big")
        .await;
    node.ok("dm switch big && dm commit -m big && dm push hub && dm dot delete -f big")
        .await;

    node.in_volume("spare", "head -c 60M /dev/urandom >/v/file")
        .await;
    node.keep_running("app", "app").await;
    node.ok("docker exec app sh -c 'head -c 5M /dev/urandom >/v/precious && echo 1 >/v/n'")
        .await;
    node.ok("dm switch app && dm commit -m good && dm checkout -b other && dm checkout master")
        .await;
    let sum = "docker exec app sha256sum /v/precious";
    let precious = node.ok(sum).await;
    let full = "for n in $(seq 2000); do head -c 1M /dev/urandom >/v/fill-$n || exit 1; done";
    let written = node.fails(&format!("docker exec app sh -c '{full}'")).await;
    assert!(written.contains("No space left on device"), "{written}");
    let tiny = "for n in $(seq 100000); do echo $n >/v/tiny-$n || exit 1; done";
    node.fails(&format!("docker exec app sh -c '{tiny}'")).await;

    // If the disk is full, each command either succeeds completely or says why it fails.
    for line in [
        "dm commit -m full",
        "dm checkout -b new",
        "dm checkout -b copy HEAD",
        "dm init another",
        "dm clone hub big",
        "docker volume create -d dm created",
        "docker run --rm -v app.new-subdot:/v --volume-driver dm debian:bookworm-slim true",
    ] {
        let output = node.run(line).await;
        assert!(
            output.status.success()
                || output.stderr.contains("full")
                || output.stderr.contains("No space left on device"),
            "{output}"
        );
    }
    node.refuses(
        "dm clone hub big --local-name big2",
        1,
        &["the pool is full", "dm dot delete"],
    )
    .await;
    assert!(!node.dots().await.contains(&"big2".to_owned()));
    assert_eq!(node.ok(sum).await, precious);
    node.ok("dm list && dm log && dm branch && dm dot show")
        .await;

    node.ok("dm dot delete -f spare").await;
    wait_for("the space to come back", SOON, async || {
        let output = node
            .run("docker exec app sh -c 'head -c 20M /dev/urandom >/v/more'")
            .await;
        ensure!(output.status.success(), "{output}");
        Ok(())
    })
    .await?;
    node.ok("docker exec app sh -c 'rm -f /v/fill-* /v/more; find /v -name \"tiny-*\" -delete'")
        .await;
    node.ok("dm commit -m 'room again' && dm checkout other")
        .await;
    assert_eq!(node.ok(sum).await, precious);
    node.ok("dm checkout master && dm reset --hard HEAD").await;
    assert_eq!(node.ok(sum).await, precious);
    assert_eq!(node.ok("docker exec app cat /v/n").await, "1\n");
    let log = node.ok("dm log --oneline").await;
    assert!(log.contains("room again") && log.contains("good"), "{log}");
    node.ok("dm push hub").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_only_the_shell_knows_is_told_with_the_remedy() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let key = hub.add_user("alice").await?;
    // The hub also answers requests in the form for proxies, for any host name. `hub.invalid` resolves nowhere else.
    let (proxy, variable) = (hub.url.clone(), format!("HTTP_PROXY={}", hub.url));
    let add = format!("echo {key} | {variable} dm remote add hub alice@http://hub.invalid");
    let commit = "dm init app && dm commit -m one";

    let with = Node::start_with(&network, "with", &["--http-proxy", &proxy]).await?;
    with.ok(&format!("{add} && {commit} && dm push hub")).await;

    let without = Node::start(&network, "without").await?;
    without.ok(&add).await;
    let told = "Your shell has HTTP_PROXY, but the daemon does not";
    let remedy = "sudo tee -a /etc/dotmesh/dotmeshd.env";
    without
        .refuses(
            &format!("{variable} dm clone hub app"),
            3,
            &["cannot reach http://hub.invalid", told, remedy],
        )
        .await;
    let plain = without.fails("dm clone hub app").await;
    assert!(!plain.contains("Your shell"), "{plain}");
    Ok(())
}
