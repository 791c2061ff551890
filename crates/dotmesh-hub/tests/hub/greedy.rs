//! A user works beside many anonymous clients that are slow and greedy at random. All the user's requests must
//! succeed.
//!
//! `GREEDY=SEED` repeats a run. The test prints times but does not check them, because they depend on the machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dotmesh_api::HubClient;
use dotmesh_hub_service::descriptors;
use dotmesh_model::CommitId;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::cli::{Serving, start};
use crate::cuts::{self, noise};
use crate::pages::PASSWORD;
use crate::place::Place;
use crate::support::{Made, commit, dot, files, push, push_first};

/// The duration of the run.
const TIME: Duration = Duration::from_secs(15);

/// The number of client addresses, and of greedy clients at each.
const ADDRESSES: u8 = 20;
const CLIENTS: u8 = 6;

/// The number of connections that each client keeps open.
const KEPT: usize = 12;

/// The memory limit of the process, in bytes.
const MOST_MEMORY: u64 = 512 << 20;

/// A time limit that a busy machine meets, too.
const GENEROUS: Duration = Duration::from_secs(30);

/// A greedy client.
struct Greedy {
    hub: SocketAddr,
    address: Ipv4Addr,
    random: Box<dyn FnMut() -> u64 + Send>,
    kept: Vec<TcpStream>,
}

impl Greedy {
    fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[(self.random)() as usize % things.len()]
    }

    /// Sends a request, and keeps the connection without reading the answer.
    async fn ask(&mut self, request: &str) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.address, 0).into())?;
        let mut stream = socket.connect(self.hub).await?;
        stream.write_all(request.as_bytes()).await?;
        self.kept.push(stream);
        if self.kept.len() > KEPT {
            let which = (self.random)() as usize % KEPT;
            self.kept.swap_remove(which);
        }
        Ok(())
    }

    /// Does one random action. Its result does not matter.
    async fn act(&mut self) -> std::io::Result<()> {
        let page = self.one_of(&[
            "/alice/app/tree/master/large.rs",
            "/alice/app/tree/master",
            "/alice/app/graph",
            "/alice/app/activity",
            "/alice/app/commits/master",
            "/-/search?q=line&in=commits",
            "/-/search?q=app",
            "/-/api",
        ]);
        let bytes = self.one_of(&["/alice/app/raw/master/file", "/alice/app/archive/master"]);
        let to = self.one_of(&["/-/login", "/api/v1/dots/alice/app/objects"]);
        match (self.random)() % 8 {
            // Only connects.
            0 => self.ask("").await,
            // Sends part of a head or of a body.
            1 => self.ask("GET / HTTP/1.1\r\nhost: h").await,
            2 => {
                let head = "host: hub\r\nsec-fetch-site: same-origin\r\ncontent-length: 100000";
                self.ask(&format!("POST {to} HTTP/1.1\r\n{head}\r\n\r\nuser=a"))
                    .await
            }
            // Requests a page, and reads nothing.
            3 => {
                self.ask(&format!("GET {bytes} HTTP/1.1\r\nhost: hub\r\n\r\n"))
                    .await
            }
            4 => {
                self.ask(&format!("GET {page} HTTP/1.1\r\nhost: hub\r\n\r\n"))
                    .await
            }
            // Guesses passwords.
            5 => {
                let body = format!("user=user{}&password=wrong+horse", (self.random)() % 300);
                let length = body.len();
                let head = "host: hub\r\nsec-fetch-site: same-origin\r\nconnection: close\r\n\
                    content-type: application/x-www-form-urlencoded";
                let request = format!(
                    "POST /-/login HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                self.ask(&request).await?;
                self.read().await
            }
            // Requests large or slow pages again and again.
            _ => {
                let request =
                    format!("GET {page} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n");
                self.ask(&request).await?;
                self.read().await
            }
        }
    }

    /// Reads the last answer.
    async fn read(&mut self) -> std::io::Result<()> {
        if let Some(mut stream) = self.kept.pop() {
            let mut bytes = vec![0; 64 << 10];
            while stream.read(&mut bytes).await? > 0 {}
        }
        Ok(())
    }
}

/// The user at work.
struct Person {
    alice: HubClient,
    http: reqwest::Client,
    url: String,
    key: String,
    last: Made,
    pages: Vec<Duration>,
    log_ins: Vec<Duration>,
    pushes: Vec<Duration>,
}

