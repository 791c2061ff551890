//! Proxies and networks that answer in place of the hub. Whatever they answer, a transfer succeeds or ends with a
//! clear error, and no data is lost.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use dotmesh_api::{HubAddress, HubClient};
use dotmesh_model::{CommitId, DotName};
use dotmesh_sync::{HubSource, Progress, Target, greet, materialise, retry};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::net::TcpListener;

use crate::cuts::{noise, noise_bytes, push, root_of, told};
use crate::support::{TestHub, dot};

/// The HTML page of a proxy.
const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Sorry</title></head><body>Sorry</body></html>";

/// Statuses that only the user can resolve, so a transfer ends with them.
const LAST: [u16; 11] = [400, 401, 403, 404, 407, 411, 413, 414, 431, 500, 511];

/// The answer that a client gets instead of the hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A page with this status.
    Page(u16),
    /// A page with this status and a `Retry-After` header.
    Wait(u16, Wait),
    /// A success without a body.
    Nothing,
    /// An error status with JSON of another server.
    Json(u16),
    /// A redirect to a login page.
    Redirect,
    /// The connection ends.
    Cut,
    /// The connection ends in the middle of the answer.
    CutBody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Seconds(u64),
    Date(u64),
}

/// A fault, before or after the hub has handled the request.
#[derive(Debug, Clone, Copy)]
struct Fault {
    answer: Answer,
    done: bool,
}

fn transient() -> impl Strategy<Value = Answer> {
    let wait = prop_oneof![
        Just(Wait::Seconds(0)),
        Just(Wait::Seconds(1)),
        (0..2u64).prop_map(Wait::Date)
    ];
    prop_oneof![
        3 => proptest::sample::select(vec![408, 429, 502, 503, 504, 522]).prop_map(Answer::Page),
        2 => (proptest::sample::select(vec![429, 502, 503]), wait).prop_map(|(status, wait)| Answer::Wait(status, wait)),
        2 => proptest::sample::select(vec![200, 201]).prop_map(Answer::Page),
        1 => Just(Answer::Nothing),
        1 => proptest::sample::select(vec![502, 503]).prop_map(Answer::Json),
        1 => Just(Answer::Redirect),
        1 => Just(Answer::Cut),
        1 => Just(Answer::CutBody),
    ]
}

fn last() -> impl Strategy<Value = Answer> {
    proptest::sample::select(LAST.to_vec()).prop_map(Answer::Page)
}

fn faults(answer: impl Strategy<Value = Answer>) -> impl Strategy<Value = Fault> {
    (answer, any::<bool>()).prop_map(|(answer, done)| Fault { answer, done })
}

/// The faults of consecutive requests. No request fails more than twice, so each can succeed.
fn script() -> impl Strategy<Value = Vec<Option<Fault>>> {
    let step = prop_oneof![
        2 => Just(vec![None]),
        2 => faults(transient()).prop_map(|fault| vec![Some(fault), None]),
        1 => (faults(transient()), faults(transient()))
            .prop_map(|(one, two)| vec![Some(one), Some(two), None]),
    ];
    proptest::collection::vec(step, 4..12).prop_map(|steps| steps.concat())
}

/// A proxy in front of a hub. It follows its script, and then forwards everything.
struct Proxy {
    address: HubAddress,
    script: Arc<Mutex<Script>>,
}

/// The remaining faults, and those that occurred.
struct Script {
    next: VecDeque<Option<Fault>>,
    met: Vec<Fault>,
}

impl Script {
    fn next(&mut self) -> Option<Fault> {
        let fault = self.next.pop_front().flatten();
        self.met.extend(fault);
        fault
    }
}

