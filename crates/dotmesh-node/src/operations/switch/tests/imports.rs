//! Imports and exports: all of it or nothing, whatever fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use dotmesh_api::node::{
    CopiedFiles, Export, ExportEvent, Import, ImportEvent, ImportOutcome, ImportSubdot,
};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_archive::Counters;
use dotmesh_model::DotName;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::bench::{Bench, TIMING, Work, stack_for};
use crate::engine::EngineVolume;
use crate::node::Node;
use crate::operations::{export, import};

/// A local volume with a file.
fn volume(bench: &Bench, name: &str, content: &str) -> PathBuf {
    let mountpoint = bench.beside(name);
    std::fs::create_dir_all(mountpoint.join("below")).unwrap();
    std::fs::write(mountpoint.join("below/file"), content).unwrap();
    put(bench, name, &mountpoint, |_| {});
    mountpoint
}

fn put(bench: &Bench, name: &str, mountpoint: &Path, change: impl FnOnce(&mut EngineVolume)) {
    let mut volume = EngineVolume {
        driver: "local".to_owned(),
        mountpoint: mountpoint.to_owned(),
        ..EngineVolume::default()
    };
    change(&mut volume);
    bench.world.put_volume(name, volume);
}

/// A request for some volumes, each for a subdot, and archives for others.
fn request(volumes: &[(&str, &str)], archives: &[&str]) -> Import {
    let one = |subdot: &str, volume: Option<&str>| ImportSubdot {
        subdot: subdot.parse().unwrap(),
        volume: volume.map(str::to_owned),
        size: None,
    };
    let volumes = volumes
        .iter()
        .map(|(volume, subdot)| one(subdot, Some(volume)));
    Import {
        subdots: volumes
            .chain(archives.iter().map(|subdot| one(subdot, None)))
            .collect(),
        message: "Import it".to_owned(),
        author: "a".to_owned(),
        ..Import::default()
    }
}

/// The archive of a folder, in pieces.
fn framed(folder: &Path) -> Vec<u8> {
    use std::os::fd::AsFd as _;
    let open = std::fs::File::open(folder).unwrap();
    let mut bytes = Vec::new();
    dotmesh_archive::pack(open.as_fd(), b".", &mut bytes, &Counters::default()).unwrap();
    dotmesh_archive::finish(&mut bytes).unwrap();
    let mut framed = Vec::new();
    for piece in bytes.chunks(1000) {
        framed.extend(u32::try_from(piece.len()).unwrap().to_be_bytes());
        framed.extend(piece);
    }
    framed.extend([0; 4]);
    framed
}

