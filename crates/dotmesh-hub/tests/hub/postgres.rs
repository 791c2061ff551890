//! A PostgreSQL server for the tests, in a temporary folder and on a socket there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::supervised::{Says, Supervised};

/// One server for all tests of this process.
static SERVER: LazyLock<Supervised> = LazyLock::new(start);

/// Makes an empty database, and returns its URL.
pub(crate) async fn new_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("hub{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&address("postgres")).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    connection.execute(AssertSqlSafe(create)).await.unwrap();
    connection.close().await.unwrap();
    address(&name)
}

fn address(database: &str) -> String {
    let socket = SERVER.folder().display();
    format!("postgres://postgres@localhost/{database}?host={socket}")
}

/// The folder of the newest PostgreSQL version that Debian installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let versions = versions.flatten().map(|entry| entry.unwrap().path());
    let newest = versions.max_by_key(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.parse::<u32>().unwrap_or(0)
    });
    let newest = newest.expect("PostgreSQL is there; `scripts/setup.sh test` installs it");
    newest.join("bin")
}

/// Runs a program as `postgres` if the tests run as root, because PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn start() -> Supervised {
    let folder = tempfile::tempdir().unwrap().keep();
    if rustix::process::geteuid().is_root() {
        let chown = Command::new("chown").arg("postgres:").arg(&folder).status();
        assert!(chown.unwrap().success());
    }
    let data = folder.join("data");
    let made = as_postgres(&programs().join("initdb"))
        .args(["--auth=trust", "--username=postgres", "--no-sync"])
        .args(["--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"])
        .arg(&data)
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut server = as_postgres(&programs().join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(&folder);
    for setting in [
        "listen_addresses=",
        "fsync=off",
        "full_page_writes=off",
        "max_connections=500",
    ] {
        server.args(["-c", setting]);
    }
    let ready = |line: &str| {
        let ready = line.contains("ready to accept connections");
        ready.then(String::new)
    };
    Supervised::start(folder, &server, Says::Error(ready)).0
}
