//! The local API on a real socket: its answers match the OpenAPI document, and the examples of `docs/node-api.md` run.

use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::path::PathBuf;
use std::task::Poll;

use axum::extract::State;
use dotmesh_api::ErrorCode;
use dotmesh_api::node::{CreateDot, HubLogin};
use dotmesh_model::{DotName, VolumeName};
use dotmesh_testkit::guide::Example;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::bench::{Bench, CHANGED, TIMING, Work, stack_for};
use super::transfers::TestHub;
use crate::api;
use crate::api::tests::{DOCUMENT, check};
use crate::engine::EngineVolume;
use crate::operations::volume;

const GUIDE: &str = include_str!("../../../../../../docs/node-api.md");

/// A node's API on a unix socket.
struct Served {
    folder: tempfile::TempDir,
    socket: PathBuf,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Answer {
    status: u16,
    content_type: String,
    body: String,
}

impl Served {
    fn start(bench: &Bench) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let router = api::router(bench.node.clone());
        Self {
            folder,
            socket,
            serving: tokio::spawn(axum::serve(listener, router).into_future()),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", method, "--unix-socket"])
            .arg(&self.socket)
            .args(["-w", "%{stderr}%{http_code} %{content_type}"])
            .arg(format!("http://localhost{path}"));
        if let Some(body) = body {
            curl.args(["--json", &body.to_string()]);
        }
        let ran = curl.output().await.unwrap();
        let told = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.success(), "{method} {path}: {told}");
        let (status, content_type) = told.split_once(' ').unwrap();
        Answer {
            status: status.parse().unwrap(),
            content_type: content_type.to_owned(),
            body: String::from_utf8_lossy(&ran.stdout).into_owned(),
        }
    }

    /// Sends a request that succeeds, and checks the answer against the document.
    async fn succeeds(&self, method: &'static str, path: &str, body: Option<Value>) -> String {
        let answer = self.ask(method, path, body.as_ref()).await;
        let what = format!("{method} {path}: {} {}", answer.status, answer.body);
        assert!((200..300).contains(&answer.status), "{what}");
        let checked = check(
            (method, &pattern_of(path)),
            answer.status,
            &answer.content_type,
            &answer.body,
        );
        assert_eq!(checked, Ok(()), "{what}");
        answer.body
    }
}

