//! Transfers and switches go on without their client, and others attach to them.

use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::response::Response;
use dotmesh_api::node::{OPERATION_HEADER, OperationKind, Transfer};
use dotmesh_api::node_client::Direction;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::bench::Bench;
use super::transfers::TestHub;
use crate::operations::transfer::{self, Work};

/// A hub that answers once the gate is open.
async fn slow_hub() -> (TestHub, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let hub = TestHub::start_behind(move |router| {
        let wait = axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                let waiting = Arc::clone(&waiting);
                async move {
                    let _open = waiting.acquire_owned().await;
                    next.run(request).await
                }
            },
        );
        router.layer(wait)
    });
    (hub.await, gate)
}

async fn push(bench: &Bench, request: &Transfer) -> Response {
    let work = Work::Transfer(Direction::Push, request.clone());
    let started = transfer::start(bench.node.clone(), bench.dot(), work);
    started.await.unwrap()
}

fn id(response: &Response) -> String {
    response.headers()[OPERATION_HEADER]
        .to_str()
        .unwrap()
        .to_owned()
}

async fn next(lines: &mut BodyDataStream) -> Option<Value> {
    let line = lines.next().await?.unwrap();
    Some(serde_json::from_slice(&line).unwrap())
}

async fn last(response: Response) -> Value {
    let mut lines = response.into_body().into_data_stream();
    let mut last = Value::Null;
    while let Some(line) = next(&mut lines).await {
        last = line;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_on_without_its_client_and_others_attach() {
    let (hub, gate) = slow_hub().await;
    let bench = Bench::new(|_| {}).await;
    let request = hub.job(&bench).request.clone();
    let first = push(&bench, &request).await;
    let id_of_first = id(&first);
    let mut lines = first.into_body().into_data_stream();
    let event = next(&mut lines).await.unwrap();
    assert!(event["progress"]["phase"].is_string(), "{event}");
    // The connection is cut.
    drop(lines);

    let list = bench.node.running.list();
    let [running] = &list[..] else {
        panic!("{list:?}")
    };
    assert_eq!(
        (&running.id, running.kind),
        (&id_of_first, OperationKind::Push)
    );
    assert!(!running.done && running.dot == bench.dot());
    let attached = bench.node.running.attach(&id_of_first).unwrap().answer();
    // The same push does not begin anew, and another one does.
    let same = push(&bench, &request).await;
    assert_eq!(id(&same), id_of_first);
    bench.write("master", "db/next", "next");
    bench.commit().await;
    let later = push(&bench, &request).await;
    assert_ne!(id(&later), id_of_first, "it sends the new commit");
    bench.node.running.stop(&id(&later)).await.unwrap();
    let stopped = last(later).await;
    assert_eq!(stopped["failed"]["code"], "cancelled", "{stopped}");

    gate.add_permits(100);
    for response in [attached, same] {
        let end = last(response).await;
        assert!(end["done"]["branches"].is_array(), "{end}");
    }
    // The result is kept for a client that comes later.
    let end = last(bench.node.running.attach(&id_of_first).unwrap().answer()).await;
    assert!(end["done"]["branches"].is_array(), "{end}");
    assert!(bench.node.running.list().iter().all(|one| one.done));
    let again = push(&bench, &request).await;
    assert_ne!(id(&again), id_of_first);
    assert!(last(again).await["done"].is_object());
    assert!(bench.node.running.attach("0").is_err());
}