async fn last_line<T: DeserializeOwned>(response: axum::response::Response) -> T {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

async fn send(
    node: &Node,
    dot: &str,
    request: &Import,
    rest: Vec<u8>,
) -> Result<ImportOutcome, ErrorBody> {
    let mut line = serde_json::to_vec(request).unwrap();
    line.push(b'\n');
    // The pieces arrive as the network cuts them.
    let parts: Vec<_> = [line, rest]
        .concat()
        .chunks(777)
        .map(Bytes::copy_from_slice)
        .collect();
    let parts = futures::stream::iter(parts).map(Ok::<_, std::convert::Infallible>);
    let name: DotName = dot.parse().unwrap();
    let response = import::start(node.clone(), name, Body::from_stream(parts)).await?;
    match last_line(response).await {
        ImportEvent::Done(outcome) => Ok(outcome),
        ImportEvent::Failed(error) => Err(error),
        ImportEvent::Progress(progress) => panic!("it ends with {progress:?}"),
    }
}

async fn copy_out(node: &Node, revision: &str, volume: &str) -> Result<CopiedFiles, ErrorBody> {
    let request = Export {
        revision: revision.to_owned(),
        subdot: "db".parse().unwrap(),
        volume: volume.to_owned(),
    };
    let dot: DotName = "new".parse().unwrap();
    let response = export::start(node.clone(), (&dot).into(), request);
    match last_line(response).await {
        ExportEvent::Done(copied) => Ok(copied),
        ExportEvent::Failed(error) => Err(error),
        ExportEvent::Progress(progress) => panic!("it ends with {progress:?}"),
    }
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_dot_has_all_of_it_and_a_commit() {
    let bench = Bench::empty().await;
    let folder = volume(&bench, "old", "rows");
    let files = volume(&bench, "files", "a picture");
    let all = request(&[("old", "db")], &["files", "more"]);
    let rest = [framed(&files), framed(&files)].concat();
    let outcome = send(&bench.node, "new", &all, rest).await.unwrap();
    let dot = bench
        .node
        .registry
        .dot(&"new".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(outcome.commit, Some(dot.current().unwrap().head));
    assert_eq!(outcome.subdots.len(), 3);
    assert_eq!(
        (outcome.subdots[0].entries, outcome.subdots[0].bytes),
        (3, 4)
    );
    let record = bench
        .node
        .registry
        .decoded(&dot.id, outcome.commit.unwrap())
        .await
        .unwrap();
    assert_eq!(record.message, "Import it");
    let data = bench
        .node
        .pool
        .commit_data(&dot.name, outcome.commit.unwrap());
    for (subdot, content) in [
        ("db", "rows"),
        ("files", "a picture"),
        ("more", "a picture"),
    ] {
        assert_eq!(read(data.join(subdot).join("below/file")), content);
    }
    assert_eq!(read(folder.join("below/file")), "rows", "the old one stays");

    // Back into a volume, which must be empty.
    let back = bench.beside("back");
    std::fs::create_dir(&back).unwrap();
    put(&bench, "back", &back, |_| {});
    let copied = copy_out(&bench.node, "master", "back").await.unwrap();
    assert_eq!((copied.entries, copied.bytes), (3, 4));
    assert_eq!(read(back.join("below/file")), "rows");
    let refused = copy_out(&bench.node, "master", "back").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Exists);
    let refused = copy_out(&bench.node, "absent", "back").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    // The Engine cannot make one.
    let refused = copy_out(&bench.node, "master", "no-room")
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_dot_gets_subdots_that_it_lacks() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    volume(&bench, "old", "rows");
    let refused = send(
        &bench.node,
        "app",
        &request(&[("old", "db")], &[]),
        Vec::new(),
    )
    .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Exists);
    assert!(refused.message.contains("db"), "{refused:?}");
    let wanted = request(&[("old", "new"), ("old", "newer")], &[]);
    let outcome = send(&bench.node, "app", &wanted, Vec::new());
    let outcome = outcome.await.unwrap();
    assert_eq!(outcome.commit, None);
    for subdot in ["new", "newer"] {
        assert_eq!(
            bench
                .read("master", &format!("{subdot}/below/file"))
                .as_deref(),
            Some("rows")
        );
    }
    assert_eq!(bench.read("master", "db/branch").as_deref(), Some("master"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_before_anything_is_made() {
    let bench = Bench::empty().await;
    let folder = volume(&bench, "old", "rows");
    put(&bench, "used", &folder, |one| {
        one.running = vec![("1a".to_owned(), "db_1".to_owned())];
    });
    put(&bench, "nfs", &folder, |one| {
        drop(one.options.insert("device".to_owned(), "/srv".to_owned()));
    });
    put(&bench, "other", &folder, |one| {
        one.driver = "rexray".to_owned();
    });
    put(&bench, "elsewhere", &bench.beside("absent"), |_| {});
    crate::operations::volume::create(&bench.node, "app.db")
        .await
        .unwrap();
    put(&bench, "app.db", &folder, |one| {
        one.driver = "dm".to_owned();
    });
    for (volume, code, word) in [
        ("absent", ErrorCode::NotFound, "no volume"),
        ("used", ErrorCode::InUse, "db_1"),
        ("nfs", ErrorCode::Invalid, "/srv"),
        ("other", ErrorCode::Invalid, "rexray"),
        ("elsewhere", ErrorCode::NotFound, "not on this machine"),
        ("app.db", ErrorCode::Invalid, "in a dot already"),
    ] {
        let wanted = request(&[("old", "first"), (volume, "second")], &[]);
        let refused = send(&bench.node, "new", &wanted, Vec::new())
            .await
            .unwrap_err();
        assert_eq!(refused.code, code, "{volume}: {refused:?}");
        assert!(refused.message.contains(word), "{volume}: {refused:?}");
    }
    let twice = request(&[("old", "one"), ("old", "one")], &[]);
    assert!(send(&bench.node, "new", &twice, Vec::new()).await.is_err());
    let other = send(
        &bench.node,
        "alice/new",
        &request(&[("old", "one")], &[]),
        Vec::new(),
    )
    .await;
    assert_eq!(other.unwrap_err().code, ErrorCode::Invalid);
    assert!(
        bench
            .node
            .registry
            .find_dot(&"new".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );

    // A check knows what will be stopped. Without that, only force copies.
    let mut wanted = request(&[("used", "one")], &[]);
    wanted.check = true;
    assert!(send(&bench.node, "new", &wanted, Vec::new()).await.is_err());
    wanted.stopping = vec!["1a".to_owned()];
    let checked = send(&bench.node, "new", &wanted, Vec::new()).await.unwrap();
    assert_eq!((checked.branch, checked.commit), (None, None));
    wanted.check = false;
    assert!(send(&bench.node, "new", &wanted, Vec::new()).await.is_err());
    wanted.force = true;
    assert!(
        send(&bench.node, "new", &wanted, Vec::new())
            .await
            .unwrap()
            .commit
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_archive_leave_nothing() {
    let bench = Bench::empty().await;
    let files = volume(&bench, "files", "a picture");
    let whole = framed(&files);
    let evil = [&[0, 0, 4, 0][..], &[7; 1024], &[0; 4]].concat();
    let long = u32::MAX.to_be_bytes().to_vec();
    let cut = whole[..whole.len() - 600].to_vec();
    for rest in [Vec::new(), evil, long, cut, whole.clone()] {
        let is_whole = rest == whole;
        // The second archive lacks, too.
        let wanted = request(&[], &["one", "two"]);
        let failed = send(&bench.node, "new", &wanted, rest).await.unwrap_err();
        assert_eq!(failed.code, ErrorCode::Invalid, "{failed:?}");
        assert!(!is_whole || failed.message.contains("ends"), "{failed:?}");
        assert!(bench.node.pool.dots().await.unwrap().whole.is_empty());
    }
    let done = send(&bench.node, "new", &request(&[], &["one"]), whole)
        .await
        .unwrap();
    assert!(done.commit.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels() {
    let bench = Bench::empty().await;
    volume(&bench, "old", "rows");
    let name: DotName = "new".parse().unwrap();
    let held = bench.node.locks.operation(&name, "held").await;
    let before = Arc::strong_count(&bench.node.config);
    let mut line = serde_json::to_vec(&request(&[("old", "db")], &[])).unwrap();
    line.push(b'\n');
    let response = import::start(bench.node.clone(), name.clone(), Body::from(line))
        .await
        .unwrap();
    drop(response);
    // The task gives its place in the queue up.
    let gone = async {
        while Arc::strong_count(&bench.node.config) > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMING.call * 40, gone).await.unwrap();
    drop(held);
    let _lock = bench.node.locks.operation(&name, "looked at").await;
    assert!(bench.node.registry.find_dot(&name).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_may_die_at_any_step() {
    for dot in ["new", "app"] {
        for step in 0.. {
            let mut bench = Bench::new(|_| {}).await;
            volume(&bench, "old", "rows");
            bench.node.pool.die_after(step);
            let wanted = request(&[("old", "one"), ("old", "two")], &[]);
            let done = send(&bench.node, dot, &wanted, Vec::new()).await;
            bench.restart().await;
            let name: DotName = dot.parse().unwrap();
            let found = bench.node.registry.find_dot(&name).await.unwrap();
            let branch = "master".parse().unwrap();
            let mut subdots = match &found {
                Some(_) => bench.node.pool.subdots(&name, &branch).await.unwrap(),
                None => Vec::new(),
            };
            subdots.retain(|subdot| ["one", "two"].contains(&subdot.as_str()));
            assert!(
                [0, 2].contains(&subdots.len()),
                "{dot}, step {step}: {subdots:?}"
            );
            if let Some(found) = found.filter(|_| dot == "new") {
                let head = found.current().unwrap().head;
                let data = bench.node.pool.commit_data(&name, head);
                assert_eq!(read(data.join("two/below/file")), "rows", "step {step}");
                assert!(bench.node.registry.decoded(&found.id, head).await.is_ok());
            }
            if done.is_ok() {
                assert_eq!(subdots.len(), 2);
                assert!(step > 3, "several steps were tried");
                break;
            }
        }
    }
}
