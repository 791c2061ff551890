//! How often a small transfer waits for the hub, and that nodes and hubs without bundles work with those that have them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::TransferEvent;
use dotmesh_api::node_client::Direction;
use dotmesh_model::VolumeName;
use tokio::net::{TcpListener, TcpStream};

use super::bench::Bench;
use super::transfers::TestHub;
use crate::operations::transfer::{self, Work};
use crate::operations::{clone, pull, push, volume};

/// What a node sent to the hub.
#[derive(Clone, Default)]
struct Wire {
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    /// A hub that notes each request. An early hub has no routes for bundles, and does not announce them.
    async fn hub(&self, is_early: bool) -> TestHub {
        let wire = self.clone();
        let layer = middleware::from_fn(move |request: Request, next: Next| {
            let wire = wire.clone();
            async move { wire.answer(is_early, request, next).await }
        });
        TestHub::start_behind(|router| router.layer(layer)).await
    }

    async fn answer(&self, is_early: bool, request: Request, next: Next) -> Response {
        let path = request.uri().path().trim_start_matches("/api/v1/");
        let line = format!("{} {path}", request.method());
        let is_about_bundles = path.ends_with("/bundle") || {
            request.method() == Method::PUT && path.contains("/uploads/")
        };
        let is_version = path == "version";
        self.requests.lock().unwrap().push(line);
        if is_early && is_about_bundles {
            return StatusCode::NOT_FOUND.into_response();
        }
        let response = next.run(request).await;
        if !(is_early && is_version) {
            return response;
        }
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let mut version: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
        version.as_object_mut().unwrap().remove("bundles").unwrap();
        Body::from(version.to_string()).into_response()
    }

    /// Forwards connections to the hub, and counts them. Returns the address to connect to.
    async fn forward(&self, hub: &TestHub) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (connections, to) = (Arc::clone(&self.connections), hub.url.clone());
        let to = to.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let to = to.clone();
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    /// Runs a transfer as `dm` does. Returns the number of connections, and the requests in their order.
    ///
    /// The two numbers together are the most that can wait for each other.
    async fn transfer(
        &self,
        hub: &TestHub,
        bench: &Bench,
        direction: Direction,
    ) -> (usize, Vec<String>) {
        let mut request = hub.job(bench).request.clone();
        // Each transfer of this address has connections of its own.
        request.hub.address = self.forward(hub).await;
        self.connections.store(0, Ordering::Relaxed);
        self.requests.lock().unwrap().clear();
        let work = Work::Transfer(direction, request);
        let answer = transfer::start(bench.node.clone(), bench.dot(), work).await;
        let told = axum::body::to_bytes(answer.unwrap().into_body(), 1 << 20).await;
        let told = String::from_utf8(told.unwrap().to_vec()).unwrap();
        let last = serde_json::from_str(told.trim().lines().last().unwrap()).unwrap();
        assert!(matches!(last, TransferEvent::Done(_)), "{told}");
        let requests = self.requests.lock().unwrap().clone();
        (self.connections.load(Ordering::Relaxed), requests)
    }
}

fn volume_path(bench: &Bench) -> PathBuf {
    let db: VolumeName = "app@master.db".parse().unwrap();
    let branch = "master".parse().unwrap();
    let pool = &bench.node.pool;
    pool.volume_path(&bench.dot(), &branch, &db.folder)
}

/// Commits a file with this content, in a folder of its own, and a file of several chunks.
async fn write(bench: &Bench, content: &str) {
    let path = volume_path(bench);
    std::fs::create_dir_all(path.join("deep").join(content)).unwrap();
    std::fs::write(path.join("deep").join(content).join("file"), content).unwrap();
    let mut large: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    large.extend(content.as_bytes());
    std::fs::write(path.join("large"), large).unwrap();
    bench.commit().await;
}

fn same(one: &Bench, other: &Bench, content: &str) {
    for file in ["large", &format!("deep/{content}/file")] {
        let read = |bench: &Bench| std::fs::read(volume_path(bench).join(file)).unwrap();
        assert_eq!(read(one), read(other), "{file}");
    }
}

async fn alice() -> Bench {
    let alice = Bench::empty().await;
    volume::create(&alice.node, "app.db").await.unwrap();
    write(&alice, "one").await;
    alice
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_transfer_waits_for_few_round_trips() {
    let wire = Wire::default();
    let hub = wire.hub(false).await;
    let (alice, bob) = (alice().await, Bench::empty().await);
    let pushed = wire.transfer(&hub, &alice, Direction::Push).await;
    write(&alice, "two").await;
    let change = wire.transfer(&hub, &alice, Direction::Push).await;
    let nothing = wire.transfer(&hub, &alice, Direction::Push).await;
    let cloned = wire.transfer(&hub, &bob, Direction::Clone).await;
    same(&alice, &bob, "two");
    write(&alice, "three").await;
    wire.transfer(&hub, &alice, Direction::Push).await;
    let pulled = wire.transfer(&hub, &bob, Direction::Pull).await;
    same(&alice, &bob, "three");
    for (what, (connections, requests), at_most) in [
        ("the first push", pushed, 4),
        ("a push of a change", change, 4),
        ("a push of nothing", nothing, 3),
        ("a clone", cloned, 5),
        ("a pull", pulled, 5),
    ] {
        let trips = connections + requests.len();
        assert!(
            trips <= at_most,
            "{what}: {connections} connections, {requests:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_hubs_with_and_without_bundles_work_together() {
    for (is_early_hub, is_early_node) in [(true, false), (false, true), (true, true)] {
        let wire = Wire::default();
        let hub = wire.hub(is_early_hub).await;
        let (alice, bob) = (alice().await, Bench::empty().await);
        let job = |bench: &Bench| {
            let mut job = Arc::into_inner(hub.job(bench)).expect("nobody else has it yet");
            job.connection.bundles = false;
            Arc::new(job)
        };
        if is_early_node {
            push::push(&job(&alice)).await.unwrap();
            clone::clone(&job(&bob)).await.unwrap();
            same(&alice, &bob, "one");
            write(&alice, "two").await;
            push::push(&job(&alice)).await.unwrap();
            pull::pull(&job(&bob)).await.unwrap();
        } else {
            wire.transfer(&hub, &alice, Direction::Push).await;
            wire.transfer(&hub, &bob, Direction::Clone).await;
            same(&alice, &bob, "one");
            write(&alice, "two").await;
            wire.transfer(&hub, &alice, Direction::Push).await;
            wire.transfer(&hub, &bob, Direction::Pull).await;
        }
        same(&alice, &bob, "two");
        let requests = wire.requests.lock().unwrap();
        assert!(
            !requests.iter().any(|line| line.ends_with("/bundle")),
            "{requests:#?}"
        );
    }
}
