//! `dm rows`, `dm sql` and `dm diff --rows` on real databases: the states of the tutorial, a database of each kind, and
//! databases that somebody has crafted.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

impl Node {
    /// Asserts that nothing is left of throwaway containers. They are removed in the background.
    pub(crate) async fn leaves_nothing(&self) -> Result<()> {
        wait_for("throwaway containers to be removed", SOON, async || {
            let left = "docker ps -aq --filter label=io.dotmesh.rows; docker volume ls -q --filter label=io.dotmesh.rows";
            let left = self.ok(left).await;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
        .await
    }

    async fn begin_state(&self, branch: &str) -> Result<()> {
        self.ok(&format!("dm checkout master && dm checkout -b {branch}"))
            .await;
        self.app_ready().await
    }
}

pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_the_tutorial_are_told_by_rows() -> Result<()> {
    let arguments = ["--undo-time", "7d", "--undo-space", "2GiB"];
    let node = Node::start_with(&Network::start().await?, "alice", &arguments).await?;
    node.app_up().await?;
    node.ok("dm switch mobycounter_app && dm commit -m 'Empty state'")
        .await;
    node.begin_state("many-users").await?;
    for n in 1..=11 {
        node.log_in(&format!("user{n}")).await;
    }
    node.ok("dm commit -m users").await;
    node.begin_state("bug-bug").await?;
    for n in 1..=5 {
        node.click(n * 10, n * 10).await;
    }
    node.ok("dm commit -m clicks").await;
    node.begin_state("aspect-ratios").await?;
    let fred = node.log_in("fred").await;
    node.upload(&fred, "samples/eiffel-tower.png").await;
    node.click(200, 200).await;
    node.ok("dm commit -m fred").await;
    node.begin_state("security-vulnerability").await?;
    node.log_in("").await;
    node.ok("dm commit -m nobody").await;
    let log_before = node.ok("dm op log").await;

    let rows = node.ok("dm rows many-users").await;
    has(
        &rows,
        &["users-db (PostgreSQL 15)", "postgres", "users", "11"],
    );
    let users = node
        .ok("dm rows many-users users-db/postgres/users --csv")
        .await;
    assert_eq!(users.lines().count(), 12, "{users}");
    has(&users, &["user11"]);
    let diff = node.ok("dm diff --rows master many-users").await;
    has(
        &diff,
        &["users-db/postgres/users", "11 rows added", "user11"],
    );
    assert!(!diff.contains("clicks-db"), "{diff}");
    let clicks = node.ok("dm diff --rows master bug-bug").await;
    has(&clicks, &["clicks-db/0/whales", "1 key added", "50:50"]);
    let value = node.ok("dm rows bug-bug clicks-db/0/whales").await;
    has(&value, &["list", "10:10", "50:50"]);
    let fred = node.ok("dm diff --rows --stat master aspect-ratios").await;
    has(
        &fred,
        &[
            "users-db/postgres/users",
            "1 row added",
            "clicks-db/0/whales",
            "1 key added",
        ],
    );
    assert!(!fred.contains("fred"), "{fred}");
    let fred = node
        .ok("dm diff --rows master aspect-ratios -- users-db/postgres/users")
        .await;
    has(&fred, &["fred"]);
    assert!(!fred.contains("clicks-db"), "{fred}");
    let nobody = node
        .ok("dm rows security-vulnerability users-db/postgres/users --where \"username = ''\" --json")
        .await;
    let nobody: serde_json::Value = serde_json::from_str(&nobody)?;
    assert_eq!(nobody["rows"]["rows"].as_array().map(Vec::len), Some(1));
    let count = node
        .ok("dm sql many-users users-db 'select count(*) from users'")
        .await;
    has(&count, &["11"]);

    // A state can be asked anything, and stays as it is.
    node.ok(
        "dm sql many-users users-db 'delete from users' && dm sql many-users clicks-db 'set a b'",
    )
    .await;
    let again = node.ok("dm rows many-users --json").await;
    has(&again, &["\"rows\": 11"]);
    // The statements of a comparison make the one state of the other.
    let line = "{ dm diff --rows --sql master many-users; echo 'select count(*) from users;'; } | dm sql master users-db";
    has(&node.ok(line).await, &["11"]);
    // The same with whole tables, and once more from the cache.
    let full = node.ok("dm diff --rows --full master many-users").await;
    assert_eq!(full, diff);
    assert_eq!(node.ok("dm diff --rows master many-users").await, diff);
    let json = node.ok("dm diff --rows --json many-users master").await;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["tables"][0]["counts"]["removed"], 11, "{json}");

    // The working copy is compared as it is, while the app runs.
    node.log_in("georgina").await;
    let now = node.ok("dm diff --rows").await;
    has(&now, &["1 row added", "georgina"]);
    node.says_no("dm rows HEAD gone", &["has no subdot gone", "users-db"])
        .await;
    node.says_no("dm rows HEAD uploads", &["no database in subdot uploads"])
        .await;
    node.says_no(
        "dm rows HEAD users-db/shop",
        &["no database 'shop'", "postgres"],
    )
    .await;
    node.says_no(
        "dm sql HEAD users-db 'select nonsense'",
        &["column \"nonsense\" does not exist"],
    )
    .await;
    assert_eq!(node.ok("dm op log").await, log_before);
    node.leaves_nothing().await?;
    node.app_ready().await
}

/// A server of each other kind.
const SERVERS: &str = "
    run='docker run -d --network host --volume-driver dm'
    $run --name log -v app.log:/data redis:7 redis-server --appendonly yes --appendfsync always --port 6401
    $run --name sql -e MARIADB_ROOT_PASSWORD=secret -e MARIADB_DATABASE=shop -v app.sql:/var/lib/mysql mariadb:10.11
    $run --name pg -e POSTGRES_PASSWORD=secret -e POSTGRES_USER=owner -v app.pg:/var/lib/postgresql/data postgres:15
    until docker exec log redis-cli -p 6401 ping >/dev/null 2>&1; do sleep 0.2; done
    until docker exec sql mariadb -psecret shop -e 'select 1' >/dev/null 2>&1; do sleep 0.2; done
    until docker exec pg psql -h 127.0.0.1 -U owner -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done
";

/// Writes to an SQLite database in WAL mode, and leaves it open as a program that runs would.
const WRITER: &str = "
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('pragma journal_mode = wal')
db.execute('pragma wal_autocheckpoint = 0')
for line in sys.argv[2:]:
    db.execute(line)
db.commit()
os._exit(0)
";

impl Node {
    pub(crate) async fn write_to(&self, server: &str, statement: &str) {
        let client = match server {
            "log" => "redis-cli -p 6401",
            "sql" => "mariadb -psecret shop -e",
            _ => "psql -q -h 127.0.0.1 -U owner -v ON_ERROR_STOP=1 -c",
        };
        self.ok(&format!("docker exec {server} {client} {statement}"))
            .await;
    }