/// The path in the document: the names of a dot become parameters.
fn pattern_of(path: &str) -> String {
    let path = path.split('?').next().unwrap();
    let mut parts: Vec<_> = path.split('/').collect();
    if let ["", "v1", "dots", namespace, dot, ..] = parts.as_mut_slice() {
        (*namespace, *dot) = ("{namespace}", "{dot}");
    }
    if let ["", "v1", "operations", id, ..] = parts.as_mut_slice() {
        *id = "{id}";
    }
    parts.join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_described_route_is_there_and_refuses_with_a_problem() {
    let bench = Bench::empty().await;
    let served = Served::start(&bench);
    for operation in DOCUMENT.operations() {
        let path = operation.path.replace("{namespace}", "admin");
        let path = path.replace("{dot}", "absent").replace("{id}", "0");
        let (method, empty) = (operation.method.to_ascii_uppercase(), json!({}));
        let body = (method == "POST").then_some(&empty);
        let answer = served.ask(&method, &path, body).await;
        let what = format!("{method} {path}: {} {}", answer.status, answer.body);
        assert_ne!(answer.status, 405, "{what}");
        assert!(!answer.body.contains("no such route"), "{what}");
        let described = (method.as_str(), operation.path);
        let checked = check(described, answer.status, &answer.content_type, &answer.body);
        assert_eq!(checked, Ok(()), "{what}");
    }
    // A method that a route does not have is refused in the same way.
    let answer = served.ask("PUT", "/v1/dots", None).await;
    assert_eq!(answer.status, 405, "{}", answer.body);
    let checked = check(
        ("POST", "/v1/dots"),
        405,
        &answer.content_type,
        &answer.body,
    );
    assert_eq!(checked, Ok(()), "{}", answer.body);
    // Requests that fail before an operation sees them are answered in the same way.
    let create = ("POST", "/v1/dots");
    let long = json!({"name": "n".repeat(3 << 20)});
    for (path, body, code) in [
        ("/v1/absent", json!({}), ErrorCode::NotFound),
        ("/v1/dots", json!({"name": "a/b/c"}), ErrorCode::Invalid),
        ("/v1/dots", json!([]), ErrorCode::Invalid),
        (
            "/v1/dots/-/x/commits",
            json!({"message": "m", "author": "a"}),
            ErrorCode::Invalid,
        ),
    ] {
        let answer = served.ask("POST", path, Some(&body)).await;
        let checked = check(create, answer.status, &answer.content_type, &answer.body);
        assert_eq!(checked, Ok(()), "{path}");
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["code"], code.as_str(), "{path}: {problem}");
    }
    let file = served.folder.path().join("long");
    std::fs::write(&file, long.to_string()).unwrap();
    let told = Command::new("curl")
        .args(["-s", "-H", "Expect:", "--unix-socket"])
        .arg(&served.socket)
        .args([
            "--json",
            &format!("@{}", file.display()),
            "http://localhost/v1/dots",
        ])
        .output()
        .await
        .unwrap();
    let problem: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(problem["code"], "too_large", "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_match_the_document() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    let served = Served::start(&bench);
    let mut asked = BTreeSet::new();
    let mut ask = async |method: &'static str, path: &str, body: Option<Value>| {
        asked.insert((method.to_ascii_lowercase(), pattern_of(path)));
        served.succeeds(method, path, body).await
    };
    macro_rules! get {
        ($path:expr) => {
            ask("GET", $path, None).await
        };
    }
    macro_rules! post {
        ($path:expr, $($body:tt)+) => {
            ask("POST", $path, Some(json!($($body)+))).await
        };
    }
    for path in [
        "version",
        "openapi.json",
        "problems",
        "lookalikes",
        "compose?folder=/",
        "dots",
    ] {
        get!(&format!("/v1/{path}"));
    }
    post!("/v1/dots", {"name": "new"});
    post!("/v1/dots/admin/new/rename", {"to": "newer"});
    ask("DELETE", "/v1/dots/admin/newer", None).await;

    bench.write("master", CHANGED, "one");
    let at = |route: &str| format!("/v1/dots/admin/app{route}");
    for route in [
        "",
        "/current",
        "/status",
        "/diff?text=true",
        "/content?path=db",
    ] {
        get!(&at(route));
    }
    post!(&at("/stashes"), {"message": "later"});
    let stashes: Value = serde_json::from_str(&get!(&at("/stashes"))).unwrap();
    let id = &stashes[0]["id"];
    let applied = post!(&at("/stashes/apply"), {"id": id});
    assert!(applied.contains("{\"progress\":"), "{applied}");
    post!(&at("/stashes/drop"), {"id": id});
    post!(&at("/commits"), {
        "message": "One", "author": "a", "metadata": {"ticket": "7"}, "code": {"commit": "1a2b", "dirty": false}
    });
    get!(&at("/commits?all=true&limit=2"));
    post!(&at("/tags"), {"name": "v1", "revision": "HEAD", "message": "m"});
    get!(&at("/tags"));
    post!(&at("/tags/delete"), {"name": "v1"});

    post!(&at("/checkout"), {"branch": "second", "create": {"commit": "HEAD^"}});
    post!(&at("/checkout"), {"branch": "third", "create": "working_copy"});
    post!(&at("/checkout"), {"branch": "master", "wait": {"healthy": false, "seconds": 1}});
    post!(&at("/branches/rename"), {"from": "second", "to": "other-name"});
    post!(&at("/branches/delete"), {"branch": "other-name", "force": true});
    let fork = post!(&at("/forks"), {
        "branch": "side", "project": "app-side", "folder": "/srv/app", "lifetime": 60, "config": "{}",
        "ports": [{"service": "web", "target": 80, "protocol": "tcp", "published": 8100}]
    });
    let fork: Value = serde_json::from_str(&fork).unwrap();
    assert_eq!(fork["state"], "stopped", "{fork}");
    get!("/v1/forks");
    get!("/v1/compose?folder=/srv/app/web&only_forks=true");
    get!(&at("/forks/one?fork=side"));
    get!(&at("/status?branch=side"));
    post!(&at("/forks/stop"), {"branch": "side"});
    post!(&at("/forks/delete"), {"branch": "side"});
    post!(&at("/restore"), {"revision": "HEAD", "paths": ["db"]});
    post!(&at("/reset"), {"revision": "HEAD^", "hard": true});
    get!(&at("/operations"));
    post!(&at("/undo"), {});
    post!(&at("/redo"), {});

    let place = served.folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    post!("/v1/mounts", {"volume": "app.db", "place": place});
    post!("/v1/unmounts", {"place": place});

    for name in ["old", "empty"] {
        let mountpoint = served.folder.path().join(name);
        std::fs::create_dir(&mountpoint).unwrap();
        if name == "old" {
            std::fs::write(mountpoint.join("notes.db"), b"SQLite format 3\0").unwrap();
        }
        let driver = "local".to_owned();
        let volume = EngineVolume {
            driver,
            mountpoint,
            ..EngineVolume::default()
        };
        bench.world.put_volume(name, volume);
    }
    let lines = post!("/v1/dots/admin/imported/imports", {
        "subdots": [{"subdot": "db", "volume": "old"}], "message": "Import", "author": "a"
    });
    assert!(lines.contains("{\"done\":"), "{lines}");
    get!("/v1/dots/admin/imported/archive?revision=HEAD&subdot=db");
    // Only the daemon itself can open the database. Here each answer says that it cannot be read.
    let requests = [
        ("rows", json!({"revision": "HEAD"})),
        ("rows/diff", json!({"from": "HEAD", "to": "HEAD"})),
        (
            "sql",
            json!({"revision": "HEAD", "target": "db/notes.db", "statement": "select 1"}),
        ),
        (
            "sql/session?revision=HEAD&target=db/notes.db",
            json!({"input": "select 1;\n"}),
        ),
    ];
    for (route, request) in requests {
        let lines = post!(&format!("/v1/dots/admin/imported/{route}"), request);
        assert!(
            lines.contains("{\"done\":") || lines.contains("{\"failed\":"),
            "{lines}"
        );
    }
    let lines = post!("/v1/dots/admin/imported/exports", {
        "revision": "HEAD", "subdot": "db", "volume": "empty"
    });
    assert!(lines.contains("{\"done\":"), "{lines}");

    let hub = TestHub::start().await;
    let request = hub.job(&bench).request.clone();
    let HubLogin { address, .. } = request.hub.clone();
    for (route, dot) in [("push", "app"), ("pull", "app"), ("clone", "copy")] {
        let lines = post!(&format!("/v1/dots/admin/{dot}/{route}"), request);
        assert!(lines.contains("{\"done\":"), "{lines}");
    }
    let lines = post!(&at("/fetch-branches"), request);
    assert!(lines.contains("{\"done\":"), "{lines}");
    post!(&at("/fetch"), {"hub": request.hub, "revision": "HEAD"});
    let report: Value =
        serde_json::from_str(&post!("/v1/checkup", {"hubs": [request.hub]})).unwrap();
    assert!(
        report["hubs"][0]["version"]["found"].is_string(),
        "{report}"
    );
    let running: Value = serde_json::from_str(&get!("/v1/operations")).unwrap();
    let last = running.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["kind"], &last["done"]),
        (&json!("fetch"), &json!(true))
    );
    let id = last["id"].as_str().unwrap();
    let lines = get!(&format!("/v1/operations/{id}/events"));
    assert!(lines.starts_with("{\"done\":"), "{lines}");
    ask("DELETE", &format!("/v1/operations/{id}"), None).await;
    post!("/v1/fsck", {"data": true});
    post!(&at("/forget"), {"hub": address, "dot": request.remote_dot});

    let all = DOCUMENT.operations().into_iter();
    let all = all.map(|operation| (operation.method.to_owned(), operation.path.to_owned()));
    assert_eq!(asked, all.collect());
}

