//! The program `dothub` itself.

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

pub(crate) fn start(serve: Command) -> Serving {
    start_logging(serve, Stdio::null())
}

fn start_logging(mut serve: Command, log: Stdio) -> Serving {
    let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
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

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The peak memory of the process, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
        kibibytes.parse::<u64>().unwrap() << 10
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Kills the process.
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
async fn accounts_can_be_made_by_many_at_once_while_nothing_serves() {
    let place = Place::new().await;
    assert!(serve(&place).terminate().success());
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
    place.hub_with_user("alice").await;
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

#[tokio::test]
async fn links_are_made_and_administrators_named() {
    let place = Place::new().await;
    let hub = serve(&place);
    let run = |args: &[&str]| {
        let output = place.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let added = run(&["user", "add", "root", "--admin"]);
    let key = added.lines().last().unwrap();
    let metrics = async || {
        let url = format!("{}/metrics", hub.url);
        let request = reqwest::Client::new().get(url).bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        hub.client("root", key)
            .current_user()
            .await
            .unwrap()
            .name
            .as_str(),
        "root"
    );
    assert_eq!(metrics().await, 200);
    assert!(run(&["user", "list"]).contains("administrator"));
    run(&["user", "admin", "root", "--off"]);
    assert_eq!(metrics().await, 403);
    run(&["user", "admin", "root", "--on"]);
    assert_eq!(metrics().await, 200);

    for args in [
        &["user", "invite", "--url", &hub.url][..],
        &["user", "reset", "root", "--url", &hub.url],
    ] {
        let link = run(args);
        let page = reqwest::get(link.trim()).await.unwrap();
        assert_eq!(page.status().as_u16(), 200, "{link}");
    }
    for (args, code) in [
        (&["user", "reset", "nobody"][..], 1),
        (&["user", "admin", "nobody", "--on"], 1),
        (&["user", "admin", "root"], 2),
        (&["user", "admin", "root", "--on", "--off"], 2),
        (&["user", "add", "api"], 1),
        (&["user", "add", "ReadyZ"], 1),
        (&["user", "add", "dothub"], 1),
    ] {
        assert_eq!(place.run(args).status.code(), Some(code), "{args:?}");
    }
    assert!(hub.terminate().success());
}

#[tokio::test]
async fn secrets_are_not_logged() {
    let place = Place::new().await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut serving = place.dothub(&["serve", "--listen", "127.0.0.1:0"]);
    serving.env("RUST_LOG", "trace");
    let hub = start_logging(serving, log.reopen().unwrap().into());
    let added = String::from_utf8(place.run(&["user", "add", "alice"]).stdout).unwrap();
    let key = added.lines().last().unwrap();
    let invited = place.run(&["user", "invite", "--url", &hub.url]);
    let link = String::from_utf8(invited.stdout).unwrap();
    let token = link.trim().rsplit('=').next().unwrap();
    hub.client("alice", key).current_user().await.unwrap();
    assert!(
        hub.client("alice", "a wrong secret")
            .current_user()
            .await
            .is_err()
    );
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let http = http.build().unwrap();
    assert_eq!(
        http.get(link.trim())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        200
    );
    let answer = http
        .post(format!("{}/-/signup", hub.url))
        .body(format!("user=bob&password=correct-horse&token={token}"))
        .send()
        .await
        .unwrap();
    let session = answer.headers()["set-cookie"].to_str().unwrap();
    let session = session
        .split_once('=')
        .unwrap()
        .1
        .split(';')
        .next()
        .unwrap();
    let answer = http
        .post(format!("{}/-/settings/keys", hub.url))
        .header("cookie", format!("dothub_session={session}"))
        .header("sec-fetch-site", "same-origin")
        .body("name=laptop&scope=read&days=0")
        .send()
        .await
        .unwrap();
    let made = answer.text().await.unwrap();
    let made = made
        .split("<code>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    assert!(hub.terminate().success());
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("/-/settings/keys"), "{log}");
    for secret in [key, token, session, made, "correct-horse", "a wrong secret"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

/// Every command except `serve` and `restore`.
const WHERE_A_HUB_IS: [&[&str]; 11] = [
    &["user", "add", "alice"],
    &["user", "invite"],
    &["user", "reset", "alice"],
    &["user", "admin", "alice", "--on"],
    &["user", "quota", "alice", "1GB"],
    &["user", "list"],
    &["user", "remove", "alice"],
    &["user", "key", "alice"],
    &["collaborator", "list", "alice/app"],
    &["gc"],
    &["gc", "--dry-run"],
];

/// Runs a command in a place without a hub, and returns its message.
fn without_a_hub(place: &Place, args: &[&str]) -> String {
    let refused = place.run(args);
    assert_eq!(refused.status.code(), Some(3), "{args:?}: {refused:?}");
    assert_eq!(refused.stdout, b"", "{args:?}");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("`dothub serve` creates a hub"), "{text}");
    text
}

#[tokio::test]
async fn only_serving_and_restoring_make_a_hub() {
    let place = Place::new().await;
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().join("backup");
    let backup = ["backup", backup.to_str().unwrap()];
    for args in WHERE_A_HUB_IS.into_iter().chain([&backup[..]]) {
        let text = without_a_hub(&place, args);
        assert!(
            place.database_url.is_some() || text.contains(&place.path().display().to_string()),
            "{text}"
        );
        assert!(place.is_empty() && !std::fs::exists(backup[1]).unwrap());
    }
    // The command reads the password before it looks for a hub.
    let mut password = place.dothub(&["user", "password", "alice"]);
    let mut password = password.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = password.stdin.take().unwrap();
    stdin.write_all(b"correct horse\n").unwrap();
    drop(stdin);
    assert_eq!(password.wait().unwrap().code(), Some(3));
    assert!(place.is_empty());
    // The refused commands created nothing: only `serve` creates the hub.
    assert!(serve(&place).terminate().success());
    assert!(place.run(&backup).status.success());
}

#[tokio::test]
async fn a_folder_that_is_not_there_or_has_other_things_is_no_hub() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("dothbu");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("hub.db"), "").unwrap();
    for data in [&absent, &other] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dothub"));
        command
            .args(["user", "list", "--data"])
            .arg(data)
            .env_clear();
        let refused = command.output().unwrap();
        assert_eq!(refused.status.code(), Some(3));
        let text = String::from_utf8(refused.stderr).unwrap();
        let expected = format!("error: there is no hub in the folder {}\n", data.display());
        assert!(text.starts_with(&expected), "{text}");
    }
    assert!(!absent.exists());
}

#[test]
fn a_place_that_cannot_be_looked_into_is_not_said_to_have_no_hub() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dothub"));
    command
        .args(["user", "list", "--data"])
        .arg(file.path())
        .env_clear();
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let text = String::from_utf8(refused.stderr).unwrap();
    let place = file.path().join("hub.db");
    let expected = format!(
        "error: cannot look for {}: Not a directory",
        place.display()
    );
    assert!(text.starts_with(&expected), "{text}");
}

