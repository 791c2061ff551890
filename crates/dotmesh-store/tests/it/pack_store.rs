//! The pack store on disk and in memory, and how it reports damage.

use std::sync::Arc;

use bytes::Bytes;
use dotmesh_store::{PackStore, PackStoreError};
use object_store::ObjectStore as _;
use object_store::memory::InMemory;

use crate::promises::{keeps_its_promises, listed};

#[tokio::test]
async fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = PackStore::local(folder.path()).unwrap();
    keeps_its_promises(&store).await;
    // A pack is one file, at the path in the specification of the format.
    for (id, _) in listed(&store).await {
        let name = id.to_string();
        let file = folder.path().join("packs").join(&name[..2]).join(&name);
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), name);
    }
}

#[tokio::test]
async fn memory() {
    keeps_its_promises(&PackStore::new(Arc::new(InMemory::new()))).await;
}

/// A pack that was changed outside the store, and files that are no packs.
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
