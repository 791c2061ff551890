//! Push and fetch over HTTP, against a minimal hub that can misbehave.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use dotmesh_api::hub::{BranchUpdate, FinishUpload, HubVersion, SealedCommit, Upload};
use dotmesh_api::hub_client::{join, split};
use dotmesh_api::{ErrorBody, HubAddress, HubClient};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, ObjectHash};
use dotmesh_store::{Frame, Object, PackReader, PackWriter, ROOT_SEAL, references, seal};
use dotmesh_sync::{
    FetchError, HubSource, MaterialiseError, PageCache, Progress, Push, Rate, Target, materialise,
};

/// The state of the hub, and the numbers of requests.
#[derive(Default)]
struct Hub {
    frames: HashMap<ObjectHash, Frame>,
    finished: Option<FinishUpload>,
    asked: usize,
    packs: usize,
    fetched: usize,
    /// The most objects in an answer to `objects`, or 0 for no limit.
    most: usize,
    /// Flips a byte near the end of each pack that it sends.
    damages: bool,
}

fn clone(root: ObjectHash, into: &Path) -> Target {
    Target {
        root,
        base: None,
        into: into.to_owned(),
        resumed: false,
    }
}

type Shared = State<Arc<Mutex<Hub>>>;

async fn missing(State(hub): Shared, body: Bytes) -> Vec<u8> {
    let mut hub = hub.lock().expect("the hub");
    hub.asked += 1;
    let mut hashes = split(&body).expect("hashes");
    hashes.retain(|hash| !hub.frames.contains_key(hash));
    join(&hashes)
}

async fn packs(State(hub): Shared, body: Bytes) -> StatusCode {
    let mut hub = hub.lock().expect("the hub");
    hub.packs += 1;
    for frame in PackReader::new(body).expect("a pack") {
        let frame = frame.expect("a frame");
        frame.object().expect("an object");
        hub.frames.insert(frame.hash(), frame);
    }
    StatusCode::NO_CONTENT
}

async fn objects(State(hub): Shared, body: Bytes) -> Vec<u8> {
    let mut hub = hub.lock().expect("the hub");
    hub.fetched += 1;
    let hashes = split(&body).expect("hashes");
    let most = if hub.most == 0 {
        hashes.len()
    } else {
        hub.most
    };
    let mut pack = PackWriter::default();
    for frame in hashes
        .iter()
        .take(most)
        .filter_map(|hash| hub.frames.get(hash))
    {
        pack.push(frame);
    }
    let mut pack = pack.finish().to_vec();
    if hub.damages {
        *pack.last_mut().expect("a byte") ^= 1;
    }
    pack
}

async fn finish(State(hub): Shared, Json(finish): Json<FinishUpload>) -> StatusCode {
    hub.lock().expect("the hub").finished = Some(finish);
    StatusCode::NO_CONTENT
}

async fn start() -> (Arc<Mutex<Hub>>, HubClient) {
    let hub = Arc::new(Mutex::new(Hub::default()));
    let dot = "/api/v1/dots/alice/app";
    let app = Router::new()
        .route(
            &format!("{dot}/uploads"),
            post(async || Json(Upload { id: "u".to_owned() })),
        )
        .route(&format!("{dot}/uploads/u/missing"), post(missing))
        .route(&format!("{dot}/uploads/u/packs"), post(packs))
        .route(&format!("{dot}/uploads/u/finish"), post(finish))
        .route(&format!("{dot}/objects"), post(objects))
        .route("/", get(async || ""))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(Arc::clone(&hub));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let address: HubAddress = address.parse().expect("an address");
    let user = "alice".parse().expect("a name");
    (
        hub,
        HubClient::new(address, user, "secret".to_owned()).expect("a client"),
    )
}

fn dot() -> DotName {
    "alice/app".parse().expect("a name")
}

struct CommitToPush {
    record: Vec<u8>,
    data: std::path::PathBuf,
}

/// A cache that stores nothing.
struct NoCache;

impl PageCache for NoCache {
    fn get(&self, _: &[ObjectHash]) -> Vec<(ObjectHash, Bytes)> {
        Vec::new()
    }

    fn put(&self, _: &[Object]) {}
}

async fn push(
    hub: &HubClient,
    commits: &[CommitToPush],
    branches: Vec<BranchUpdate>,
    progress: &Arc<Progress>,
) -> Vec<SealedCommit> {
    let mut push = Push::new(hub, &dot(), &Arc::default(), progress, true, None);
    let cache: Arc<dyn PageCache> = Arc::new(NoCache);
    let mut parent = ROOT_SEAL;
    let mut sealed = Vec::new();
    for commit in commits {
        let root = push
            .send(&commit.data, None, &cache)
            .await
            .expect("send")
            .root;
        parent = seal(parent, &commit.record, root);
        let record = String::from_utf8(commit.record.clone()).expect("text");
        sealed.push(SealedCommit {
            seal: parent,
            root,
            record,
            left_out: None,
            without_data: false,
        });
    }
    push.finish(sealed.clone(), branches).await.expect("finish");
    sealed
}

fn commit(n: u8, data: &Path) -> CommitToPush {
    let record = CommitRecord {
        version: 1,
        id: CommitId::from_bytes([n; 16]),
        parent: CommitId::from_bytes([n - 1; 16]),
        branch: BranchName::master(),
        author: "alice".to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
        message: String::new(),
        metadata: Default::default(),
        images: Vec::new(),
        code: None,
        dot: None,
    };
    CommitToPush {
        record: record.encode(),
        data: data.to_owned(),
    }
}