#[tokio::test]
async fn a_new_user_is_told_how_to_log_in_with_a_browser() {
    let place = Place::new().await;
    let hub = serve(&place);
    let add = |args: &[&str]| {
        let output = place.run(&[&["user", "add"], args].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let link = |said: &str| {
        let link = said
            .lines()
            .find(|line| line.contains("/-/password?token="));
        link.map(str::to_owned)
    };
    let said = add(&["alice", "--admin", "--url", &hub.url]);
    let key = said.lines().last().unwrap();
    hub.client("alice", key).current_user().await.unwrap();
    let link_of_alice = link(&said).unwrap();
    let page = reqwest::get(&link_of_alice).await.unwrap();
    assert_eq!(page.status().as_u16(), 200, "{link_of_alice}");
    assert!(page.text().await.unwrap().contains("alice"));
    let token = link_of_alice.split_once("token=").unwrap().1;
    let set = async || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap()
            .post(format!("{}/-/password", hub.url))
            .header("sec-fetch-site", "same-origin")
            .body(format!("token={token}&password=correct-horse"))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(set().await, 303);
    hub.client("alice", "correct-horse")
        .current_user()
        .await
        .unwrap();
    assert_ne!(set().await, 303, "a link works once");

    // Without a configured URL, the message says that the link's URL is a guess.
    let said = add(&["bob"]);
    let link_of_bob = link(&said).unwrap();
    assert!(
        link_of_bob.starts_with("http://127.0.0.1:8180/-/password?token="),
        "{said}"
    );
    assert!(
        said.contains("--url") && said.contains("DOTHUB_URL"),
        "{said}"
    );
    assert!(said.lines().last().unwrap().starts_with("dmk_"), "{said}");

    // A user with a password needs no link.
    let mut child = place.dothub(&["user", "add", "carol", "--password-stdin"]);
    child.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(link(&said), None, "{said}");
    assert!(hub.terminate().success());
}

#[tokio::test]
async fn the_database_is_closed_to_other_users_whatever_the_folder_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(folder.path(), 0o755);
    let serve = || {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_dothub"));
        serve
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path())
            .env_clear();
        start(serve)
    };
    let modes = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let modes = entries.map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            (entry.file_name(), mode & 0o077)
        });
        modes.filter(|(_, others)| *others != 0).collect::<Vec<_>>()
    };
    let hub = serve();
    assert_eq!(modes(), [], "with others' rights");
    assert!(hub.terminate().success());
    // An older version left the database with these permissions.
    open(&folder.path().join("hub.db"), 0o644);
    let hub = serve();
    assert_eq!(modes(), [], "with others' rights");
    assert!(hub.terminate().success());
}
