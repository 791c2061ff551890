//! The databases of a node: their containers, their clients, and their rows.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use dotmesh_testkit::Machine;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::rows::{Contents, Line, Store};

/// The time limit for one answer. A database whose disk is full may never answer.
const ANSWERS_IN: Duration = Duration::from_secs(20);

impl Store {
    /// The name of the container, and of the subdot with all of its data.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Store::Redis => "redis",
            Store::Postgres => "postgres",
            Store::MariaDb => "mariadb",
        }
    }

    /// The command that makes the container. Each database syncs a write before it acknowledges it.
    pub(crate) fn run_line(self) -> String {
        let name = self.name();
        let rest = match self {
            Store::Redis => {
                "-v app.redis:/data redis:7 redis-server --appendonly yes --appendfsync always --dir /data"
            }
            Store::Postgres => {
                "-e POSTGRES_PASSWORD=secret -v app.postgres:/var/lib/postgresql/data postgres:15 \
                 -c shared_buffers=16MB -c max_connections=20 -c max_wal_size=64MB -c min_wal_size=32MB"
            }
            Store::MariaDb => {
                "-e MARIADB_ROOT_PASSWORD=secret -e MARIADB_DATABASE=soak -v app.mariadb:/var/lib/mysql mariadb:10.11 \
                 --innodb-buffer-pool-size=16M --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=1"
            }
        };
        format!(
            "docker run -d --restart always --network host --volume-driver dm --name {name} {rest}"
        )
    }

    /// The command of a client that reads commands from its input.
    fn client(self) -> &'static str {
        match self {
            Store::Redis => "docker exec -i redis redis-cli",
            Store::Postgres => {
                "docker exec -i postgres psql -h 127.0.0.1 -U postgres -v ON_ERROR_STOP=1 -qtA"
            }
            Store::MariaDb => {
                "docker exec -i mariadb mariadb -psecret --batch --skip-column-names --unbuffered soak"
            }
        }
    }

    /// The statement that makes the table.
    pub(crate) fn create(self) -> Option<&'static str> {
        match self {
            Store::Redis => None,
            Store::Postgres | Store::MariaDb => {
                Some("create table line (n bigint primary key, writer int not null);")
            }
        }
    }

    fn insert(self, row: u64, writer: u32) -> String {
        match self {
            Store::Redis => format!("rpush line {row}:{writer}"),
            Store::Postgres | Store::MariaDb => {
                format!("insert into line values ({row}, {writer}) returning n;")
            }
        }
    }

    fn select(self) -> &'static str {
        match self {
            Store::Redis => "lrange line 0 -1",
            Store::Postgres => "select n || ':' || writer from line order by n;",
            Store::MariaDb => "select concat(n, ':', writer) from line order by n;",
        }
    }
}

/// Runs one command in a database's own client.
pub(crate) async fn execute(machine: &Machine, store: Store, command: &str) -> Result<String> {
    let line = format!("echo \"{command}\" | {}", store.client());
    let output = tokio::time::timeout(ANSWERS_IN * 3, machine.run(&line))
        .await
        .with_context(|| format!("{store:?} does not answer"))?;
    ensure!(output.status.success(), "{output}");
    Ok(output.stdout)
}

/// A database whose rows are not in order.
#[derive(Debug)]
pub(crate) struct Disorder(pub(crate) String);

/// Reads all rows of all databases. Fails if one of them does not answer.
pub(crate) async fn read(machine: &Machine) -> Result<Result<Contents, Disorder>> {
    let rows = async |store: Store| execute(machine, store, store.select()).await;
    let [redis, postgres, mariadb] = Store::ALL;
    let (redis, postgres, mariadb) = tokio::try_join!(rows(redis), rows(postgres), rows(mariadb))?;
    let mut lines = Vec::new();
    for (store, text) in Store::ALL.into_iter().zip([redis, postgres, mariadb]) {
        // Redis gives this answer while it loads its file.
        ensure!(!text.starts_with("LOADING"), "{store:?} is loading");
        match Line::parse(&text) {
            Ok(line) => lines.push(line),
            Err(problem) => return Ok(Err(Disorder(format!("{store:?}: {problem}")))),
        }
    }
    let lines: [Line; 3] = lines.try_into().map_err(|_| anyhow!("three databases"))?;
    Ok(Ok(Contents(lines)))
}

/// A database client that answers each line with a line.
pub(crate) struct Client {
    store: Store,
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub(crate) fn start(machine: &Machine, store: Store) -> Result<Client> {
        let mut child = machine
            .command("sh")
            .args(["-c", store.client()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout")?).lines();
        Ok(Client {
            store,
            _child: child,
            stdin,
            stdout,
        })
    }

    /// Adds a row, and returns once the database has acknowledged it.
    pub(crate) async fn insert(&mut self, row: u64, writer: u32) -> Result<()> {
        let line = self.store.insert(row, writer);
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = tokio::time::timeout(ANSWERS_IN, self.stdout.next_line())
            .await
            .with_context(|| format!("{:?} does not answer", self.store))??
            .context("the client has ended")?;
        // Each client answers with the row's number. For Redis that is the new length of the list.
        ensure!(answer == row.to_string(), "{:?}: {answer}", self.store);
        Ok(())
    }
}
