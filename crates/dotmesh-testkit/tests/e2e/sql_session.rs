//! Sessions of `dm sql`: the client of the database's image on a copy, which ends with the user.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

/// Servers of two kinds, and an SQLite file.
const STATE: &str = "
    run='docker run -d --network host --volume-driver dm'
    $run --name pg -e POSTGRES_PASSWORD=secret -v app.pg:/var/lib/postgresql/data postgres:15
    $run --name log -v app.log:/data redis:7 redis-server --appendonly yes --appendfsync always --port 6401
    until docker exec log redis-cli -p 6401 set whales 7 >/dev/null 2>&1; do sleep 0.2; done
    until docker exec pg psql -h 127.0.0.1 -U postgres -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done
    docker exec pg psql -q -h 127.0.0.1 -U postgres -c \"create table users (id int primary key, name text); \
        insert into users values (1, 'ann'), (2, chr(27) || ']52;x')\"
";

impl Node {
    async fn begin_sessions(&self) -> Result<()> {
        self.ok(STATE).await;
        self.in_volume("app.files", "echo text >/v/readme").await;
        let folder = self.folder_of("app.files").await;
        self.ok(&format!(
            "cd {folder} && python3 -c \"import sqlite3; db = sqlite3.connect('notes.db'); db.execute('create table t (a)'); db.commit()\""
        ))
        .await;
        self.ok("dm switch app && dm commit -m one").await;
        Ok(())
    }