#[test]
fn a_wrong_answer_is_told_from_a_right_one() {
    let check = |status, body: &Value| {
        let kind = match status {
            200 => "application/json",
            _ => "application/problem+json",
        };
        check(
            ("GET", "/v1/dots/{namespace}/{dot}/current"),
            status,
            kind,
            &body.to_string(),
        )
    };
    let head = "0123abcd0123abcd0123abcd0123abcd";
    let right = json!({"branch": "master", "head": head});
    assert_eq!(check(200, &right), Ok(()));
    let problem = json!({
        "type": "/-/api#internal", "title": "It failed", "status": 500, "detail": "why", "code": "internal"
    });
    assert_eq!(check(500, &problem), Ok(()));
    for (status, wrong) in [
        (200, json!({"branch": "master"})),
        (200, json!({"branch": "master", "head": "1a"})),
        (204, right),
        (500, json!({"detail": "why"})),
    ] {
        assert!(check(status, &wrong).is_err(), "{status} {wrong}");
    }
}

/// A client that leaves does not leave a dot behind that is in the pool only.
#[tokio::test(flavor = "multi_thread")]
async fn a_dot_is_created_although_the_client_leaves() {
    let bench = Bench::empty().await;
    let name: DotName = "new".parse().unwrap();
    let held = bench.node.locks.operation(&name, "held").await;
    let body = api::extract::Body(CreateDot { name: name.clone() });
    let mut request = Box::pin(api::dots::post_dots(State(bench.node.clone()), body));
    assert!(matches!(futures::poll!(&mut request), Poll::Pending));
    drop(request);
    drop(held);
    let created = async {
        while bench.node.registry.find_dot(&name).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    let limit = TIMING.call * 40;
    tokio::time::timeout(limit, created).await.unwrap();
}

/// Starts the container that the guide speaks of, which writes to its volume.
async fn start_the_app(bench: &Bench) {
    volume::create(&bench.node, "shop.db").await.unwrap();
    bench.world.create("db", &["shop.db"], |_| {});
    bench.world.start_by_hand("db").await.unwrap();
    let volume: VolumeName = "shop@master.db".parse().unwrap();
    let branch = "master".parse().unwrap();
    let pool = &bench.node.pool;
    let folder = pool.volume_path(&volume.dot, &branch, &volume.folder);
    std::fs::write(folder.join("orders"), "ten orders").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_examples_do_what_it_says() {
    let bench = Bench::empty().await;
    let served = Served::start(&bench);
    let socket = served.socket.to_str().unwrap();
    for example in Example::all_of(GUIDE) {
        if example.script.contains("/status") && bench.world.names().is_empty() {
            start_the_app(&bench).await;
        }
        example.check(&[("SOCKET", socket)]).await;
    }
}
