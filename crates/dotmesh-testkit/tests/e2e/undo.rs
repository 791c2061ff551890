//! Undo and redo of each kind of operation, as containers and `dm` show them.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::{Hub, Node};

/// A node that keeps what operations replaced, with the container `user` on the dot `app`.
async fn start(network: &Network) -> Result<Node> {
    let arguments = ["--undo-time", "7d", "--undo-space", "1GiB"];
    let node = Node::start_with(network, "alice", &arguments).await?;
    node.keep_running("user", "app.db").await;
    Ok(node)
}

impl Node {
    /// Writes a file of the dot in the container that uses it.
    async fn put(&self, text: &str) {
        self.ok(&format!(
            "docker exec user sh -c 'echo {text} >/v/file; sync -f /v'"
        ))
        .await;
    }

    /// What the container sees.
    async fn sees(&self) -> String {
        let seen = self.ok("docker exec user cat /v/file").await;
        seen.trim().to_owned()
    }

    /// The newest commit of the current branch.
    async fn at(&self) -> String {
        let log = self.ok("dm log --oneline").await;
        log.split(' ').next().unwrap_or_default().to_owned()
    }

    async fn dirty(&self) -> u64 {
        self.number("app", 7).await.expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_operation_is_taken_back_and_made_again() -> Result<()> {
    let network = Network::start().await?;
    let mut node = start(&network).await?;
    node.says_no("dm undo", &["nothing to undo in dot app", "dm op log"])
        .await;

    // A commit: the container does not notice.
    node.put("one").await;
    node.ok("dm commit -m one").await;
    let one = node.at().await;
    node.put("two").await;
    node.ok("dm commit -m two").await;
    let two = node.at().await;
    assert_eq!(node.dirty().await, 0);
    let started = node.started_at(&["user"]).await;
    let told = node.says("dm undo").await;
    assert!(
        told.contains(&format!(
            "Undid in dot 'app': commit {two} on branch master: two"
        )) && told.contains(&format!("Branch master is checked out, at {one}")),
        "{told}"
    );
    assert_eq!(
        (node.at().await, node.sees().await),
        (one.clone(), "two".into())
    );
    assert!(node.dirty().await > 0);
    let told = node.says("dm redo").await;
    assert!(told.contains("Redid in dot 'app': commit"), "{told}");
    assert_eq!((node.at().await, node.dirty().await), (two.clone(), 0));
    assert_eq!(node.started_at(&["user"]).await, started);

    // A reset: what was not committed comes back.
    node.put("not-committed").await;
    node.ok("dm reset --hard HEAD^").await;
    assert_eq!(node.sees().await, "one");
    node.put("after-the-reset").await;
    let told = node.says("dm undo").await;
    assert!(told.contains("Restarted containers: user"), "{told}");
    assert_eq!(
        (node.at().await, node.sees().await),
        (two.clone(), "not-committed".into())
    );
    node.ok("dm redo").await;
    assert_eq!(
        (node.at().await, node.sees().await),
        (one.clone(), "after-the-reset".into())
    );
    node.ok("dm undo").await;

    // A daemon that is killed forgets nothing.
    let log = node.ok("dm op log").await;
    assert!(
        log.contains("undone") && log.contains("reset of branch master"),
        "{log}"
    );
    assert!(log.contains("Kept for 7 days, at most 1.00 GiB"), "{log}");
    node.daemon.kill9().await?;
    node.daemon.start_again().await?;
    node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    assert_eq!(node.ok("dm op log").await, log);
    node.ok("dm redo && dm undo").await;
    assert_eq!(node.sees().await, "not-committed");

    // A new branch: it goes and comes with what is on it.
    node.ok("dm checkout -b new").await;
    node.put("on-the-new-branch").await;
    node.ok("dm undo").await;
    assert_eq!(node.ok("dm branch").await, "* master\n");
    assert_eq!(node.sees().await, "not-committed");
    node.ok("dm redo").await;
    assert_eq!(node.ok("dm branch").await, "  master\n* new\n");
    assert_eq!(node.sees().await, "on-the-new-branch");
    node.ok("dm checkout master").await;
    node.ok("dm undo && dm redo").await;

    // The deletion of a branch.
    node.ok("dm branch -D new").await;
    node.ok("dm undo && dm checkout new").await;
    assert_eq!(node.sees().await, "on-the-new-branch");
    node.ok("dm undo && dm redo && dm undo").await;
    node.ok("dm branch -D new && dm undo && dm redo").await;
    assert_eq!(node.ok("dm branch").await, "* master\n");
    node.says_no("dm redo", &["nothing to redo"]).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_and_the_deletion_of_a_dot_are_taken_back_and_made_again() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let node = start(&network).await?;
    hub.log_in(&node, "alice").await?;
    node.put("one").await;
    node.ok("dm commit -m one").await;
    let one = node.at().await;
    node.put("two").await;
    node.ok("dm commit -m two && dm push hub").await;
    let two = node.at().await;
    node.ok("dm reset --hard HEAD^ && docker stop -t 0 user && dm pull hub")
        .await;
    assert_eq!(node.at().await, two);
    node.ok("docker start user && dm undo").await;
    assert_eq!((node.at().await, node.sees().await), (one, "one".into()));
    node.ok("dm redo").await;
    assert_eq!(
        (node.at().await, node.sees().await),
        (two.clone(), "two".into())
    );

    node.put("not-committed").await;
    let upstream = node.ok("dm dot show -H").await;
    let volumes = node.ok("docker volume ls -q").await;
    node.ok("docker rm -f user").await;
    let told = node.says("dm dot delete -f app").await;
    assert!(told.contains("dm undo --dot app"), "{told}");
    assert_eq!(node.dots().await, [""; 0]);
    let log = node.ok("dm op log --dot app").await;
    assert!(
        log.contains("Dot app is deleted.") && log.contains("deletion of the dot"),
        "{log}"
    );
    let told = node.says("dm undo --dot app").await;
    assert!(
        told.contains("Undid in dot 'app': deletion of the dot"),
        "{told}"
    );
    // It is current again, belongs to the same dot of the hub, and Docker knows its volumes.
    assert_eq!(node.at().await, two);
    let used = |show: &str| {
        let mut lines: Vec<String> = show.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("container"));
        lines
    };
    let now = node.ok("dm dot show -H").await;
    assert_eq!(used(&now), used(&upstream));
    assert_eq!(node.ok("docker volume ls -q").await, volumes);
    node.keep_running("user", "app.db").await;
    assert_eq!(node.sees().await, "not-committed");
    node.says_no("dm redo", &["containers are using dot app: user"])
        .await;
    node.ok("docker rm -f user && dm redo").await;
    assert_eq!(node.dots().await, [""; 0]);

    // Another dot takes the name.
    let id = node.ok("dm op log --dot app").await;
    let id = id
        .lines()
        .skip_while(|line| !line.starts_with("DELETED DOT"));
    let id = id
        .skip(1)
        .find_map(|line| line.split(' ').next())
        .unwrap_or_default();
    node.ok("dm init app").await;
    let hint = format!("dm undo --dot app --deleted {id}");
    node.says_no(
        "dm undo --dot app",
        &["another dot has the name app now", &hint],
    )
    .await;
    node.ok("dm dot delete -f app").await;
    node.ok(&hint).await;
    node.keep_running("user", "app.db").await;
    assert_eq!(node.sees().await, "not-committed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_tags_stashes_and_renames_are_taken_back_and_made_again() -> Result<()> {
    let node = start(&Network::start().await?).await?;
    node.put("one").await;
    node.ok("dm commit -m one && dm tag v1").await;
    node.put("two").await;
    node.ok("dm restore db/file").await;
    assert_eq!(node.sees().await, "one");
    node.put("three").await;
    node.ok("dm undo").await;
    assert_eq!(node.sees().await, "two");
    node.ok("dm redo").await;
    assert_eq!(node.sees().await, "three");

    node.ok("dm tag -d v1 && dm undo").await;
    assert_eq!(node.ok("dm tag").await, "v1\n");
    node.ok("dm stash && dm stash drop && dm undo && dm stash pop")
        .await;
    assert_eq!(node.sees().await, "three");
    node.ok("dm undo && dm stash list | grep -q stash@ && dm redo")
        .await;
    assert_eq!(node.sees().await, "three");

    let started = node.started_at(&["user"]).await;
    node.ok("dm branch -m master main && dm undo").await;
    assert_eq!(node.ok("dm branch").await, "* master\n");
    assert_eq!(node.started_at(&["user"]).await, started);
    let volumes = node.ok("docker volume ls -q").await;
    node.ok("dm redo && docker rm -f user && dm dot rename app shop")
        .await;
    let told = node.says("dm undo").await;
    assert!(
        told.contains("Undid in dot 'app': rename of the dot from app to shop"),
        "{told}"
    );
    assert_eq!(node.dots().await, ["app"]);
    assert_eq!(node.ok("docker volume ls -q").await, volumes);
    node.ok("dm redo").await;
    assert_eq!(node.dots().await, ["shop"]);
    assert_eq!(node.ok("dm branch").await, "* main\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_gets_full_takes_what_is_kept_the_oldest_first() -> Result<()> {
    let network = Network::start().await?;
    let arguments = [
        "--undo-time",
        "7d",
        "--undo-space",
        "10G",
        "--pool-limit",
        "1G",
    ];
    let node = Node::start_with(&network, "alice", &arguments).await?;
    node.keep_running("user", "app.db").await;
    let fill = |file: &str, mebibytes: u32| {
        format!(
            "docker exec user sh -c 'dd if=/dev/urandom of=/v/{file} bs=1M count={mebibytes} conv=fsync'"
        )
    };
    node.ok(&fill("old", 500)).await;
    node.ok("dm reset --hard HEAD").await;
    node.put("small").await;
    node.ok("dm reset --hard HEAD").await;
    let log = node.ok("dm op log").await;
    assert!(log.contains("500.") && log.contains("MiB"), "{log}");

    // Whoever writes has room again, and what is small can still be had back.
    let line = format!("until {}; do sleep 0.2; done; echo done", fill("new", 600));
    node.until_prints(&line, "done\n").await?;
    node.ok("dm undo").await;
    assert_eq!(node.sees().await, "small");
    node.says_no("dm undo", &["nothing to undo"]).await;
    node.ok("dm redo && docker exec user test -e /v/new").await;
    Ok(())
}