fn fill(folder: &Path) {
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20_000_000)
    .collect();
    std::fs::write(folder.join("large"), &noise).expect("write");
    for n in 0..500 {
        std::fs::write(folder.join(format!("small{n}")), &noise[n * 100..n * 103]).expect("write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_is_fetched_with_few_requests() {
    let (hub, client) = start().await;
    let (data, into) = (
        tempfile::tempdir().expect("temp"),
        tempfile::tempdir().expect("temp"),
    );
    fill(data.path());
    let progress = Arc::new(Progress::default());
    let update = BranchUpdate {
        name: BranchName::master(),
        old: None,
        new: CommitId::from_bytes([2; 16]),
        stash: None,
        force: false,
    };
    let commits = [commit(1, data.path()), commit(2, data.path())];
    let sealed = push(&client, &commits, vec![update], &progress).await;
    {
        let mut hub = hub.lock().expect("the hub");
        assert_eq!(hub.finished.as_ref().expect("finished").commits, sealed);
        assert!(hub.packs <= 4, "{} packs", hub.packs);
        assert!(hub.asked <= 6, "{} questions", hub.asked);
        for frame in hub.frames.values() {
            let object = frame.object().expect("an object");
            for (_, hash) in references(object.kind(), object.bytes()).expect("valid") {
                assert!(hub.frames.contains_key(&hash), "the closure is complete");
            }
        }
        hub.most = 700;
    }
    let source = Arc::new(HubSource::new(
        client.clone(),
        dot(),
        Arc::default(),
        Arc::default(),
    ));
    materialise(
        &source,
        &clone(sealed[1].root, into.path()),
        &Arc::default(),
    )
    .await
    .expect("materialise");
    assert_eq!(
        crate::trees::describe(data.path()),
        crate::trees::describe(into.path())
    );
    let fetched = hub.lock().expect("the hub").fetched;
    assert!(fetched <= 14, "{fetched} requests");

    // A repeated push sends no pack, only questions.
    hub.lock().expect("the hub").packs = 0;
    push(&client, &commits[..1], Vec::new(), &progress).await;
    assert_eq!(hub.lock().expect("the hub").packs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_and_gaps_are_found() {
    let (hub, client) = start().await;
    let data = tempfile::tempdir().expect("temp");
    std::fs::write(data.path().join("file"), "some content").expect("write");
    let commits = [commit(1, data.path())];
    let sealed = push(&client, &commits, Vec::new(), &Arc::default()).await;
    let source = Arc::new(HubSource::new(
        client,
        dot(),
        Arc::default(),
        Arc::default(),
    ));
    let fetch = async || {
        let into = tempfile::tempdir().expect("temp");
        materialise(
            &source,
            &clone(sealed[0].root, into.path()),
            &Arc::default(),
        )
        .await
    };
    fetch().await.expect("materialise");
    hub.lock().expect("the hub").damages = true;
    assert!(matches!(
        fetch().await,
        Err(MaterialiseError::Fetch(FetchError::Damaged(_)))
    ));
    let mut all = std::mem::take(&mut hub.lock().expect("the hub").frames);
    hub.lock().expect("the hub").damages = false;
    assert!(matches!(
        fetch().await,
        Err(MaterialiseError::Fetch(FetchError::Missing { .. }))
    ));
    // The hub sends another object under the name of the requested one.
    let root = sealed[0].root;
    let (other, frame) = all
        .iter()
        .find(|(hash, _)| **hash != root)
        .expect("another");
    let (_, frame) = (*other, frame.clone());
    all.insert(root, frame);
    hub.lock().expect("the hub").frames = all;
    assert!(matches!(
        fetch().await,
        Err(MaterialiseError::Fetch(FetchError::NotAskedFor))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_hub_is_named_with_the_step_that_failed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address: HubAddress = listener
        .local_addr()
        .expect("address")
        .to_string()
        .parse()
        .expect("an address");
    drop(listener);
    let user = "alice".parse().expect("a name");
    let client = HubClient::new(address, user, String::new()).expect("a client");
    let (rate, progress) = (Arc::<Rate>::default(), Arc::default());
    let push = Push::new(&client, &dot(), &rate, &progress, true, None);
    let pushing = push.finish(Vec::new(), Vec::new()).await;
    let error = pushing.expect_err("nobody listens");
    assert_eq!(error.to_string(), "cannot begin a push");
}

#[tokio::test]
async fn a_hub_of_another_protocol_is_refused_with_what_to_do() {
    for (protocol, says, hint) in [
        (2, "version 2", "upgrade Dotmesh on this machine"),
        (0, "version 0", "ask the hub's administrator to upgrade it"),
    ] {
        let version = HubVersion {
            server: "dothub".to_owned(),
            version: "9.0.0".to_owned(),
            protocol,
            commits_without_data: false,
            databases: false,
            bundles: false,
        };
        let app = Router::new().route("/api/v1/version", get(async || Json(version)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        tokio::spawn(async { axum::serve(listener, app).await });
        let address = address.parse().expect("an address");
        let user = "alice".parse().expect("a name");
        let client = HubClient::new(address, user, String::new()).expect("a client");
        let body = ErrorBody::from(client.version().await.expect_err("another version"));
        assert!(body.message.contains(says), "{body}");
        assert_eq!(body.hint.as_deref(), Some(hint));
    }
}
