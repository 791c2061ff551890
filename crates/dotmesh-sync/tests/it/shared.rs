//! A chunk that occurs several times in a tree is fetched once.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object};
use dotmesh_sync::{FetchError, MemoryObjects, ObjectSource, Progress, Target, materialise};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::round_trip::{runtime, seal_into};
use crate::trees::describe;

/// Counts how often each chunk is fetched, and fails after a number of requests for chunks.
struct Counting {
    objects: MemoryObjects,
    fetched: Mutex<HashMap<ObjectHash, usize>>,
    left: Mutex<usize>,
}

impl Counting {
    fn new(objects: &MemoryObjects, requests: usize) -> Arc<Self> {
        Arc::new(Self {
            objects: objects.clone(),
            fetched: Mutex::default(),
            left: Mutex::new(requests),
        })
    }

    /// The largest number of times that one chunk was fetched.
    fn most(&self) -> usize {
        let fetched = self.fetched.lock().expect("counts");
        fetched.values().copied().max().unwrap_or(0)
    }

    /// The fetched bytes of chunks.
    fn bytes(&self) -> usize {
        let fetched = self.fetched.lock().expect("counts");
        let bytes = fetched.iter().map(|(hash, times)| {
            let object = self.objects.get(*hash).expect("an object");
            times * object.bytes().len()
        });
        bytes.sum()
    }
}

impl ObjectSource for Counting {
    async fn fetch(&self, kind: Kind, hashes: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
        // Yield, because over a network no answer comes at once.
        tokio::task::yield_now().await;
        if kind == Kind::Chunk {
            {
                let mut left = self.left.lock().expect("requests");
                *left = left.checked_sub(1).ok_or(FetchError::NotAskedFor)?;
            }
            let mut fetched = self.fetched.lock().expect("counts");
            for hash in hashes {
                *fetched.entry(*hash).or_default() += 1;
            }
        }
        self.objects.fetch(kind, hashes).await
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    bytes.take(length).collect()
}

/// Materialises the tree. Returns whether it succeeded. After a success, progress must be at its total.
fn make(source: &Arc<Counting>, root: ObjectHash, into: &Path, resumed: bool) -> bool {
    let target = Target {
        root,
        base: None,
        into: into.to_owned(),
        resumed,
    };
    let progress = Arc::new(Progress::default());
    let made = runtime().block_on(materialise(source, &target, &progress));
    if made.is_ok() {
        let (done, total) = progress.counted();
        assert_eq!(done, total, "progress ends at its total");
    }
    made.is_ok()
}

#[test]
fn copies_of_a_file_are_fetched_once_also_when_one_is_here() {
    let data = tempfile::tempdir().expect("temp");
    let bytes = noise(1, 12 << 20);
    fs::create_dir_all(data.path().join("a/b")).expect("mkdir");
    for name in ["a/b/one", "four", "three", "two"] {
        fs::write(data.path().join(name), &bytes).expect("write");
    }
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, data.path());

    let into = tempfile::tempdir().expect("temp");
    let source = Counting::new(&objects, usize::MAX);
    assert!(make(&source, root, into.path(), false));
    assert_eq!(describe(into.path()), describe(data.path()));
    assert_eq!((source.most(), source.bytes()), (1, bytes.len()));

    // An earlier attempt has written the first file, and a part of the second.
    let into = tempfile::tempdir().expect("temp");
    fs::create_dir_all(into.path().join("a/b")).expect("mkdir");
    fs::write(into.path().join("a/b/one"), &bytes[..6 << 20]).expect("write");
    fs::write(into.path().join("four"), &bytes).expect("write");
    let source = Counting::new(&objects, usize::MAX);
    assert!(make(&source, root, into.path(), true));
    assert_eq!(describe(into.path()), describe(data.path()));
    assert_eq!(source.bytes(), 0);
}

/// Files as lists of blocks. Few kinds of block exist, so most of them recur in the same or another file.
fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let file = proptest::collection::vec(0..40u8, 1..60);
    proptest::collection::vec(file, 1..8)
}

proptest! {
    #![proptest_config(Config { cases: 24, ..Config::default() })]

    #[test]
    fn no_chunk_is_fetched_twice_but_for_cuts(files in files(), cut in 0..6usize) {
        const BLOCK: usize = 256 << 10;
        let data = tempfile::tempdir().expect("temp");
        for (n, blocks) in files.iter().enumerate() {
            let blocks = blocks.iter().map(|kind| noise((*kind).into(), BLOCK));
            fs::write(data.path().join(n.to_string()), blocks.collect::<Vec<_>>().concat()).expect("write");
        }
        let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, data.path());

        let into = tempfile::tempdir().expect("temp");
        let source = Counting::new(&objects, usize::MAX);
        prop_assert!(make(&source, root, into.path(), false));
        prop_assert!(describe(into.path()) == describe(data.path()));
        prop_assert!(source.most() <= 1);

        let into = tempfile::tempdir().expect("temp");
        let cut_source = Counting::new(&objects, cut);
        let whole = make(&cut_source, root, into.path(), false);
        let source = Counting::new(&objects, usize::MAX);
        prop_assert!(whole || make(&source, root, into.path(), true));
        prop_assert!(describe(into.path()) == describe(data.path()));
        prop_assert!(source.most() <= 1);
    }
}