impl Proxy {
    /// Starts a proxy. It ends the script with `last`, which occurs only if the transfer has enough requests.
    async fn before(hub: &str, script: &[Option<Fault>], last: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let next = script.iter().copied().chain(last.map(Some)).collect();
        let script = Arc::new(Mutex::new(Script {
            next,
            met: Vec::new(),
        }));
        let (hub, next) = (hub.to_owned(), Arc::clone(&script));
        let http = reqwest::Client::builder().no_proxy();
        let http = http.build().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hub, next, http) = (hub.clone(), Arc::clone(&next), http.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let fault = next.lock().unwrap().next();
                    serve(
                        http.clone(),
                        format!("{hub}{}", request.uri()),
                        request,
                        fault,
                    )
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address: address.parse().unwrap(),
            script,
        }
    }

    fn client(&self, of: &HubClient, secret: &str) -> HubClient {
        HubClient::new(
            self.address.clone(),
            of.user().unwrap().clone(),
            secret.to_owned(),
        )
        .unwrap()
    }

    fn met(&self) -> usize {
        self.script.lock().unwrap().met.len()
    }

    /// Returns whether a transfer through this proxy succeeded. A failed one must name the last fault as its cause.
    #[track_caller]
    fn check(&self, ended: Result<(), String>) -> bool {
        let script = self.script.lock().unwrap();
        let status = match script.met.last() {
            Some(Fault {
                answer: Answer::Page(status),
                ..
            }) if LAST.contains(status) => *status,
            _ => {
                ended.unwrap();
                return true;
            }
        };
        let error = ended.unwrap_err();
        assert!(error.contains(&format!("status {status}")), "{error}");
        false
    }
}

async fn serve(
    http: reqwest::Client,
    url: String,
    request: Request<Incoming>,
    fault: Option<Fault>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await;
    let body = body.map_err(std::io::Error::other)?;
    if let Some(Fault {
        answer,
        done: false,
    }) = fault
    {
        return answer.give();
    }
    let mut asked = http.request(head.method, url).body(body);
    for (name, value) in &head.headers {
        if name != header::HOST && name != header::CONTENT_LENGTH {
            asked = asked.header(name, value);
        }
    }
    let told = asked.send().await.map_err(std::io::Error::other)?;
    let mut response = Response::builder().status(told.status());
    for (name, value) in told.headers() {
        if name != header::TRANSFER_ENCODING {
            response = response.header(name, value);
        }
    }
    let body = told.bytes().await.map_err(std::io::Error::other)?;
    match fault {
        Some(fault) => fault.answer.give(),
        None => Ok(response.body(Body::from(body)).unwrap()),
    }
}

impl Answer {
    fn give(self) -> Result<Response<Body>, std::io::Error> {
        let response = Response::builder();
        let page = |status: u16| response_with_page(status);
        Ok(match self {
            Self::Page(status) => page(status).body(Body::from(PAGE)),
            Self::Wait(status, wait) => {
                let now = SystemTime::now();
                let wait = match wait {
                    Wait::Seconds(seconds) => seconds.to_string(),
                    Wait::Date(after) => http_date(now + Duration::from_secs(after)),
                };
                let page = page(status).header(header::RETRY_AFTER, wait);
                page.body(Body::from(PAGE))
            }
            Self::Nothing => response.status(StatusCode::OK).body(Body::empty()),
            Self::Json(status) => response
                .status(status)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from("{\"error\": \"upstream\"}")),
            Self::Redirect => page(302)
                .header(header::LOCATION, "http://login.example/")
                .body(Body::from(PAGE)),
            Self::Cut => return Err(std::io::Error::other("cut")),
            Self::CutBody => {
                let parts = [Ok("{\"id\": \"…"), Err(std::io::Error::other("cut"))];
                response
                    .header(header::CONTENT_LENGTH, "1000")
                    .body(Body::from_stream(futures::stream::iter(parts)))
            }
        }
        .unwrap())
    }
}

fn response_with_page(status: u16) -> axum::http::response::Builder {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
}

fn http_date(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap();
    let format = jiff::fmt::rfc2822::DateTimePrinter::new();
    format.timestamp_to_rfc9110_string(&time).unwrap()
}

