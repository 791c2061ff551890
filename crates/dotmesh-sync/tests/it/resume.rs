//! A materialisation that stops anywhere can be resumed. The result is the same, and written data is not fetched
//! again.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object};
use dotmesh_sync::{Base, FetchError, MemoryObjects, ObjectSource, Progress, Target, materialise};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::round_trip::{assert_same, frozen, runtime, seal_into, seal_only};
use crate::trees::{Action, actions, describe, run};

/// Counts the fetched objects and bytes, and fails at a given request for chunks.
pub(crate) struct Recorded {
    objects: MemoryObjects,
    bytes: AtomicUsize,
    chunks: AtomicUsize,
    requests: AtomicUsize,
    fails_at: usize,
}

impl Recorded {
    pub(crate) fn new(objects: &MemoryObjects, fails_at: usize) -> Arc<Self> {
        Arc::new(Self {
            objects: objects.clone(),
            bytes: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            fails_at,
        })
    }

    fn chunks(&self) -> usize {
        self.chunks.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl ObjectSource for Recorded {
    async fn fetch(&self, kind: Kind, hashes: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
        // Yield, because over a network no answer comes at once.
        tokio::task::yield_now().await;
        if kind == Kind::Chunk {
            if self.requests.fetch_add(1, Ordering::Relaxed) >= self.fails_at {
                return Err(FetchError::NotAskedFor);
            }
            self.chunks.fetch_add(hashes.len(), Ordering::Relaxed);
        }
        let objects = self.objects.fetch(kind, hashes).await?;
        if kind == Kind::Chunk {
            let bytes = objects.iter().map(|object| object.bytes().len()).sum();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(objects)
    }
}

/// Materialises the target, but drops the future after `polls` polls. Returns whether it is done.
pub(crate) fn attempt(source: &Arc<Recorded>, target: &Target, polls: usize) -> bool {
    let progress = Arc::new(Progress::default());
    let done = runtime().block_on(async {
        let mut making = pin!(materialise(source, target, &progress));
        let mut left = polls;
        std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            making.as_mut().poll(context).map(|made| made.is_ok())
        })
        .await
    });
    if done {
        let (done, total) = progress.counted();
        assert_eq!(done, total, "progress ends at its total");
    }
    done
}

/// Simulates a power cut before any sync: files that the base does not have lose some of their bytes.
fn lose_power(copy: &Path, base: &Path) {
    let in_copy = |path: &[u8]| {
        copy.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path))
    };
    // Compare by inode, because a new name of a known inode is no new file.
    let known: HashSet<u64> = describe(base)
        .into_keys()
        .filter_map(|path| Some(fs::symlink_metadata(in_copy(&path)).ok()?.ino()))
        .collect();
    for path in describe(copy).into_keys() {
        let file = in_copy(&path);
        let metadata = fs::symlink_metadata(&file).expect("stat");
        if metadata.is_file() && !known.contains(&metadata.ino()) {
            let file = fs::OpenOptions::new().write(true).open(file).expect("open");
            let size = metadata.len();
            file.set_len(size / 2).expect("truncate");
            file.set_len(size).expect("extend");
            let noise = [7; 5000];
            let length = noise.len().min(usize::try_from(size).expect("small"));
            std::os::unix::fs::FileExt::write_all_at(&file, &noise[..length], 0).expect("write");
        }
    }
}

/// A cut: after how many polls, at which request, and whether power fails, too.
type Cut = (usize, usize, bool);

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let at = prop_oneof![Just(usize::MAX), 0..3usize];
    prop::collection::vec((1..40usize, at, any::<bool>()), 1..5)
}