impl Person {
    async fn look(&mut self) {
        for path in ["/alice/app", "/alice/desk", "/alice/desk/commits/master"] {
            let started = Instant::now();
            let request = self.http.get(format!("{}{path}", self.url));
            let answer = request.bearer_auth(&self.key).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert_eq!(status, StatusCode::OK, "{path}: {text}");
            assert!(text.contains("</html>"), "{path}: {text}");
            self.pages.push(started.elapsed());
        }
    }

    async fn log_in(&mut self) {
        let started = Instant::now();
        let fields = format!("user=alice&password={}", PASSWORD.replace(' ', "+"));
        let request = self.http.post(format!("{}/-/login", self.url));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        let answer = request.body(fields).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        self.log_ins.push(started.elapsed());
    }

    async fn push(&mut self) {
        let started = Instant::now();
        let content = self.pushes.len().to_be_bytes();
        let files = files(&[("a", &content)]);
        let next = commit(&self.last, &files);
        push(
            &self.alice,
            &dot("alice/desk"),
            Some(&self.last),
            &next,
            &files,
        )
        .await
        .unwrap();
        self.last = next;
        self.pushes.push(started.elapsed());
    }
}

/// A hub with Alice's public dot, which has large content.
async fn scene(place: &Place) -> (Serving, HubClient, String) {
    let key = place.hub_with_user("alice").await;
    place.set_password("alice", PASSWORD);
    let serving = start(place.dothub(&["serve", "--listen", "127.0.0.1:0"]));
    let alice = serving.client("alice", &key);
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("file")).unwrap();
    file.set_len(256 << 20).unwrap();
    let lines: String = (0..5_000)
        .map(|n| {
            format!(
                "let line_{n} = \"{}\".repeat({n}); // line\n",
                "x".repeat(60)
            )
        })
        .collect();
    std::fs::write(folder.path().join("large.rs"), lines).unwrap();
    let app = dot("alice/app");
    cuts::push(&alice, &app, folder.path(), CommitId::from_bytes([7; 16]))
        .await
        .unwrap();
    let public = json!({ "visibility": "public" });
    let api = Api::at(serving.url(), &key);
    api.done("PATCH", "dots/alice/app/settings", public).await;
    (serving, alice, key)
}

async fn slowest_healthz(url: String, over: Arc<AtomicBool>) -> Duration {
    let http = reqwest::Client::new();
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        let answer = http.get(format!("{url}/healthz")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        slowest = slowest.max(started.elapsed());
        tokio::task::yield_now().await;
    }
    slowest
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_works_beside_many_who_are_greedy() {
    descriptors::raise();
    let seed = std::env::var("GREEDY")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("GREEDY={seed}");
    let place = Place::new().await;
    let (serving, alice, key) = scene(&place).await;
    let (last, _) = push_first(&alice, &dot("alice/desk"), b"one").await;
    let hub: SocketAddr = serving.address().parse().unwrap();

    let mut greedy = JoinSet::new();
    for number in 0..ADDRESSES * CLIENTS {
        let mut client = Greedy {
            hub,
            address: Ipv4Addr::new(127, 0, 9, 1 + number % ADDRESSES),
            random: Box::new(noise(
                seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            )),
            kept: Vec::new(),
        };
        greedy.spawn(async move {
            loop {
                // The hub ends excessive connections.
                let _ = client.act().await;
            }
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let healthy = tokio::spawn(slowest_healthz(serving.url().to_owned(), Arc::clone(&over)));
    let mut person = Person {
        alice,
        http: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap(),
        url: serving.url().to_owned(),
        key,
        last,
        pages: Vec::new(),
        log_ins: Vec::new(),
        pushes: Vec::new(),
    };
    let started = Instant::now();
    while started.elapsed() < TIME {
        person.look().await;
        person.log_in().await;
        person.push().await;
    }
    over.store(true, Ordering::Relaxed);
    let healthz = healthy.await.unwrap();
    drop(greedy);
    let memory = serving.peak_memory();
    let Person {
        pages,
        log_ins,
        pushes,
        ..
    } = &mut person;
    let turns = pushes.len();
    let [page, log_in, push] = [pages, log_ins, pushes].map(|times| percentile(times, 95));
    println!(
        "{turns} turns; p95 of pages {page:?}, log-ins {log_in:?}, pushes {push:?}; \
         slowest /healthz {healthz:?}; memory {} MB",
        memory / 1_000_000
    );
    assert!(memory < MOST_MEMORY, "{memory}");
    for time in [page, log_in, push, healthz] {
        assert!(time < GENEROUS, "{time:?}");
    }
}
