//! `dm push --rows`: the node tells the hub what is in the databases of pushed commits, after the push.

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::rows::has;
use crate::world::{Hub, Node, SOON};

/// A node with a database, and a hub.
struct World {
    hub: Hub,
    node: Node,
    key: String,
}

impl World {
    async fn start() -> Result<Self> {
        let network = Network::start().await?;
        let (hub, node) = tokio::try_join!(Hub::start(&network), Node::start(&network, "alice"))?;
        let key = hub.add_user("alice").await?;
        let add = format!("echo {key} | dm remote add hub alice@{}", hub.url);
        node.ok(&add).await;
        node.ok("docker run -d --network host --volume-driver dm --name pg -e POSTGRES_PASSWORD=secret -e POSTGRES_USER=owner \
            -v app.pg:/var/lib/postgresql/data postgres:15; \
            until docker exec pg psql -h 127.0.0.1 -U owner -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done")
            .await;
        let world = Self { hub, node, key };
        world
            .write("create table users (id int primary key, name text); insert into users values (1, $$ann$$), (2, $$bob$$)")
            .await;
        world.node.ok("dm switch app && dm commit -m two").await;
        Ok(world)
    }

    async fn write(&self, statement: &str) {
        self.node.write_to("pg", &format!("'{statement}'")).await;
    }

    async fn api(&self, arguments: &str, path: &str) -> String {
        let (url, key) = (&self.hub.url, &self.key);
        let call = format!("curl -sS -u alice:{key} {arguments} {url}/api/v1/dots/alice/app{path}");
        self.node.ok(&call).await
    }

    /// What the hub was told of a commit.
    async fn told(&self, revision: &str) -> Result<serde_json::Value> {
        let shown = self.node.ok(&format!("dm show {revision} --json")).await;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let id = shown["commit"]["id"]
            .as_str()
            .context("a commit has an id")?;
        wait_for("the hub to be told", SOON, async || {
            let answer = self
                .api(
                    "-f",
                    &format!("/commits/{id}/databases 2>/dev/null || true"),
                )
                .await;
            serde_json::from_str(&answer).context(answer)
        })
        .await
    }

    async fn tells_nothing_more(&self) -> Result<()> {
        wait_for("everything to be told", SOON, async || {
            let status = self.node.ok("dm status").await;
            ensure!(!status.contains("databases of"), "{status}");
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_tells_the_hub_what_is_in_the_databases() -> Result<()> {
    let world = World::start().await?;
    let node = &world.node;
    let page = async || {
        let address = node.ok("dm push hub --rows off 2>/dev/null").await;
        let get = format!(
            "curl -fsS -H 'Authorization: Bearer {}' {}",
            world.key,
            address.trim()
        );
        node.ok(&get).await
    };
    // Nothing is told that nobody asked for.
    let said = node.ok("dm push hub 2>&1").await;
    assert!(!said.contains("databases"), "{said}");
    assert!(!page().await.contains("users"));

    let said = node.ok("dm push hub --rows counts 2>&1").await;
    has(
        &said,
        &[
            "the databases of 1 commit",
            "row counts",
            "Whoever can read the dot",
        ],
    );
    world.told("HEAD").await?;
    has(&page().await, &["users", "name"]);

    // All commits of a push are told of, the newest one first.
    world
        .write(
            "insert into users values (3, $$fred$$); update users set name = $$bea$$ where id = 2",
        )
        .await;
    node.ok("dm commit -m three").await;
    world.write("insert into users values (4, $$eve$$)").await;
    node.ok("dm commit -m four").await;
    let said = node.ok("dm push hub --rows changes 2>&1").await;
    has(&said, &["the databases of 2 commits", "changed rows"]);
    has(&world.told("HEAD").await?.to_string(), &["eve"]);
    has(&world.told("HEAD^").await?.to_string(), &["fred", "bea"]);
    has(&page().await, &["eve"]);
    world.tells_nothing_more().await?;
    node.leaves_nothing().await?;

    // The setting of the app's folder. Rows may be personal data: on a public dot only the command itself publishes them.
    let public = "-f -X PATCH -H 'content-type: application/json' -d '{\"visibility\":\"public\"}'";
    world.api(public, "/settings").await;
    world
        .write("insert into users values (5, $$mallory$$)")
        .await;
    let said = node
        .ok("mkdir shop && cd shop && echo 'services: {}' >compose.yaml && echo 'rows = \"changes\"' >dotmesh.toml && \
            dm commit -m five && dm push hub 2>&1")
        .await;
    has(&said, &["public, so no changed rows are sent"]);
    assert!(!world.told("HEAD").await?.to_string().contains("mallory"));
    world.write("insert into users values (6, $$trudy$$)").await;
    let said = node
        .ok("cd shop && dm commit -m six && dm push hub --rows changes 2>&1")
        .await;
    assert!(!said.contains("no changed rows"), "{said}");
    has(&world.told("HEAD").await?.to_string(), &["trudy"]);
    node.leaves_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_tells_the_rest_and_gives_up_in_the_end() -> Result<()> {
    let mut world = World::start().await?;
    for n in 3..=5 {
        world
            .write(&format!("insert into users values ({n}, $$x{n}$$)"))
            .await;
        world.node.ok(&format!("dm commit -m {n}")).await;
    }
    world.node.ok("dm push hub --rows changes").await;
    let running = "docker ps -q --filter label=io.dotmesh.rows | wc -l";
    wait_for("a database to be read", SOON, async || {
        let count = world.node.ok(running).await;
        ensure!(count != "0\n");
        Ok(())
    })
    .await?;
    let daemon = &mut world.node.daemon;
    daemon.kill9().await?;
    daemon.start_again().await?;
    daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    for (revision, row) in [("HEAD", "x5"), ("HEAD^", "x4"), ("HEAD~2", "x3")] {
        has(&world.told(revision).await?.to_string(), &[row]);
    }
    world.tells_nothing_more().await?;
    world.node.leaves_nothing().await?;

    // The dot is gone before the hub is told.
    world.write("insert into users values (6, $$x6$$)").await;
    world.node.ok("dm commit -m 6").await;
    world.node.ok("dm push hub --rows counts").await;
    world.node.daemon.kill9().await?;
    world.api("-f -X DELETE", "").await;
    let daemon = &mut world.node.daemon;
    daemon.start_again().await?;
    daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    wait_for("the node to give up", SOON, async || {
        let status = world.node.ok("dm status").await;
        ensure!(status.contains("Gave up to tell"), "{status}");
        Ok(())
    })
    .await?;
    world.node.leaves_nothing().await
}
