//! What a store of packs promises, held to by each kind of it.

use std::sync::Arc;

use bytes::Bytes;
use dotmesh_store::{
    Frame, FrameRange, Kind, Object, PackId, PackStore, PackStoreError, PackWriter,
};
use object_store::ObjectStore as _;
use object_store::memory::InMemory;

use crate::s3::S3Server;

/// A pack of these contents, and where their frames are.
fn pack(contents: impl IntoIterator<Item = Vec<u8>>) -> (Bytes, Vec<(Frame, FrameRange)>) {
    let mut writer = PackWriter::default();
    let mut frames = Vec::new();
    for content in contents {
        let frame = Frame::encode(&Object::new(Kind::Chunk, content));
        let range = FrameRange {
            offset: writer.push(&frame) as u32,
            length: frame.stored().len() as u32,
        };
        frames.push((frame, range));
    }
    (writer.finish(), frames)
}

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    let mut content = vec![0; length];
    reader.fill(&mut content);
    content
}

async fn listed(store: &PackStore) -> Vec<(PackId, u64)> {
    let mut list = store.list().await.unwrap();
    list.sort();
    list
}

async fn keeps_its_promises(store: &PackStore) {
    assert_eq!(listed(store).await, []);
    let (first, frames) = pack((0..200).map(|n| noise(n, 1 + n as usize * 300)));
    let (second, _) = pack([b"another".to_vec()]);

    // What was put can be had: whole,
    let id = store.put(first.clone()).await.unwrap();
    assert_eq!(id, PackId::of(&first));
    assert_eq!(store.get(id).await.unwrap(), first);
    // and in parts, near and far from each other, in the order asked, twice, none.
    for chosen in [
        (0..200).collect::<Vec<usize>>(),
        (0..200).rev().collect(),
        vec![7],
        vec![199, 0, 100, 101, 102, 0],
        vec![],
    ] {
        let ranges: Vec<FrameRange> = chosen.iter().map(|n| frames[*n].1).collect();
        let read = store.read(id, &ranges).await.unwrap();
        let expected: Vec<&Bytes> = chosen.iter().map(|n| frames[*n].0.stored()).collect();
        assert_eq!(read.iter().collect::<Vec<_>>(), expected);
    }
    // Parts that the pack has not are no parts.
    let beyond = FrameRange {
        offset: first.len() as u32 - 10,
        length: 20,
    };
    assert!(store.read(id, &[beyond]).await.is_err());

    // Putting a pack again is no error and changes nothing.
    assert_eq!(store.put(first.clone()).await.unwrap(), id);
    let other = store.put(second.clone()).await.unwrap();
    let mut both = vec![(id, first.len() as u64), (other, second.len() as u64)];
    both.sort();
    assert_eq!(listed(store).await, both);

    // What is not there is said to be not there.
    let unknown = PackId::of(b"unknown");
    let not_found = |error: PackStoreError| match error {
        PackStoreError::NotFound { pack } => pack == unknown,
        error => panic!("{error:?}"),
    };
    assert!(not_found(store.get(unknown).await.unwrap_err()));
    let range = frames[0].1;
    assert!(not_found(store.read(unknown, &[range]).await.unwrap_err()));
    store.delete(unknown).await.unwrap();

    // What was deleted is gone, and the rest is not.
    store.delete(id).await.unwrap();
    assert!(store.get(id).await.is_err());
    assert_eq!(store.get(other).await.unwrap(), second);
    assert_eq!(listed(store).await, [(other, second.len() as u64)]);

    // The largest pack goes in and out, a larger one does not.
    let largest = Bytes::from(noise(1, 32 << 20));
    let id = store.put(largest.clone()).await.unwrap();
    assert_eq!(store.get(id).await.unwrap(), largest);
    let too_long = store.put(vec![0; (32 << 20) + 1].into()).await;
    assert!(matches!(too_long, Err(PackStoreError::TooLong { .. })));

    // Many at once.
    let packs: Vec<Bytes> = (0..24).map(|n| pack([noise(n, 100_000)]).0).collect();
    let put = packs.iter().map(|pack| store.put(pack.clone()));
    let ids = futures::future::try_join_all(put).await.unwrap();
    let got = ids.iter().map(|id| store.get(*id));
    assert_eq!(futures::future::try_join_all(got).await.unwrap(), packs);
}

#[tokio::test]
async fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    keeps_its_promises(&PackStore::local(folder.path()).unwrap()).await;
}

#[tokio::test]
async fn a_folder_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    keeps_its_promises(&PackStore::open(&url, []).unwrap()).await;
    assert!(folder.path().join("packs").is_dir());
}

#[tokio::test]
async fn memory() {
    keeps_its_promises(&PackStore::new(Arc::new(InMemory::new()))).await;
}

#[tokio::test]
async fn s3() {
    let server = S3Server::start();
    let open = |url| PackStore::open(url, server.variables()).unwrap();
    keeps_its_promises(&open("s3://bucket/some/prefix")).await;
    // Another prefix is another store.
    keeps_its_promises(&open("s3://bucket/other")).await;
    keeps_its_promises(&open("s3://bucket")).await;
}

#[tokio::test]
async fn s3_with_a_wrong_login() {
    let server = S3Server::start();
    let mut variables = server.variables();
    variables[1].1 = "wrong".to_owned();
    let store = PackStore::open("s3://bucket", variables).unwrap();
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
        let opened = PackStore::open(url, []);
        assert!(
            matches!(opened, Err(PackStoreError::BadUrl { .. })),
            "{url}"
        );
    }
    let opened = PackStore::open("file:///no/such/folder", []);
    assert!(matches!(opened, Err(PackStoreError::Open { .. })));
}

/// A pack whose bytes were changed behind the store's back, and files that are none.
#[tokio::test]
async fn damage_is_noticed() {
    let memory = Arc::new(InMemory::new());
    let store = PackStore::new(memory.clone());
    let id = store.put(Bytes::from_static(b"a pack")).await.unwrap();
    let name = id.to_string();
    let path = object_store::path::Path::from_iter(["packs", &name[..2], &name]);
    let put = async |path, bytes: &'static [u8]| {
        let options = object_store::PutOptions::default();
        memory.put_opts(path, bytes.into(), options).await.unwrap();
    };
    put(&path, b"another").await;
    assert!(matches!(store.get(id).await, Err(PackStoreError::Damaged { pack }) if pack == id));
    put(&"packs/ab/README".into(), b"no pack").await;
    assert_eq!(listed(&store).await, [(id, 7)]);
}
