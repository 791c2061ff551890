//! Clients that send slowly, read nothing or only connect take nothing away from others, and are cut off.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dotmesh_api::HubClient;
use dotmesh_hub_model::limits::{self, Pace};
use dotmesh_hub_service::descriptors;
use dotmesh_hub_service::settings::Settings;
use dotmesh_model::CommitId;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::api::Api;
use crate::cuts;
use crate::pages::{Browser, PASSWORD};
use crate::support::{TestHub, commit, dot, files, push, push_first};

/// No client is too slow.
const PATIENT: Pace = Pace {
    grace: Duration::from_secs(3600),
    head: Duration::from_secs(3600),
    ..Pace::DEFAULT
};

/// Idle clients are cut off soon.
const IMPATIENT: Pace = Pace {
    grace: Duration::from_secs(1),
    head: Duration::from_secs(1),
    ..Pace::DEFAULT
};

fn settings(pace: Pace) -> Settings {
    Settings {
        pace,
        ..Settings::default()
    }
}

/// A loopback address of this machine.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 7, number)
}

/// A client that connects from an address.
fn client_at(number: u8) -> reqwest::Client {
    let builder = reqwest::Client::builder().local_address(IpAddr::from(address(number)));
    builder.build().unwrap()
}

impl TestHub {
    /// Connects from an address.
    async fn connect(&self, number: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address(number), 0).into()).unwrap();
        let hub: SocketAddr = self.url.trim_start_matches("http://").parse().unwrap();
        socket.connect(hub).await.unwrap()
    }

    /// Sends a request from an address, with only this part of the body.
    async fn begin(&self, number: u8, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect(number).await;
        let head = format!("{head}\r\nhost: hub\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }
}

/// The start of the hub's answer, or `None` if the hub closes the connection.
async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes).await {
        Ok(0) => None,
        Ok(length) => Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

/// Alice's public dot, with a sparse file that is longer than all network buffers.
struct Scene {
    hub: TestHub,
    alice: HubClient,
    key: String,
    size: u64,
}

const PUSHED: CommitId = CommitId::from_bytes([7; 16]);

impl Scene {
    async fn new(pace: Pace) -> Self {
        let hub = TestHub::start_with(settings(pace)).await;
        let (alice, key) = hub.user_with_secret("alice").await;
        let folder = tempfile::tempdir().unwrap();
        let size = 256 << 20;
        let file = std::fs::File::create(folder.path().join("file")).unwrap();
        file.set_len(size).unwrap();
        let app = dot("alice/app");
        cuts::push(&alice, &app, folder.path(), PUSHED)
            .await
            .unwrap();
        let public = json!({ "visibility": "public" });
        let api = Api::new(&hub, &key);
        api.done("PATCH", "dots/alice/app/settings", public).await;
        Self {
            hub,
            alice,
            key,
            size,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.hub.url)
    }
}

const FILE: &str = "/alice/app/raw/master/file";

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_takes_nobody_s_turn() {
    let scene = Scene::new(PATIENT).await;
    let (mallory, key) = scene.hub.user_with_secret("mallory").await;
    let theirs = dot("mallory/app");
    push_first(&mallory, &theirs, b"one").await;
    let upload = mallory.begin_upload(&theirs).await.unwrap().id;
    let mut slow = Vec::new();
    for (path, length) in [
        (format!("dots/mallory/app/uploads/{upload}/packs"), 32 << 20),
        (
            format!("dots/mallory/app/uploads/{upload}/finish"),
            64 << 20,
        ),
        (
            format!("dots/mallory/app/uploads/{upload}/missing"),
            256 << 10,
        ),
        ("dots/alice/app/objects".to_owned(), 256 << 10),
    ] {
        let head = format!(
            "POST /api/v1/{path} HTTP/1.1\r\nauthorization: Bearer {key}\r\ncontent-length: {length}"
        );
        for _ in 0..40 {
            slow.push(scene.hub.begin(1, &head, &[b'['; 1000]).await);
        }
    }
    // Other requests from this address and of this user are not blocked.
    push_first(&scene.alice, &dot("alice/other"), b"two").await;
    let (made, files) = push_first(&mallory, &dot("mallory/other"), b"three").await;
    mallory
        .objects(&dot("mallory/other"), &files.hashes())
        .await
        .unwrap();
    let next = commit(&made, &files);
    push(&mallory, &dot("mallory/other"), Some(&made), &next, &files)
        .await
        .unwrap();
    for stream in &slow {
        let nothing = stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_takes_nobody_s_turn() {
    let scene = Scene::new(PATIENT).await;
    let mut unread = Vec::new();
    for number in 1..=3 {
        for path in [FILE, "/alice/app/archive/master"] {
            for _ in 0..40 {
                let head = format!("GET {path} HTTP/1.1");
                unread.push(scene.hub.begin(number, &head, b"").await);
            }
        }
    }
    let got = client_at(9).get(scene.url(FILE)).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::OK);
    assert_eq!(got.content_length(), Some(scene.size));
    // A user has a share of their own at every address.
    let got = client_at(1).get(scene.url(FILE)).bearer_auth(&scene.key);
    assert_eq!(
        got.send().await.unwrap().bytes().await.unwrap().len() as u64,
        scene.size
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_is_told_so_or_cut_and_live_pages_stay() {
    let scene = Scene::new(IMPATIENT).await;
    let live = reqwest::get(scene.url("/alice/app/live")).await.unwrap();
    let mut live = live.bytes_stream();
    let first = futures::StreamExt::next(&mut live).await.unwrap().unwrap();

    let head = "POST /-/login HTTP/1.1\r\nsec-fetch-site: same-origin\r\ncontent-length: 1000";
    let mut silent = scene.hub.begin(1, head, b"user=alice").await;
    assert!(
        answer(&mut silent)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 408 ")
    );
    let mut trickling = scene.hub.begin(1, head, b"user=alice").await;
    let told = loop {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        tick.tick().await;
        tokio::select! {
            told = answer(&mut trickling) => break told,
            _ = tick.tick() => trickling.write_all(b"x").await.unwrap(),
        }
    };
    assert!(told.unwrap().starts_with("HTTP/1.1 408 "));

    // The hub waits only a limited time for the head of the first request and of the next.
    let mut idle = scene.hub.connect(1).await;
    assert_eq!(answer(&mut idle).await, None);
    let mut done = scene.hub.begin(1, "GET /healthz HTTP/1.1", b"").await;
    assert!(
        answer(&mut done)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    assert_eq!(answer(&mut done).await, None);

    // The slot is free again. The hub cut the answer short, apart from the bytes in buffers.
    let mut unread = scene
        .hub
        .begin(1, &format!("GET {FILE} HTTP/1.1"), b"")
        .await;
    assert!(
        answer(&mut unread)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    while scene.hub.hub.connections() > 1 {
        tokio::task::yield_now().await;
    }
    let mut rest = Vec::new();
    let _ = unread.read_to_end(&mut rest).await;
    assert!((rest.len() as u64) < scene.size);

    // The dot had no event all that time, and its live page is still open.
    push_first(&scene.alice, &dot("alice/other"), b"two").await;
    let files = files(&[("a", b"three")]);
    let app = dot("alice/app");
    let commits = scene.alice.commits(&app, PUSHED, None).await.unwrap();
    let before = crate::support::Made {
        id: PUSHED,
        sealed: commits.commits[0].clone(),
    };
    let next = commit(&before, &files);
    push(&scene.alice, &app, Some(&before), &next, &files)
        .await
        .unwrap();
    let second = futures::StreamExt::next(&mut live).await.unwrap().unwrap();
    assert_ne!(first, second);
}

/// The socket buffers hold more than this client reads during the grace period.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_but_steadily_is_not_cut() {
    let scene = Scene::new(IMPATIENT).await;
    let mut reading = scene
        .hub
        .begin(1, &format!("GET {FILE} HTTP/1.1"), b"")
        .await;
    let mut tick = tokio::time::interval(Duration::from_millis(25));
    let (mut bytes, mut read) = (vec![0; 16 << 10], 0);
    while read < 6 << 20 {
        tick.tick().await;
        match reading.read(&mut bytes).await.unwrap() {
            0 => panic!("cut after {read} bytes"),
            length => read += length,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections() {
    descriptors::raise();
    let hub = TestHub::start_with(settings(PATIENT)).await;
    let mut connections = Vec::new();
    for _ in 0..limits::CONNECTIONS.of_one {
        connections.push(hub.connect(1).await);
    }
    for _ in 0..800 {
        let mut connection = hub.connect(1).await;
        assert_eq!(answer(&mut connection).await, None);
    }
    let healthz = format!("{}/healthz", hub.url);
    let answer = client_at(2).get(&healthz).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(client_at(1).get(&healthz).send().await.is_err());
    drop(connections);
    while client_at(1).get(&healthz).send().await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_requests_are_counted_by_client() {
    descriptors::raise();
    let settings = Settings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..settings(PATIENT)
    };
    let hub = TestHub::start_with(settings).await;
    let mut slow = Vec::new();
    for _ in 0..limits::REQUESTS.of_one {
        let head = "POST /-/login HTTP/1.1\r\nsec-fetch-site: same-origin\r\ncontent-length: 10\r\n\
                    x-forwarded-for: 2001:db8::1";
        slow.push(hub.begin(1, head, b"user").await);
    }
    let ask = async |from: &'static str| {
        let request = client_at(1).get(format!("{}/healthz", hub.url));
        let answer = request.header("x-forwarded-for", from).send().await;
        answer.unwrap().status()
    };
    // The hub counts an IPv6 address as its network.
    while ask("2001:db8::2").await != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(ask("2001:db8:0:1::1").await, StatusCode::OK);
    assert_eq!(ask("198.51.100.1").await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_so_many_live_pages() {
    let scene = Scene::new(PATIENT).await;
    let listen = async |client: &reqwest::Client, key: Option<&str>| {
        let mut request = client.get(scene.url("/alice/app/live"));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap()
    };
    let client = client_at(1);
    let mut open = Vec::new();
    for _ in 0..limits::LISTENERS.of_one {
        let answer = listen(&client, None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        open.push(answer);
    }
    assert_eq!(listen(&client, None).await.status(), StatusCode::NO_CONTENT);
    let key = Some(scene.key.as_str());
    assert_eq!(listen(&client, key).await.status(), StatusCode::OK);
    assert_eq!(listen(&client_at(2), None).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_guesses_so_many_passwords() {
    let hub = TestHub::start().await;
    Browser::logged_in(&hub, "alice").await;
    let mut looked_at = 0;
    for guess in 0..60 {
        let request = client_at(1).get(format!("{}/api/v1/user", hub.url));
        let request = request.basic_auth(format!("user{guess}"), Some("wrong horse"));
        match request.send().await.unwrap().status() {
            StatusCode::UNAUTHORIZED => looked_at += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    assert_eq!(looked_at, 50);
    let log_in = async |number| {
        let request = client_at(number).get(format!("{}/api/v1/user", hub.url));
        let request = request.basic_auth("alice", Some(PASSWORD));
        request.send().await.unwrap().status()
    };
    assert_eq!(log_in(1).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(log_in(2).await, StatusCode::OK);
}
