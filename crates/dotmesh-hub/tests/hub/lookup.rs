//! Object lookup by hash. A process with a cache must find the same as one without.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dotmesh_hub_db::Database;
use dotmesh_hub_db::ids::{ObjectId, UploadId, UserId};
use dotmesh_hub_db::objects::NewObject;
use dotmesh_hub_service::operations::collect_garbage::collect_garbage;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameRange, Kind, PackId, object_hash};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::ambient;
use crate::support::{TestHub, dot};

/// A process without a cache looks up so few objects one by one.
const FEW: usize = 16;

const PROCESSES: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// An upload through a process adds a pack.
    Add { process: usize, objects: Range<u32> },
    /// An upload is abandoned, and its objects are collected.
    Drop { upload: usize },
    /// A process looks up some objects, at a fixed distance from each other.
    Find {
        process: usize,
        objects: Range<u32>,
        step: usize,
    },
    /// A process restarts with an empty cache.
    Restart { process: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let objects = || (0..1500u32, 1..500u32).prop_map(|(start, count)| start..start + count);
    let process = || 0..PROCESSES;
    prop_oneof![
        4 => (process(), objects()).prop_map(|(process, objects)| Step::Add { process, objects }),
        1 => (0..8usize).prop_map(|upload| Step::Drop { upload }),
        6 => (process(), objects(), 1..6usize)
            .prop_map(|(process, objects, step)| Step::Find { process, objects, step }),
        1 => process().prop_map(|process| Step::Restart { process }),
    ]
}

fn hash(number: u32) -> ObjectHash {
    object_hash(Kind::Chunk, &number.to_le_bytes())
}

/// Adds a pack in an upload of its own.
async fn add(database: &Database, user: UserId, objects: Range<u32>) -> UploadId {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = dot("alice/app");
    let token = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
    let pack = PackId::of(token.as_bytes());
    let begun = database.begin_upload(&token, user, user, &name, ambient::now());
    begun.await.unwrap();
    let upload = database.upload(&token, user, user, &name).await;
    let upload = upload.unwrap().unwrap().id;
    let objects = objects.zip(0..).map(|(object, at)| NewObject {
        hash: hash(object),
        kind: Kind::Chunk,
        range: FrameRange {
            offset: 8 + at * 50,
            length: 50,
        },
        raw_length: 4,
        grouped: false,
    });
    let packs = [(pack, objects.collect())];
    let deletions = database.deletions(ambient::now()).await.unwrap();
    let added = database.add_objects(user, upload, &packs, deletions, &[], None);
    added.await.unwrap().unwrap();
    upload
}

/// The result of lookups without a cache.
async fn truth(hub: &TestHub, user: UserId, hashes: &[ObjectHash]) -> Vec<Option<ObjectId>> {
    let mut found = Vec::new();
    for few in hashes.chunks(FEW) {
        let database = hub.beside().await.database;
        found.extend(database.stored(user, few).await.unwrap());
        database.close().await;
    }
    found
}

async fn run(hub: &TestHub, user: UserId, steps: Vec<Step>) {
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(hub.beside().await.database);
    }
    let mut uploads = Vec::new();
    for step in steps {
        match step {
            Step::Add { process, objects } => {
                uploads.push(add(&processes[process], user, objects).await);
            }
            Step::Drop { upload } if upload < uploads.len() => {
                let (database, packs) = (&processes[0], &hub.hub.packs);
                let upload = uploads.remove(upload);
                database.clear_upload(upload).await.unwrap();
                collect_garbage(database, packs, ambient::now(), Duration::ZERO)
                    .await
                    .unwrap();
            }
            Step::Drop { .. } => {}
            Step::Find {
                process,
                objects,
                step,
            } => {
                let hashes: Vec<ObjectHash> = objects.step_by(step).map(hash).collect();
                let truth = truth(hub, user, &hashes).await;
                // The second lookup uses the cache that the first one filled.
                for _ in 0..2 {
                    let found = processes[process].stored(user, &hashes).await.unwrap();
                    assert_eq!(found, truth);
                }
            }
            Step::Restart { process } => {
                let next = hub.beside().await.database;
                std::mem::replace(&mut processes[process], next)
                    .close()
                    .await;
            }
        }
    }
    for process in processes {
        process.close().await;
    }
}

#[test]
fn what_is_remembered_is_what_is_there() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hub = runtime.block_on(TestHub::start());
    let steps = prop::collection::vec(step(), 1..24);
    let users = std::cell::Cell::new(0);
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let ran = TestRunner::new(config).run(&steps, |steps| {
        users.set(users.get() + 1);
        runtime.block_on(async {
            let name = format!("user{}", users.get());
            hub.user(&name).await;
            let user = hub.hub.database.user(&name.parse().unwrap()).await;
            run(&hub, user.unwrap().unwrap(), steps).await;
        });
        Ok(())
    });
    ran.unwrap();
    runtime.block_on(hub.stop());
}
