//! What real databases write by themselves is no change, and what people write is.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

/// A server of each kind, with the subdot of its name.
const SERVERS: &str = "
    run='docker run -d --network host --volume-driver dm'
    $run --name log -v app.log:/data redis:7 redis-server --appendonly yes --appendfsync always --port 6401
    $run --name dump -v app.dump:/data redis:7 redis-server --port 6402
    $run --name pg -e POSTGRES_PASSWORD=secret -v app.pg:/var/lib/postgresql/data postgres:15
    $run --name sql -e MARIADB_ROOT_PASSWORD=secret -e MARIADB_DATABASE=shop -v app.sql:/var/lib/mysql mariadb:10.11
";

/// How each of them is asked.
const ASK: [(&str, &str); 4] = [
    ("log", "redis-cli -p 6401"),
    ("dump", "redis-cli -p 6402"),
    (
        "pg",
        "psql -h 127.0.0.1 -U postgres -v ON_ERROR_STOP=1 -qtA -c",
    ),
    (
        "sql",
        "mariadb -psecret --batch --skip-column-names shop -e",
    ),
];

impl Node {
    async fn ask(&self, server: &str, what: &str) -> String {
        let program = ASK.iter().find(|(name, _)| *name == server);
        let (_, program) = program.expect("a server");
        let line = format!("docker exec {server} {program} {what}");
        self.ok(&line).await.trim().to_owned()
    }

    async fn all_answer(&self) -> Result<()> {
        for (server, _) in ASK {
            self.answers(server).await?;
        }
        Ok(())
    }

    async fn answers(&self, server: &str) -> Result<()> {
        let program = ASK.iter().find(|(name, _)| *name == server);
        let (_, program) = program.expect("a server");
        let ping = match program.starts_with("redis") {
            true => "ping",
            false => "'select 1'",
        };
        let line = format!(
            "until docker exec {server} {program} {ping} >/dev/null 2>&1; do sleep 0.2; done; echo up"
        );
        self.until_prints(&line, "up\n").await
    }

    /// Counts a visit in each of them, and writes it to disk.
    async fn visit(&self, number: u32) {
        self.ask("log", &format!("set visits {number}")).await;
        self.ask("dump", &format!("set visits {number}")).await;
        self.ask("dump", "save").await;
        let insert = format!("'insert into visits values ({number})'");
        self.ask("pg", &insert).await;
        self.ask("sql", &insert).await;
    }

    async fn visits(&self) -> [String; 4] {
        let count = "'select max(number) from visits'";
        [
            self.ask("log", "get visits").await,
            self.ask("dump", "get visits").await,
            self.ask("pg", count).await,
            self.ask("sql", count).await,
        ]
    }

    async fn there_and_back(&self) -> Result<()> {
        self.ok("dm checkout other && dm checkout master").await;
        self.all_answer().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stash_comes_back_after_a_checkout_there_and_back() -> Result<()> {
    let arguments = ["--undo-time", "7d", "--undo-space", "2GiB"];
    let node = Node::start_with(&Network::start().await?, "alice", &arguments).await?;
    node.ok(SERVERS).await;
    node.all_answer().await?;
    for server in ["pg", "sql"] {
        node.ask(server, "'create table visits (number integer)'")
            .await;
    }
    node.visit(1).await;
    node.ok("dm commit -m one && dm checkout -b other && dm checkout master")
        .await;
    node.all_answer().await?;
    node.ok("dm commit -m rested").await;

    node.visit(2).await;
    node.ok("dm stash").await;
    node.all_answer().await?;
    assert_eq!(node.visits().await, ["1"; 4].map(str::to_owned));
    node.there_and_back().await?;
    let status = node.ok("dm status").await;
    assert!(
        !status.contains("(files)") && status.contains("(database files only)"),
        "{status}"
    );
    let listed = node.ok("dm list").await;
    assert!(listed.contains("database files only"), "{listed}");
    node.ok("dm stash pop").await;
    node.all_answer().await?;
    assert_eq!(node.visits().await, ["2"; 4].map(str::to_owned));

    // What somebody wrote is not given up, in whichever of them.
    node.ok("dm stash").await;
    for (server, write) in [
        ("log", "set visits 3"),
        ("dump", "set visits 3"),
        ("pg", "'insert into visits values (3)'"),
        ("sql", "'insert into visits values (3)'"),
    ] {
        node.all_answer().await?;
        node.ask(server, write).await;
        if server == "dump" {
            node.ask(server, "save").await;
        }
        node.says_no("dm stash pop", &["uncommitted changes"]).await;
        node.all_answer().await?;
        let visits = node.visits().await;
        assert!(visits.contains(&"3".to_owned()), "{server}: {visits:?}");
        node.ok("dm reset --hard HEAD").await;
    }
    node.all_answer().await?;
    node.there_and_back().await?;
    node.ok("dm stash pop").await;
    node.all_answer().await?;
    assert_eq!(node.visits().await, ["2"; 4].map(str::to_owned));
    node.ok("dm undo && dm stash list | grep -q stash@").await;
    Ok(())
}

/// A commit of a running server has its newest rows in the log only. The next start writes them into the tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_stash_comes_back_after_restarts_of_postgres() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("docker run -d --network host --volume-driver dm --name pg -e POSTGRES_PASSWORD=secret -v app.pg:/var/lib/postgresql/data postgres:15")
        .await;
    node.answers("pg").await?;
    node.ask("pg", "'create table visits (number integer)'")
        .await;
    node.ask(
        "pg",
        "'insert into visits select 1 from generate_series(1, 1000)'",
    )
    .await;
    node.ok("dm commit -m one").await;
    node.ask("pg", "'insert into visits values (2)'").await;
    node.ok("dm stash").await;
    for _ in 0..2 {
        node.ok("docker restart pg").await;
        node.answers("pg").await?;
    }
    // As autovacuum does, and a checkpoint after some time.
    node.ask("pg", "'vacuum (freeze, analyze)'").await;
    node.ask("pg", "checkpoint").await;
    let status = node.ok("dm status").await;
    assert!(status.contains("(database files only)"), "{status}");
    node.ok("dm stash pop").await;
    node.answers("pg").await?;
    let newest = "'select max(number) from visits'";
    assert_eq!(node.ask("pg", newest).await, "2");

    // What somebody wrote is not given up, also after a restart.
    node.ok("dm stash").await;
    node.answers("pg").await?;
    node.ask("pg", "'insert into visits values (3)'").await;
    node.ok("docker restart pg").await;
    node.answers("pg").await?;
    node.says_no("dm stash pop", &["uncommitted changes"]).await;
    assert_eq!(node.ask("pg", newest).await, "3");
    Ok(())
}
