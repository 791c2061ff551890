//! A pack store other than the hub's folder. Nothing else changes.

use std::process::Command;

use bytes::Bytes;
use dotmesh_hub_service::store_url::{self, StoreUrlError};
use dotmesh_store::{Object, PackReader, PackStoreError};

use crate::cli::start;
use crate::place::Place;
use crate::promises::keeps_its_promises;
use crate::s3::S3Server;
use crate::support::{commit, dot, files, push, push_first};

/// `dothub serve` with packs at `url`.
fn serve(place: &Place, url: &str, variables: &[(String, String)]) -> Command {
    let args = ["serve", "--listen", "127.0.0.1:0", "--store-url", url];
    let mut command = place.dothub(&args);
    command.envs(variables.iter().cloned());
    command
}

/// Pushes twice, stops the hub in between, and fetches everything from the second.
async fn push_and_fetch(url: &str, variables: Vec<(String, String)>) {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("objects");
    let place = Place::folder(data);
    let key = &place.hub_with_user("alice").await;
    let app = dot("alice/app");

    let hub = start(serve(&place, url, &variables));
    let alice = hub.client("alice", key);
    let (first, first_files) = push_first(&alice, &app, b"one").await;
    assert!(hub.terminate().success());

    let hub = start(serve(&place, url, &variables));
    let alice = hub.client("alice", key);
    let many: Vec<(String, Vec<u8>)> = (0..12u32)
        .map(|n| (format!("{n:03}"), n.to_le_bytes().repeat(15_000)))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    let many = files(&many);
    let second = commit(&first, &many);
    push(&alice, &app, Some(&first), &second, &many)
        .await
        .unwrap();

    let objects = [first_files.objects, many.objects].concat();
    let hashes: Vec<_> = objects.iter().map(Object::hash).collect();
    let got = alice.objects(&app, &hashes).await.unwrap();
    let got: Vec<Object> = PackReader::new(got)
        .unwrap()
        .map(|frame| frame.unwrap().object().unwrap())
        .collect();
    assert_eq!(got, objects);
    let stored = store_url::open(url, variables).unwrap().list().await;
    assert_eq!(stored.unwrap().len(), 2);
    assert!(!folder.exists());
    assert!(hub.terminate().success());
}

#[tokio::test]
async fn another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    push_and_fetch(&url, Vec::new()).await;
}

#[tokio::test]
async fn s3() {
    let server = S3Server::start();
    push_and_fetch("s3://bucket/hub", server.variables()).await;
}

#[test]
fn what_is_no_store_is_said_at_once() {
    let place = Place::folder(tempfile::tempdir().unwrap());
    for url in ["ftp://host/objects", "file:///no/such/folder"] {
        let output = serve(&place, url, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: ") && said.contains(url.trim_start_matches("file://")));
    }
}

#[tokio::test]
async fn a_folder_by_its_address_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    keeps_its_promises(&store_url::open(&url, []).unwrap()).await;
    assert!(folder.path().join("packs").is_dir());
}

#[tokio::test]
async fn a_bucket_keeps_its_promises() {
    let server = S3Server::start();
    let open = |url| store_url::open(url, server.variables()).unwrap();
    keeps_its_promises(&open("s3://bucket/some/prefix")).await;
    // Each prefix is a store of its own.
    keeps_its_promises(&open("s3://bucket/other")).await;
    keeps_its_promises(&open("s3://bucket")).await;
}

#[tokio::test]
async fn a_bucket_with_a_wrong_login() {
    let server = S3Server::start();
    let mut variables = server.variables();
    variables[1].1 = "wrong".to_owned();
    let store = store_url::open("s3://bucket", variables).unwrap();
    let put = store.put(Bytes::from_static(b"a pack")).await;
    assert!(matches!(put, Err(PackStoreError::Failed { .. })));
}

#[test]
fn what_is_no_address() {
    for url in [
        "",
        "/var/lib",
        "s3://",
        "ftp://host/a",
        "file://host/a",
        "s3:bucket",
    ] {
        let opened = store_url::open(url, []);
        assert!(
            matches!(opened, Err(StoreUrlError::Unknown { .. })),
            "{url}"
        );
    }
    let opened = store_url::open("file:///no/such/folder", []);
    assert!(matches!(
        opened,
        Err(StoreUrlError::Folder(PackStoreError::Open { .. }))
    ));
}