    /// Asserts that nothing is left of sessions. They are removed in the background.
    async fn has_no_sessions(&self) -> Result<()> {
        wait_for("the containers of sessions to be removed", SOON, async || {
            let left = "docker ps -aq --filter label=io.dotmesh.rows; docker volume ls -q --filter label=io.dotmesh.rows; \
                ls /var/lib/dotmesh/pool/staging 2>/dev/null; ps -eo args | grep '[s]qlite-client' || true";
            let left = self.ok(left).await;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
        .await
    }
}

/// Starts a session that reads from file descriptor 3, and has a function that waits for a text of its output.
fn with_pipe(command: &str) -> String {
    format!(
        "rm -f typed said; mkfifo typed; {command} <typed >said 2>&1 & session=$!; exec 3>typed
        until_said() {{ until grep -qF \"$1\" said; do kill -0 $session || {{ cat said; exit 1; }}; sleep 0.05; done; }};"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_statements_as_they_come() -> Result<()> {
    let arguments = ["--undo-time", "7d", "--undo-space", "2GiB"];
    let node = Node::start_with(&Network::start().await?, "alice", &arguments).await?;
    node.begin_sessions().await?;
    let log_before = node.ok("dm op log").await;
    // Each answer comes before the next statement, and all of them are about one copy.
    let talks = [
        (
            "pg",
            "delete from users where id = 1;",
            "select 'left ' || count(*) from users;",
            "left 1",
        ),
        ("log", "incr whales", "get whales", "\"8\""),
        (
            "files",
            "insert into t values ('x' || 'y');",
            "select a from t;",
            "xy",
        ),
    ];
    for (target, change, question, answer) in talks {
        let begin = with_pipe(&format!("dm sql HEAD {target}"));
        let talk = format!(
            "{begin} printf '%s\\n' \"{change}\" \"{question}\" >&3; until_said '{answer}'; \
             printf '%s\\n' \"{question}\" >&3; exec 3>&-; wait $session; cat said"
        );
        let said = node.ok(&talk).await;
        assert_eq!(said.matches(answer).count(), 2, "{target}: {said}");
    }
    // A file is a session, too. It ends at the first statement that fails.
    node.ok("printf 'select 1 as one;\\nselect nonsense;\\nselect 2 as two;\\n' >file.sql")
        .await;
    let failed = node.run("dm sql HEAD pg <file.sql").await.failure();
    assert!(failed.stdout.contains("one"), "{}", failed.stdout);
    assert!(!failed.stdout.contains("two"), "{}", failed.stdout);
    assert!(
        failed.stderr.contains("column \"nonsense\" does not exist"),
        "{}",
        failed.stderr
    );
    // Much input and much output at the same time.
    let much = "seq 1 5000 | sed 's/.*/select repeat(chr(97), 300) || &;/' | dm sql HEAD pg | grep -c 'aaa'";
    assert_eq!(node.ok(much).await, "5000\n");
    let json = node.ok("echo 'select 42;' | dm sql HEAD pg --json").await;
    assert!(json.contains("42"), "{json}");
    // Nothing has changed.
    let users = node.ok("dm rows HEAD pg/postgres --json").await;
    assert!(users.contains("\"rows\": 2"), "{users}");
    assert_eq!(node.ok("dm op log").await, log_before);
    node.has_no_sessions().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_on_a_terminal_has_prompts_and_ends_with_the_user() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.begin_sessions().await?;
    let on_terminal =
        |target: &str| with_pipe(&format!("script -qefc 'dm sql HEAD {target}' /dev/null"));
    // The client's own prompt. What is in the database is no command for the terminal.
    let talk = format!(
        "{} until_said 'postgres=#'; printf 'select name from users order by id;\\r' >&3; until_said '(2 rows)'
        printf 'select nonsense;\\r' >&3; until_said 'does not exist'; printf 'select 40 + 2;\\r' >&3; until_said 42
        printf '\\\\q\\r' >&3; wait $session; cat said",
        on_terminal("pg")
    );
    let said = node.ok(&talk).await;
    assert!(said.contains("ann") && !said.contains('\u{1b}'), "{said:?}");
    // Output may begin with any byte.
    let talk = format!(
        "{} until_said 'postgres=#'; printf '\\\\a\\\\t\\r' >&3; until_said 'Tuples only is on'
        printf 'select chr(1) || $$beg$$ || $$in$$;\\r' >&3; until_said 'begin'; printf '\\\\q\\r' >&3; wait $session",
        on_terminal("pg")
    );
    node.ok(&talk).await;
    let talk = format!(
        "{} until_said 'sqlite> '; printf 'nonsense;\\n' >&3; until_said 'syntax error'; printf 'select 6 * 7;\\n' >&3; \
        until_said 42; printf '\\004' >&3; wait $session; cat said",
        on_terminal("files")
    );
    node.ok(&talk).await;
    node.has_no_sessions().await?;

    // Ctrl-C stops the statement, and not the session.
    let talk = format!(
        "{} until_said 'postgres=#'; printf 'select pg_sleep(600);\\r' >&3; until_said 'pg_sleep'
        until docker exec $(docker ps -q --filter label=io.dotmesh.rows) psql -h /tmp -U postgres -tc \
            \"select count(*) from pg_stat_activity where wait_event = 'PgSleep'\" | grep -q 1; do sleep 0.1; done
        printf '\\003' >&3; until_said 'canceling statement'; printf 'select 40 + 2;\\r\\\\q\\r' >&3; wait $session; cat said",
        on_terminal("pg")
    );
    let said = node.ok(&talk).await;
    assert!(said.contains("42"), "{said}");
    node.has_no_sessions().await?;

    // Without a terminal Ctrl-C ends the session, and so does whatever ends dm.
    for signal in ["INT", "TERM", "KILL"] {
        let talk = format!(
            "{} printf 'select 40 + 2;\\nselect pg_sleep(600);\\n' >&3; until_said 42; kill -{signal} $session; wait $session || true",
            // A shell in the background would ignore the signal of Ctrl-C.
            with_pipe("env --default-signal=INT dm sql HEAD pg")
        );
        node.ok(&talk).await;
        node.has_no_sessions().await?;
    }
    let talk = format!(
        "{} until_said 'postgres=#'; kill -KILL $(ps -eo pid,args | awk '$2 == \"dm\" {{ print $1 }}'); wait $session || true",
        on_terminal("pg")
    );
    node.ok(&talk).await;
    node.has_no_sessions().await
}