fn fill(folder: &Path, seed: u64) {
    let mut next = noise(seed);
    for file in 0..3 {
        let bytes = noise_bytes(&mut next, 40_000);
        std::fs::write(folder.join(format!("file{file}")), bytes).unwrap();
    }
}

/// Pushes as a node does.
async fn push_all(client: &HubClient, app: &DotName, data: &Path) -> Result<(), String> {
    let greeted = greet(client, &Progress::default()).await;
    greeted.map_err(|error| told(&error))?;
    push(client, app, data, COMMIT).await.map(drop)
}

/// Clones as a node does. The commit's root must be that of `data`.
async fn clone_all(client: &HubClient, app: &DotName, into: &mut Target) -> Result<(), String> {
    let progress = Progress::default();
    let greeted = greet(client, &progress).await;
    greeted.map_err(|error| told(&error))?;
    let list = retry(&progress, "read the history", || {
        client.commits(app, COMMIT, None)
    });
    let list = list.await.map_err(|error| told(&error))?;
    assert_eq!(list.commits.len(), 1, "the push is there once");
    assert_eq!(list.commits[0].root, into.root);
    let source = HubSource::new(client.clone(), app.clone(), Arc::default(), Arc::default());
    let made = materialise(&Arc::new(source), into, &Arc::default()).await;
    into.resumed = true;
    made.map_err(|error| told(&error))
}

const COMMIT: CommitId = CommitId::from_bytes([7; 16]);

/// One dot's way to the hub and back, with faults in both directions. It may end with an answer that only the user
/// can resolve.
#[derive(Debug, Clone)]
struct Journey {
    there: Vec<Option<Fault>>,
    back: Vec<Option<Fault>>,
    last: Option<Fault>,
}

fn journeys() -> impl Strategy<Value = Journey> {
    let last = prop_oneof![
        2 => Just(None),
        1 => faults(last()).prop_map(Some),
    ];
    (script(), script(), last).prop_map(|(there, back, last)| Journey { there, back, last })
}

impl Journey {
    /// Pushes and clones, and returns the number of faults.
    async fn make(&self, hub: &TestHub, number: u64) -> usize {
        let (alice, secret) = hub.user_with_secret(&format!("user{number}")).await;
        let app = dot(&format!("user{number}/app"));
        let (data, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(data.path(), number);
        let mut into = Target {
            root: root_of(data.path()).await,
            base: None,
            into: into.path().to_owned(),
            resumed: false,
        };

        let proxy = Proxy::before(&hub.url, &self.there, self.last).await;
        let client = proxy.client(&alice, &secret);
        let pushed = push_all(&client, &app, data.path()).await;
        if !proxy.check(pushed) {
            push_all(&alice, &app, data.path()).await.unwrap();
        }
        let mut met = proxy.met();

        let proxy = Proxy::before(&hub.url, &self.back, self.last).await;
        let client = proxy.client(&alice, &secret);
        let cloned = clone_all(&client, &app, &mut into).await;
        if !proxy.check(cloned) {
            clone_all(&alice, &app, &mut into).await.unwrap();
        }
        assert_eq!(root_of(&into.into).await, into.root);
        met += proxy.met();
        met
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answers_in_between_a_transfer_ends_right_or_says_why() {
    let hub = Arc::new(TestHub::start().await);
    let mut runner = TestRunner::default();
    let mut running = tokio::task::JoinSet::new();
    // The journeys run at once, because they mostly wait.
    for number in 0..64 {
        let journey = journeys().new_tree(&mut runner).unwrap().current();
        let hub = Arc::clone(&hub);
        running.spawn(async move {
            let made = tokio::spawn({
                let journey = journey.clone();
                async move { journey.make(&hub, number).await }
            });
            made.await
                .unwrap_or_else(|error| panic!("{error} in {journey:?}"))
        });
    }
    let met: usize = running.join_all().await.into_iter().sum();
    assert!(met > 200, "only {met} faults");
}