    async fn write_sqlite(&self, statements: &str) {
        let folder = self.folder_of("app.files").await;
        self.ok(&format!(
            "mkdir -p {folder}/deep/er && python3 -c \"{WRITER}\" {folder}/deep/er/notes.db {statements}"
        ))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_each_kind_are_compared() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok(SERVERS).await;
    node.in_volume("app.files", "echo text >/v/readme").await;
    node.write_to("sql", "'create table users (id int primary key auto_increment, name varchar(20), at datetime(3), bits varbinary(9));
        create table visits (page varchar(20)); insert into users (name, bits) values (\"ann\", 0x00ff), (NULL, NULL), (\"NULL\", \"\");
        insert into visits values (\"a\"), (\"a\"), (\"b\")'")
        .await;
    node.write_to("pg", "'create table \"odd \"\"name\" (id bigint generated always as identity primary key, v text, \
        twice text generated always as (v || v) stored); insert into \"odd \"\"name\" (v) select g::text from generate_series(1, 500) g; \
        create table plain (a int, b text); insert into plain values (1, null), (1, null), (2, $$x$$); \
        create table parts (id int primary key, v text) partition by range (id); \
        create table part1 partition of parts for values from (0) to (100); insert into parts values (1, $$a$$)'").await;
    node.write_to("log", "set plain 1").await;
    node.write_to("log", "hset user:1 name ann age 30").await;
    node.write_to("log", "rpush list a b c").await;
    node.write_sqlite("'create table notes (id integer primary key, body, bytes blob)' \"insert into notes values (1, 'one', x'00ff'), (2, 2, null)\"")
        .await;
    node.ok("dm switch app && dm commit -m before").await;

    node.write_to("sql", "'update users set name = \"bea\" where id = 1; insert into visits values (\"a\"), (\"c\"); delete from users where id = 3;
        alter table users add column age int'").await;
    node.write_to("pg", "'update \"odd \"\"name\" set v = $$new$$ where id = 77; delete from plain where ctid in (select ctid from plain where a = 1 limit 1); \
        alter table plain rename to fancy; alter table fancy add column c int; alter table fancy alter column a type bigint; \
        create table refers (id serial primary key, other int references parts); insert into refers (other) values (1); \
        create view seen as select * from refers; insert into parts values (2, $$b$$)'").await;
    node.write_to("log", "hset user:1 age 31").await;
    node.write_to("log", "lset list 1 B").await;
    node.write_to("log", "pexpire plain 100000000").await;
    node.write_sqlite("\"update notes set body = 'two' where id = 2\" 'create table more (x)' 'insert into more values (1)'")
        .await;
    node.ok("dm commit -m after").await;

    let rows = node.ok("dm rows HEAD^").await;
    has(
        &rows,
        &[
            "log (Redis)",
            "user:*",
            "sql (MariaDB",
            "visits",
            "files/deep/er/notes.db (SQLite)",
            "notes",
            "odd \"name",
            "500",
        ],
    );
    let diff = node.ok("dm diff --rows HEAD^ HEAD").await;
    has(
        &diff,
        &[
            "sql/shop/users",
            "1 row removed, 1 changed",
            "ADD COLUMN `age`",
            "-   name: ann",
            "+   name: bea",
            "- id=3  name=NULL",
            "sql/shop/visits",
            "2 rows added",
            "+ page=c",
            "pg/owner/odd \"name",
            "+   v: new",
            "+   twice: newnew",
            "pg/owner/fancy",
            "RENAME TO \"fancy\"",
            "ADD COLUMN \"c\" integer",
            "ALTER COLUMN \"a\" TYPE bigint",
            "pg/owner/refers",
            "new; 1 row added",
            "CREATE VIEW public.seen",
            "- a=1",
            "pg/owner/parts",
            "+ id=2  v=b",
            "log/0/user:*",
            "-   value.age: 30",
            "+   value.age: 31",
            "-   value[1]: b",
            "+   value[1]: B",
            "log/0/plain",
            "files/deep/er/notes.db/notes",
            "-   body: 2",
            "+   body: two",
            "CREATE TABLE more",
        ],
    );
    assert!(!diff.contains("not compared"), "{diff}");
    assert_eq!(node.ok("dm diff --rows --full HEAD^ HEAD").await, diff);
    // What the statements make of the older state is the newer one.
    for target in ["sql/shop", "files/deep/er/notes.db", "log", "pg/owner"] {
        let after = match target {
            "log" => "hget user:1 age",
            "sql/shop" => "select name from users where id = 1;",
            "pg/owner" => {
                "select max(v) || count(*) || min(a) from \"odd \"\"name\", seen, fancy where fancy.a = 2;"
            }
            _ => "select body from notes where id = 2;",
        };
        let line = format!(
            "{{ dm diff --rows --sql HEAD^ HEAD -- {target}; echo '{after}'; }} | dm sql HEAD^ {target}"
        );
        let made = node.ok(&line).await;
        assert!(
            ["31", "bea", "two", "new5002"]
                .iter()
                .any(|one| made.contains(one)),
            "{target}: {made}"
        );
    }
    let notes = node.ok("dm rows HEAD files/deep/er/notes.db/notes").await;
    has(&notes, &["\\x00ff", "two"]);
    let user = node.ok("dm sql HEAD log 'hgetall user:1'").await;
    has(&user, &["ann"]);
    node.leaves_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn crafted_databases_do_nothing_outside_of_their_copy() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("docker run -d --network host --volume-driver dm --name pg -e POSTGRES_PASSWORD=secret -v app.pg:/var/lib/postgresql/data postgres:15
        until docker exec pg psql -h 127.0.0.1 -U postgres -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done
        docker exec pg psql -q -h 127.0.0.1 -U postgres -c 'create table users (id int primary key); insert into users values (1)'")
        .await;
    node.ok("dm switch app && dm commit -m good").await;
    node.ok("docker stop pg").await;
    let folder = node.folder_of("app.pg").await;
    // Settings that run programs, load libraries, and let nobody in.
    node.ok(&format!(
        "cd {folder} && for f in postgresql.conf postgresql.auto.conf; do
            cat >>$f <<'END'
archive_mode = always
archive_command = 'touch /dotmesh/archived /tmp/archived'
shared_preload_libraries = 'evil'
session_preload_libraries = 'evil'
local_preload_libraries = 'evil'
ssl = on
ssl_passphrase_command = 'touch /tmp/asked'
restore_command = 'touch /tmp/restored'
listen_addresses = '*'
END
        done
        echo 'local all all reject' >pg_hba.conf
        touch recovery.signal"
    ))
    .await;
    node.ok("dm commit -m planted").await;
    let rows = node.ok("dm rows HEAD pg/postgres").await;
    has(&rows, &["users", "1"]);
    let settings = node
        .ok("dm sql HEAD pg \"select name || '=' || setting from pg_settings where name ~ 'archive_command|preload_libraries|listen_addr|passphrase'\"")
        .await;
    assert!(
        !settings.contains("evil") && !settings.contains("touch"),
        "{settings}"
    );
    // The container has no network, and no rights.
    let inside = node
        .ok("dm sql HEAD pg \"copy (select 1) to program 'cat /proc/net/dev /proc/self/status | tr -d [:space:] >/tmp/seen'; select pg_read_file('/tmp/seen')\"")
        .await;
    has(&inside, &["CapEff:0000000000000000", "NoNewPrivs:1"]);
    assert!(!inside.contains("eth0"), "{inside}");
    node.says_no(
        "dm sql HEAD pg \"copy (select 1) to '/usr/lib/written'\"",
        &["Read-only file system"],
    )
    .await;

    // A link that leads outside.
    node.ok(&format!(
        "ln -s /etc {folder}/pg_tblspc/16999 && dm commit -m link"
    ))
    .await;
    node.says_no(
        "dm rows HEAD pg/postgres",
        &["tablespace outside of its data folder"],
    )
    .await;
    let told = node.says("dm diff --rows HEAD^ HEAD").await;
    has(&told, &["was not compared", "tablespace outside"]);
    // One that cannot be recovered.
    node.ok(&format!("rm {folder}/pg_tblspc/16999; printf garbage >{folder}/global/pg_control && dm commit -m broken"))
        .await;
    node.says_no(
        "dm rows HEAD pg/postgres",
        &["pg (PostgreSQL 15) cannot be opened"],
    )
    .await;

    // SQLite files: damaged, with a schema that would call functions, and a link instead of a file.
    node.in_volume("app.files", "echo text >/v/readme").await;
    let folder = node.folder_of("app.files").await;
    node.ok(&format!(
        "cd {folder} && python3 -c \"
import sqlite3
db = sqlite3.connect('view.db')
db.execute('create table t (a, b as (hex(a)) stored)')
db.execute('insert into t (a) values (1)')
db.execute('create view v as select load_extension(1)')
db.commit()
good = open('view.db', 'rb').read()
bad = bytearray(good)
bad[4096 + 8:4096 + 40] = b'\\\\xff' * 32
open('damaged.db', 'wb').write(bad)
open('short.db', 'wb').write(good[:50])
\" && ln -s /etc/passwd link.db && dm commit -m sqlite"
    ))
    .await;
    let output = node.run("dm rows HEAD files").await.success();
    has(&output.stdout, &["files/view.db (SQLite)", "t"]);
    has(&output.stderr, &["short.db"]);
    assert!(!output.stdout.contains("link.db"), "{}", output.stdout);
    node.says_no("dm rows HEAD files/damaged.db/t", &["damaged"])
        .await;
    node.says_no(
        "dm sql HEAD files/view.db \"attach '/etc/passwd' as x\"",
        &["not authorized"],
    )
    .await;
    node.says_no(
        "dm sql HEAD files/view.db 'select * from v'",
        &["load_extension"],
    )
    .await;
    node.leaves_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_daemon_leaves_no_containers() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("docker run -d --network host --volume-driver dm --name pg -e POSTGRES_PASSWORD=secret -v app.pg:/var/lib/postgresql/data postgres:15
        until docker exec pg psql -h 127.0.0.1 -U postgres -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done
        dm switch app && dm commit -m one")
        .await;
    node.ok("dm sql HEAD pg 'select pg_sleep(600)' >/dev/null 2>&1 &")
        .await;
    let running = "docker ps -q --filter label=io.dotmesh.rows | wc -l";
    node.until_prints(running, "1\n").await?;
    node.daemon.kill9().await?;
    node.daemon.start_again().await?;
    node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    node.leaves_nothing().await?;
    let count = node.ok("dm sql HEAD pg 'select 42'").await;
    has(&count, &["42"]);
    // A client that leaves takes its container along.
    let left = node.run("timeout 4 dm sql HEAD pg 'select pg_sleep(600)'");
    left.await.failure();
    node.leaves_nothing().await
}
