//! Connections are cut at any byte. Transfers resume, send little twice, and have the same result.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dotmesh_api::hub::{BranchUpdate, SealedCommit};
use dotmesh_api::{HubAddress, HubClient};
use dotmesh_model::{CommitId, DotName, ObjectHash};
use dotmesh_store::{Object, ROOT_SEAL, seal};
use dotmesh_sync::{HubSource, NullSink, PageCache, Push, Target, materialise, seal_directory};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{TestHub, branch, dot, record};

/// The bytes of packs and of questions that may be in flight when a connection is cut.
const UNDER_WAY: u64 = 32 << 20;

/// A proxy to the hub that cuts all connections after each budget of bytes, until no budget is left.
struct Proxy {
    address: String,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// Each of `budgets` is the number of bytes, in both directions, until all current connections break.
    async fn before(hub: &str, budgets: Vec<u64>) -> Self {
        let hub = hub.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (up, down, cuts) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let counters = (Arc::clone(&up), Arc::clone(&down), Arc::clone(&cuts));
        tokio::spawn(async move {
            let (up, down, cuts) = counters;
            let left = Arc::new(tokio::sync::Mutex::new(budgets));
            let cut = Arc::new(tokio::sync::Notify::new());
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&hub).await else {
                    return;
                };
                let (left, cut) = (Arc::clone(&left), Arc::clone(&cut));
                let (up, down, cuts) = (Arc::clone(&up), Arc::clone(&down), Arc::clone(&cuts));
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let (mut asked, mut told) = (vec![0; 16 << 10], vec![0; 16 << 10]);
                    loop {
                        let (read, sends, counter) = tokio::select! {
                            () = cut.notified() => return,
                            read = from_client.read(&mut asked) => (read, true, &up),
                            read = from_server.read(&mut told) => (read, false, &down),
                        };
                        let Ok(read @ 1..) = read else { return };
                        let mut passes = read as u64;
                        {
                            let mut left = left.lock().await;
                            if let Some(budget) = left.last_mut() {
                                passes = passes.min(*budget);
                                *budget -= passes;
                                if *budget == 0 {
                                    left.pop();
                                    cuts.fetch_add(1, Ordering::Relaxed);
                                    cut.notify_waiters();
                                    passes = passes.saturating_sub(1);
                                }
                            }
                        }
                        counter.fetch_add(passes, Ordering::Relaxed);
                        let whole = passes == read as u64;
                        let passes = usize::try_from(passes).unwrap();
                        let sent = match sends {
                            true => to_server.write_all(&asked[..passes]).await,
                            false => to_client.write_all(&told[..passes]).await,
                        };
                        if sent.is_err() || !whole {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            up,
            down,
            cuts,
        }
    }

    fn client(&self, of: &HubClient, secret: &str) -> HubClient {
        let address: HubAddress = self.address.parse().unwrap();
        HubClient::new(address, of.user().unwrap().clone(), secret.to_owned()).unwrap()
    }
}

/// Pseudo-random numbers, the same in every run.
pub(crate) fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 24
    }
}

/// Eight random bytes for each of `words`. An iterator over them would take most of a test's time in a debug build.
pub(crate) fn noise_bytes(next: &mut impl FnMut() -> u64, words: usize) -> Vec<u8> {
    let mut bytes = vec![0; words * 8];
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&next().to_le_bytes());
    }
    bytes
}

struct NoCache;

impl PageCache for NoCache {
    fn get(&self, _: &[ObjectHash]) -> Vec<(ObjectHash, Bytes)> {
        Vec::new()
    }

    fn put(&self, _: &[Object]) {}
}

pub(crate) async fn push(
    client: &HubClient,
    app: &DotName,
    data: &Path,
    commit: CommitId,
) -> Result<ObjectHash, String> {
    let progress = Arc::default();
    let mut push = Push::new(client, app, &Arc::default(), &progress, true, None);
    let cache: Arc<dyn PageCache> = Arc::new(NoCache);
    let sealed = push.send(data, None, &cache).await;
    let root = sealed.map_err(|error| told(&error))?.root;
    let record = record(commit, CommitId::ROOT);
    let commits = vec![SealedCommit {
        seal: seal(ROOT_SEAL, record.as_bytes(), root),
        root,
        record,
        left_out: None,
        without_data: false,
    }];
    let moves = vec![BranchUpdate {
        name: branch("master"),
        old: None,
        new: commit,
        stash: None,
        force: false,
    }];
    push.finish(commits, moves)
        .await
        .map_err(|error| told(&error))?;
    Ok(root)
}

/// An error's message with those of its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

pub(crate) async fn root_of(directory: &Path) -> ObjectHash {
    let (progress, mut nowhere) = (Arc::default(), NullSink);
    let sealed = seal_directory(directory, None, None, &mut nowhere, &progress);
    sealed.await.unwrap().root
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_are_cut_go_on_and_come_to_the_same() {
    let hub = TestHub::start().await;
    let (alice, secret) = hub.user_with_secret("alice").await;
    let data = tempfile::tempdir().unwrap();
    let mut next = noise(7);
    for file in 0..40 {
        let bytes = noise_bytes(&mut next, 200_000);
        std::fs::write(data.path().join(format!("file{file}")), bytes).unwrap();
    }
    let size = 40 * 1_600_000;
    let commit = CommitId::from_bytes([7; 16]);

    // The budgets together are less than the incompressible data in the files, so the transfer uses up all of them.
    let mut budgets: Vec<u64> = (0..8).map(|_| next() % (4 << 20)).collect();
    budgets.extend([1, 100, 5000]);
    let count = budgets.len() as u64;
    let proxy = Proxy::before(&hub.url, budgets).await;
    let client = proxy.client(&alice, &secret);
    let mut attempts = 0;
    let root = loop {
        attempts += 1;
        match push(&client, &dot("alice/app"), data.path(), commit).await {
            Ok(root) => break root,
            Err(_) if attempts < 12 => {}
            Err(error) => panic!("after {attempts} attempts: {error}"),
        }
    };
    let cuts = proxy.cuts.load(Ordering::Relaxed);
    assert_eq!(cuts, count, "all cuts were met");
    let up = proxy.up.load(Ordering::Relaxed);
    assert!(up < size + cuts * UNDER_WAY, "{up} bytes for {size}");
    assert_eq!(root_of(data.path()).await, root);

    // The clone has a bad connection, too. Each attempt resumes where the one before it stopped.
    let budgets: Vec<u64> = (0..8).map(|_| next() % (20 << 20)).collect();
    let proxy = Proxy::before(&hub.url, budgets).await;
    let into = tempfile::tempdir().unwrap();
    let mut target = Target {
        root,
        base: None,
        into: into.path().to_owned(),
        resumed: false,
    };
    loop {
        let client = proxy.client(&alice, &secret);
        let source = HubSource::new(client, dot("alice/app"), Arc::default(), Arc::default());
        match materialise(&Arc::new(source), &target, &Arc::default()).await {
            Ok(()) => break,
            Err(_) if proxy.cuts.load(Ordering::Relaxed) < 9 => target.resumed = true,
            Err(error) => panic!("{error}"),
        }
    }
    let down = proxy.down.load(Ordering::Relaxed);
    let cuts = proxy.cuts.load(Ordering::Relaxed);
    assert!(down < size + cuts * UNDER_WAY, "{down} bytes for {size}");
    assert_eq!(root_of(into.path()).await, root);
}
