//! The program itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use dotmesh_api::{HubAddress, HubClient};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::place::Place;

pub(crate) struct Serving {
    child: Child,
    url: String,
}

fn serve(place: &Place) -> Serving {
    start(place.dothub(&["serve", "--listen", "127.0.0.1:0"]))
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

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Ends it at once, whatever it is doing.
    pub(crate) fn kill(self) {
        drop(self);
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
    let place = Place::new().await;
    let hub = serve(&place);

    let added = place.run(&["user", "add", "alice"]);
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

    let again = place.run(&["user", "add", "alice"]);
    assert_eq!(again.status.code(), Some(1));
    let text = String::from_utf8(again.stderr).unwrap();
    assert!(text.contains("alice") && text.contains("hint: "), "{text}");

    let mut set = place.dothub(&["user", "password", "alice"]);
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

    let new = place.run(&["user", "key", "alice"]);
    let text = String::from_utf8(new.stdout).unwrap();
    hub.client("alice", text.lines().last().unwrap())
        .current_user()
        .await
        .unwrap();
    assert!(hub.client("alice", key).current_user().await.is_err());

    let list = String::from_utf8(place.run(&["user", "list"]).stdout).unwrap();
    assert!(
        list.starts_with("alice ") && list.lines().count() == 1,
        "{list}"
    );
    assert!(place.run(&["user", "remove", "alice"]).status.success());
    assert!(
        hub.client("alice", "correct horse")
            .current_user()
            .await
            .is_err()
    );
    assert_eq!(place.run(&["user", "key", "alice"]).status.code(), Some(1));
    assert_eq!(
        place.run(&["user", "add", "not a name"]).status.code(),
        Some(2)
    );
    assert!(hub.terminate().success());
}

#[tokio::test]
async fn one_server_for_each_folder() {
    let place = Place::folder(tempfile::tempdir().unwrap());
    let hub = serve(&place);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(3));
    assert!(
        String::from_utf8(second.stderr)
            .unwrap()
            .contains("another dothub serves")
    );
    assert!(hub.terminate().success());
    assert!(serve(&place).terminate().success());
}

#[tokio::test]
async fn accounts_can_be_made_by_many_at_once_before_it_ever_served() {
    let place = Place::new().await;
    let adding: Vec<Child> = (0..6)
        .map(|n| {
            place
                .dothub(&["user", "add", &format!("user{n}")])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in adding {
        assert!(child.wait().unwrap().success());
    }
    let list = place.run(&["user", "list"]);
    assert_eq!(String::from_utf8(list.stdout).unwrap().lines().count(), 6);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let place = Place::new().await;
    assert!(place.run(&["user", "add", "alice"]).status.success());
    let future =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                  VALUES (9999, 'of the future', true, 'none', 0)";
    match (&place.database_url, place.sqlite()) {
        (Some(url), _) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(future).await.unwrap();
        }
        (None, file) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new();
            let options = options.filename(file.unwrap());
            let mut connection = options.connect().await.unwrap();
            connection.execute(future).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    let refused = place.run(&["user", "list"]);
    assert_eq!(refused.status.code(), Some(3));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        text.contains("newer dothub") && text.contains("hint: "),
        "{text}"
    );
}
