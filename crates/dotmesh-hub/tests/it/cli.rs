//! The program itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dotmesh_api::{HubAddress, HubClient};

pub(crate) fn dothub(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dothub"));
    command
        .args(args)
        .arg("--data")
        .arg(data)
        .env_clear()
        .stdin(Stdio::null());
    command
}

pub(crate) fn run(data: &Path, args: &[&str]) -> Output {
    dothub(data, args).output().unwrap()
}

pub(crate) struct Serving {
    child: Child,
    url: String,
}

fn serve(data: &Path) -> Serving {
    start(dothub(data, &["serve", "--listen", "127.0.0.1:0"]))
}

pub(crate) fn start(mut serve: Command) -> Serving {
    let mut child = serve
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .trim()
        .strip_prefix("listening on ")
        .unwrap()
        .to_owned();
    Serving { child, url }
}

impl Serving {
    pub(crate) fn client(&self, name: &str, secret: &str) -> HubClient {
        let address: HubAddress = self.url.parse().unwrap();
        HubClient::new(address, name.parse().unwrap(), secret.to_owned()).unwrap()
    }

    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn accounts_are_managed_while_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let hub = serve(dir.path());

    let added = run(dir.path(), &["user", "add", "alice"]);
    assert!(added.status.success(), "{added:?}");
    let text = String::from_utf8(added.stdout).unwrap();
    let key = text.lines().last().unwrap();
    assert!(key.starts_with("dmk_") && key.len() == 68, "{key}");
    assert_eq!(
        hub.client("alice", key)
            .current_user()
            .await
            .unwrap()
            .name
            .as_str(),
        "alice"
    );

    let again = run(dir.path(), &["user", "add", "alice"]);
    assert_eq!(again.status.code(), Some(1));
    let text = String::from_utf8(again.stderr).unwrap();
    assert!(text.contains("alice") && text.contains("hint: "), "{text}");

    let mut set = dothub(dir.path(), &["user", "password", "alice"]);
    let mut set = set
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    set.stdin
        .take()
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
    assert!(set.wait().unwrap().success());
    hub.client("alice", "correct horse")
        .current_user()
        .await
        .unwrap();

    let new = run(dir.path(), &["user", "key", "alice"]);
    let text = String::from_utf8(new.stdout).unwrap();
    hub.client("alice", text.lines().last().unwrap())
        .current_user()
        .await
        .unwrap();
    assert!(hub.client("alice", key).current_user().await.is_err());

    let list = String::from_utf8(run(dir.path(), &["user", "list"]).stdout).unwrap();
    assert!(
        list.starts_with("alice ") && list.lines().count() == 1,
        "{list}"
    );
    assert!(
        run(dir.path(), &["user", "remove", "alice"])
            .status
            .success()
    );
    assert!(
        hub.client("alice", "correct horse")
            .current_user()
            .await
            .is_err()
    );
    assert_eq!(
        run(dir.path(), &["user", "key", "alice"]).status.code(),
        Some(1)
    );
    assert_eq!(
        run(dir.path(), &["user", "add", "not a name"])
            .status
            .code(),
        Some(2)
    );
    assert!(hub.terminate().success());
}

#[tokio::test]
async fn one_server_for_each_folder() {
    let dir = tempfile::tempdir().unwrap();
    let hub = serve(dir.path());
    let second = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(3));
    assert!(
        String::from_utf8(second.stderr)
            .unwrap()
            .contains("another dothub serves")
    );
    assert!(hub.terminate().success());
    assert!(serve(dir.path()).terminate().success());
}

#[tokio::test]
async fn accounts_can_be_made_by_many_at_once_before_it_ever_served() {
    let dir = tempfile::tempdir().unwrap();
    let adding: Vec<Child> = (0..6)
        .map(|n| {
            dothub(dir.path(), &["user", "add", &format!("user{n}")])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in adding {
        assert!(child.wait().unwrap().success());
    }
    let list = run(dir.path(), &["user", "list"]);
    assert_eq!(String::from_utf8(list.stdout).unwrap().lines().count(), 6);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run(dir.path(), &["user", "add", "alice"]).status.success());
    let pool = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("hub.db")),
    )
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of the future', 1, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let refused = run(dir.path(), &["user", "list"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("newer dothub")
    );
}