fn check(first: Option<&[Action]>, then: &[Action], cuts: &[Cut]) {
    let temp = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| -> PathBuf { temp.path().join(name) };
    let (live, copy) = (folder("live"), folder("copy"));
    fs::create_dir(&live).expect("create");
    let mut objects = MemoryObjects::default();
    let base = first.map(|first| {
        run(&live, first);
        let root = seal_into(&mut objects, &live);
        frozen(&live, root, &copy);
        frozen(&live, root, &folder("base"))
    });
    let nothing = folder("nothing");
    fs::create_dir(&nothing).expect("create");
    if base.is_none() {
        fs::create_dir(&copy).expect("create");
    }
    run(&live, then);
    let root = seal_into(&mut objects, &live);
    let mut target = Target {
        root,
        base,
        into: copy.clone(),
        resumed: false,
    };
    for (polls, fails_at, power) in cuts {
        attempt(&Recorded::new(&objects, *fails_at), &target, *polls);
        target.resumed = true;
        if *power {
            // A thread may still do its last step, and the next attempt would wait for it.
            let waited = fs::File::open(&copy).expect("open");
            waited.lock().expect("lock");
            let base = target.base.as_ref().map_or(&*nothing, |base| &base.data);
            lose_power(&copy, base);
        }
    }
    assert!(attempt(
        &Recorded::new(&objects, usize::MAX),
        &target,
        usize::MAX
    ));
    assert_same(&live, &copy);
    assert_eq!(seal_only(&copy), root, "the same tree has the same hash");
    let again = Recorded::new(&objects, usize::MAX);
    target.resumed = true;
    assert!(attempt(&again, &target, usize::MAX));
    assert_eq!(again.chunks(), 0, "nothing of what is there is fetched");
    assert_same(&live, &copy);
}

proptest! {
    #![proptest_config(Config { cases: 60, ..Config::default() })]

    #[test]
    fn an_attempt_that_was_cut_is_resumed(
        first in prop::option::of(actions(50)), then in actions(40), cuts in cuts(),
    ) {
        check(first.as_deref(), &then, &cuts);
    }
}

#[test]
fn a_short_file_that_is_a_hole_is_resumed() {
    let first = [
        Action::Write {
            at: 4,
            size: 1,
            seed: 0,
        },
        Action::Hole {
            at: 4,
            offset: 0,
            length: 2,
        },
    ];
    check(Some(&first), &[], &[(1, usize::MAX, false)]);
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

#[test]
fn what_was_written_is_not_fetched_again() {
    /// The most bytes in flight: four batches being fetched, one that waits, and one for each of eight threads.
    const IN_FLIGHT: usize = (4 + 1 + 8) * (4 << 20);
    let temp = tempfile::tempdir().expect("a folder");
    let live = temp.path().join("live");
    fs::create_dir(&live).expect("create");
    let sizes = [40 << 20, 30 << 20, 20 << 20, 10 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        fs::write(
            live.join(format!("{number}")),
            noise(number as u64 + 1, size),
        )
        .expect("write");
    }
    for number in 0..500 {
        let name = live.join(format!("small{number}"));
        fs::write(name, noise(1000 + number, 20_000)).expect("write");
    }
    let needed = sizes.into_iter().sum::<usize>() + 500 * 20_000;
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &live);
    // Stop by an error, and by dropping the future.
    for (fails_at, polls) in [(22, usize::MAX), (usize::MAX, 8)] {
        let mut target = Target {
            root,
            base: None,
            into: temp.path().join(format!("copy{polls}")),
            resumed: false,
        };
        fs::create_dir(&target.into).expect("create");
        let first = Recorded::new(&objects, fails_at);
        assert!(!attempt(&first, &target, polls));
        target.resumed = true;
        let second = Recorded::new(&objects, usize::MAX);
        assert!(attempt(&second, &target, usize::MAX));
        let twice = (first.bytes() + second.bytes()).saturating_sub(needed);
        assert!(twice <= IN_FLIGHT, "{twice} bytes were fetched again");
        assert!(
            fails_at == usize::MAX || second.bytes() < needed / 2 + IN_FLIGHT,
            "much was there"
        );
        assert_same(&live, &target.into);
    }
}

#[test]
fn what_the_base_has_elsewhere_is_not_fetched() {
    let temp = tempfile::tempdir().expect("a folder");
    let (live, copy) = (temp.path().join("live"), temp.path().join("copy"));
    fs::create_dir_all(live.join("folder/below")).expect("create");
    let long = noise(1, 3_000_000);
    fs::write(live.join("long"), &long).expect("write");
    fs::write(live.join("shifted"), noise(2, 2_000_000)).expect("write");
    for number in 0..50 {
        let name = live.join(format!("folder/below/{number}"));
        fs::write(name, noise(10 + number, 30_000)).expect("write");
    }
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &live);
    frozen(&live, root, &copy);
    let base = frozen(&live, root, &temp.path().join("base"));
    let damaged = frozen(&live, root, &temp.path().join("damaged"));
    fs::write(damaged.data.join("long"), noise(3, 3_000_000)).expect("write");
    fs::remove_file(damaged.data.join("folder/below/7")).expect("remove");

    fs::rename(live.join("long"), live.join("folder/longer")).expect("rename");
    fs::rename(live.join("folder"), live.join("elsewhere")).expect("rename");
    let mut shifted = noise(4, 100);
    shifted.extend(noise(2, 2_000_000));
    fs::write(live.join("shifted"), shifted).expect("write");
    let root = seal_into(&mut objects, &live);
    let fetch = |base: Base, into: &Path| {
        let source = Recorded::new(&objects, usize::MAX);
        let target = Target {
            root,
            base: Some(base),
            into: into.to_owned(),
            resumed: false,
        };
        assert!(attempt(&source, &target, usize::MAX));
        assert_same(&live, into);
        source.bytes()
    };
    let other = temp.path().join("other");
    frozen(&copy, root, &other);
    let bytes = fetch(base, &copy);
    assert!(
        bytes < 200_000,
        "only the changed chunk is, not {bytes} bytes"
    );
    let bytes = fetch(damaged, &other);
    assert!(
        (3_000_000..3_300_000).contains(&bytes),
        "what is not what it was is fetched: {bytes} bytes"
    );
}

#[test]
fn names_that_part_and_names_that_join_are_resumed_at_any_stage() {
    let temp = tempfile::tempdir().expect("a folder");
    let live = temp.path().join("live");
    fs::create_dir(&live).expect("create");
    let (old, new) = (noise(1, 100_000), noise(2, 100_000));
    // `b` separates from `a`. `c` and the new `e` become links to `b`. `d` was a folder, and `f` becomes one. `s` is
    // a symlink.
    fs::write(live.join("a"), &old).expect("write");
    fs::hard_link(live.join("a"), live.join("b")).expect("link");
    fs::write(live.join("c"), &new).expect("write");
    fs::create_dir_all(live.join("d/below")).expect("create");
    std::os::unix::fs::symlink("a", live.join("s")).expect("symlink");
    fs::write(live.join("f"), "a file").expect("write");
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &live);
    let base = frozen(&live, root, &temp.path().join("base"));
    for name in ["b", "c", "s", "f"] {
        fs::remove_file(live.join(name)).expect("remove");
    }
    fs::remove_dir_all(live.join("d")).expect("remove");
    fs::write(live.join("a"), &new).expect("write");
    fs::write(live.join("b"), &old).expect("write");
    for name in ["c", "d", "e"] {
        fs::hard_link(live.join("b"), live.join(name)).expect("link");
    }
    std::os::unix::fs::symlink("b", live.join("s")).expect("symlink");
    fs::create_dir(live.join("f")).expect("create");
    fs::write(live.join("f/a"), &new).expect("write");
    let root = seal_into(&mut objects, &live);
    let done = frozen(&live, root, &temp.path().join("done"));
    let names = ["a", "b", "c", "d", "e", "f", "s"];
    // Each name is old or new, in every combination that an attempt goes through.
    for stage in 0..1u32 << names.len() {
        let mut target = Target {
            root,
            base: Some(base.clone()),
            into: temp.path().join("copy"),
            resumed: true,
        };
        let _ = fs::remove_dir_all(&target.into);
        frozen(&base.data, base.root, &target.into);
        for (bit, name) in names.into_iter().enumerate() {
            if stage & (1 << bit) == 0 {
                continue;
            }
            let (at, from) = (target.into.join(name), done.data.join(name));
            match name {
                "a" => fs::write(at, &new).expect("write"),
                "b" => {
                    fs::remove_file(&at).expect("remove");
                    fs::write(at, &old[..50_000]).expect("write");
                }
                "f" => {
                    fs::remove_file(&at).expect("remove");
                    fs::create_dir(at).expect("create");
                }
                // Links come after the file.
                "c" | "d" | "e" if stage & 2 == 0 => {}
                "s" => {
                    fs::remove_file(&at).expect("remove");
                    std::os::unix::fs::symlink(fs::read_link(from).expect("read"), at)
                        .expect("symlink");
                }
                _ => {
                    let _ = fs::remove_dir_all(&at);
                    let _ = fs::remove_file(&at);
                    fs::hard_link(target.into.join("b"), at).expect("link");
                }
            }
        }
        let source = Recorded::new(&objects, usize::MAX);
        assert!(attempt(&source, &target, usize::MAX), "stage {stage}");
        assert_same(&live, &target.into);
        if stage & 1 == 0 {
            assert!(source.bytes() <= 200_000, "the old bytes are here");
        }
        target.resumed = true;
        assert!(attempt(&source, &target, usize::MAX));
        assert_same(&live, &target.into);
    }
}
