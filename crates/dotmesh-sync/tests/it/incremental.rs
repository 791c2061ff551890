//! Sealing only what a real file system reports as changed gives the same result as reading everything.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dotmesh_model::ambient::Clock;
use dotmesh_model::commit::RECORD_VERSION;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, ObjectHash};
use dotmesh_pool::{BtrfsPlace, DotFile, Pool};
use dotmesh_store::{Kind, Object, object_hash, references};
use dotmesh_sync::{
    CheckedBase, FoundLeftOut, Fresh, HubRequestError, Like, MemoryObjects, NullSink, ObjectSink,
    PageCache, SealError, Sealed, SealedBase, find_left_out, seal_directory,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::trees::{actions_on_btrfs, run};

/// A pool on btrfs in a temporary folder.
pub(crate) struct World {
    pub(crate) pool: Pool,
    runtime: tokio::runtime::Runtime,
    next: std::cell::Cell<u64>,
    mountpoint: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a pool is mounted: run this test as root"
        );
        Self::with_nodesize(4096)
    }

    /// A pool on a file system with btrfs nodes of this size.
    #[expect(clippy::disallowed_methods, reason = "the pool runs for real")]
    pub(crate) fn with_nodesize(size: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("pool.img");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(4 << 30).expect("an image");
        let made = std::process::Command::new("mkfs.btrfs")
            .args(["--quiet", "--nodesize", &size.to_string()])
            .arg(&image)
            .output();
        assert!(made.expect("mkfs.btrfs").status.success());
        let mountpoint = folder.path().join("pool");
        let place = BtrfsPlace::Image {
            file: image,
            mountpoint: mountpoint.clone(),
            limit: 4 << 30,
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let pool = runtime
            .block_on(Pool::open(
                place,
                "0".repeat(16),
                Clock::new(jiff::Timestamp::now),
            ))
            .expect("a pool");
        Self {
            pool,
            runtime,
            next: std::cell::Cell::new(1),
            mountpoint,
            _folder: folder,
        }
    }

    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    pub(crate) fn line(&self) -> Line<'_> {
        let dot: DotName = format!("dot{}", self.number()).parse().expect("a name");
        let file = DotFile {
            id: "d".repeat(32),
            current: BranchName::master(),
            origins: std::collections::BTreeMap::new(),
        };
        self.runtime
            .block_on(self.pool.create_dot(&dot, &file))
            .expect("a dot");
        Line {
            world: self,
            dot,
            head: CommitId::ROOT,
            sealed: None,
            found: None,
            cache: Arc::default(),
            objects: MemoryObjects::default(),
            chunks_read: 0,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::empty());
    }
}

/// A cache that keeps all pages.
#[derive(Default)]
struct Cache(Mutex<HashMap<ObjectHash, Bytes>>);

impl PageCache for Cache {
    fn get(&self, hashes: &[ObjectHash]) -> Vec<(ObjectHash, Bytes)> {
        let known = self.0.lock().expect("lock");
        let found = hashes.iter().filter_map(|hash| {
            let bytes = known.get(hash)?;
            Some((*hash, bytes.clone()))
        });
        found.collect()
    }

    fn put(&self, pages: &[Object]) {
        let pages = pages.iter().map(|page| (page.hash(), page.bytes().clone()));
        self.0.lock().expect("lock").extend(pages);
    }
}

/// Keeps objects, and checks that the old chunks that serve as delta bases can be read unchanged.
#[derive(Default)]
struct Fresher {
    objects: MemoryObjects,
    chunks_read: usize,
}

impl ObjectSink for Fresher {
    async fn put(&mut self, objects: Vec<Fresh>) -> Result<(), HubRequestError> {
        for fresh in &objects {
            if let Some(like @ Like::Chunk { hash, .. }) = &fresh.like {
                let bytes = like.read(&fresh.object).expect("the old file is there");
                assert_eq!(object_hash(Kind::Chunk, &bytes), *hash, "the old chunk");
                self.chunks_read += 1;
            }
        }
        self.objects.put(objects).await
    }
}

/// A dot with one branch. Each of its commits is sealed.
pub(crate) struct Line<'a> {
    world: &'a World,
    dot: DotName,
    head: CommitId,
    pub(crate) sealed: Option<Sealed>,
    /// The items that were left out of the last commit.
    pub(crate) found: Option<FoundLeftOut>,
    cache: Arc<Cache>,
    /// All objects of all sealings.
    pub(crate) objects: MemoryObjects,
    /// The number of old chunks that were read.
    chunks_read: usize,
}

impl Line<'_> {
    pub(crate) fn live(&self) -> PathBuf {
        let master = BranchName::master();
        self.world
            .pool
            .volume_path(&self.dot, &master, &Folder::Root)
    }

    /// The data folder of the last commit.
    pub(crate) fn committed(&self) -> PathBuf {
        self.world.pool.commit_data(&self.dot, self.head)
    }

    /// Commits, seals the difference, and returns the number of objects that the sealing sent.
    pub(crate) fn commit(&mut self) -> usize {
        let World { pool, runtime, .. } = self.world;
        let number = self.world.number();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let record = CommitRecord {
            version: RECORD_VERSION,
            id: CommitId::from_bytes(id),
            parent: self.head,
            branch: BranchName::master(),
            author: "a".to_owned(),
            time: jiff::Timestamp::UNIX_EPOCH,
            message: "m".to_owned(),
            metadata: Default::default(),
            images: Vec::new(),
            code: None,
            dot: None,
        };
        let id = record.id;
        let master = BranchName::master();
        let committing = pool.commit(&self.dot, &master, id, record.encode());
        runtime.block_on(committing).expect("commit");
        let base = self.sealed.as_ref().map(|sealed| {
            let comparing = pool.difference(&self.dot, self.head, id, sealed.has_links);
            SealedBase {
                root: sealed.root,
                data: pool.commit_data(&self.dot, self.head),
                changes: runtime.block_on(comparing).expect("compare").into(),
                // If this is not known, the sealing has to find out.
                is_within_limits: number.is_multiple_of(2),
            }
        });
        let data = pool.commit_data(&self.dot, id);
        self.find(&data, base.as_ref());
        let mut fresh = Fresher::default();
        let cache: Arc<dyn PageCache> = Arc::clone(&self.cache) as _;
        let progress = Arc::default();
        let sealing = seal_directory(&data, base, Some(cache), &mut fresh, &progress);
        let sealed = runtime.block_on(sealing).expect("seal");
        let everything = self.seal_all(&data);
        assert_eq!(
            sealed.root, everything.root,
            "the same as reading all of it"
        );
        // Names that are left out may count as hard links or not.
        assert!(sealed.has_links || !everything.has_links);
        let count = fresh.objects.iter().count();
        self.chunks_read += fresh.chunks_read;
        for object in fresh.objects.iter() {
            self.objects.insert(object.clone());
        }
        self.is_complete(sealed.root);
        self.head = id;
        self.sealed = Some(sealed);
        count
    }

    /// Finds the left-out items from the difference, and checks them against a search of everything.
    fn find(&mut self, data: &Path, base: Option<&SealedBase>) {
        let before = self.found.take().filter(FoundLeftOut::is_whole);
        let checked = before.zip(base).map(|(found, base)| CheckedBase {
            found,
            changes: Arc::clone(&base.changes),
        });
        let find = |base| {
            let finding = find_left_out(data, base);
            self.world.runtime.block_on(finding).expect("look through")
        };
        let (found, everything) = (find(checked), find(None));
        assert_eq!(found.count, everything.count);
        assert_eq!(found.items, everything.items);
        assert!(found.depth >= everything.depth);
        self.found = Some(found);
    }

    fn seal_all(&self, data: &Path) -> Sealed {
        let progress = Arc::default();
        let mut nowhere = NullSink;
        let sealing = seal_directory(data, None, None, &mut nowhere, &progress);
        self.world.runtime.block_on(sealing).expect("seal")
    }

    /// Seals the head again, on a base of which nothing else is known.
    pub(crate) fn seal_on(
        &self,
        root: ObjectHash,
        objects: &MemoryObjects,
    ) -> Result<Sealed, SealError> {
        let pages: Vec<Object> = objects.iter().cloned().collect();
        self.cache.put(&pages);
        let World { pool, runtime, .. } = self.world;
        let data = pool.commit_data(&self.dot, self.head);
        let comparing = pool.difference(&self.dot, self.head, self.head, true);
        let base = SealedBase {
            root,
            data: data.clone(),
            changes: runtime.block_on(comparing).expect("compare").into(),
            is_within_limits: false,
        };
        let cache: Arc<dyn PageCache> = Arc::clone(&self.cache) as _;
        let progress = Arc::default();
        let mut nowhere = NullSink;
        let sealing = seal_directory(&data, Some(base), Some(cache), &mut nowhere, &progress);
        runtime.block_on(sealing)
    }

    fn is_complete(&self, root: ObjectHash) {
        let mut left = vec![root];
        let mut met = std::collections::HashSet::new();
        while let Some(hash) = left.pop() {
            let object = self.objects.get(hash).expect("every object was given");
            let below = references(object.kind(), object.bytes()).expect("valid");
            left.extend(
                below
                    .into_iter()
                    .map(|(_, hash)| hash)
                    .filter(|hash| met.insert(*hash)),
            );
        }
    }
}

#[test]
fn what_changed_comes_to_the_same_as_everything() {
    // Btrfs nodes of this size can store items that are left out of a push.
    let world = World::with_nodesize(16384);
    let steps = (
        actions_on_btrfs(60),
        prop::collection::vec(actions_on_btrfs(20), 1..6),
    );
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let (chunks_read, left_out) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let checked = runner.run(&steps, |(first, then)| {
        let mut line = world.line();
        run(&line.live(), &first);
        line.commit();
        for change in then {
            run(&line.live(), &change);
            line.commit();
        }
        left_out.set(left_out.get() + line.found.map_or(0, |found| found.count));
        chunks_read.set(chunks_read.get() + line.chunks_read);
        Ok(())
    });
    checked.expect("equal");
    assert!(chunks_read.get() > 0);
    assert!(left_out.get() > 0);
}

/// Several pages of a chunk change, and some between them stay the same.
#[test]
fn a_chunk_that_changed_in_places_is_compared_with_what_it_was() {
    use std::os::unix::fs::FileExt as _;
    const PAGE: usize = 4096;
    const PAGES: usize = 64;
    let world = World::new();
    let pages = prop::collection::vec((0..PAGES, any::<u8>()), 1..16);
    // A file of whole pages is cut at fixed offsets, any other file by its content.
    let files = (
        prop::sample::select(vec![0, 100]),
        prop::collection::vec(pages, 1..4),
    );
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let checked = runner.run(&files, |(odd, changes)| {
        let mut line = world.line();
        let path = line.live().join("file");
        let bytes: Vec<u8> = (0..PAGES * PAGE + odd).map(|n| (n / 7) as u8).collect();
        std::fs::write(&path, &bytes).expect("write");
        line.commit();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("open");
        for pages in changes {
            for (page, byte) in pages {
                file.write_all_at(&[byte; PAGE], (page * PAGE) as u64)
                    .expect("write");
            }
            line.commit();
        }
        prop_assert!(line.chunks_read > 0);
        Ok(())
    });
    checked.expect("read as it was");
}

#[test]
fn a_page_of_a_long_file_costs_a_handful_of_objects() {
    use std::os::unix::fs::FileExt as _;
    let world = World::new();
    let mut line = world.line();
    let live = line.live();
    let mut state: u64 = 1;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    let bytes: Vec<u8> = noise.take(64 << 20).collect();
    std::fs::write(live.join("long"), &bytes).expect("write");
    for i in 0..2000 {
        std::fs::write(live.join(format!("file{i}")), format!("{i}")).expect("write");
    }
    assert!(line.commit() > 3000);
    let long = std::fs::OpenOptions::new()
        .write(true)
        .open(live.join("long"))
        .expect("open");
    for at in [4096, 30 << 20, (64 << 20) - 4096] {
        long.write_all_at(&[9; 4096], at).expect("write");
        let objects = line.commit();
        assert!(objects < 10, "{objects} objects");
    }
    assert!(line.chunks_read >= 3, "{}", line.chunks_read);
    std::fs::rename(live.join("long"), live.join("other")).expect("rename");
    let objects = line.commit();
    assert!(objects < 10, "{objects} objects");
    assert_eq!(line.commit(), 1, "the root alone when nothing changed");
    std::fs::create_dir(live.join("below")).expect("create");
    std::fs::rename(live.join("other"), live.join("below/long")).expect("rename");
    long.set_len(40 << 20).expect("truncate");
    long.write_all_at(&[1; 4096], 50 << 20).expect("write");
    let objects = line.commit();
    assert!(objects < 20, "{objects} objects");
    // A file that no longer consists of whole pages is cut again as a whole. After that, it is cut only near a change.
    long.write_all_at(&[1; 100], (50 << 20) + 4096)
        .expect("write");
    let objects = line.commit();
    assert!(objects > 1000, "{objects} objects");
    long.write_all_at(&[2; 100], 20 << 20).expect("write");
    let objects = line.commit();
    assert!(objects < 20, "{objects} objects");
}

#[test]
fn a_subvolume_inside_is_an_empty_directory_each_time() {
    let world = World::new();
    let mut line = world.line();
    let nested = line.live().join("nested");
    let made = std::process::Command::new("btrfs")
        .args(["subvolume", "create"])
        .arg(&nested)
        .output()
        .expect("btrfs");
    assert!(made.status.success(), "{made:?}");
    std::fs::write(nested.join("file"), "inside").expect("write");
    line.commit();
    assert_eq!(line.commit(), 1, "the root alone when nothing changed");
    std::fs::write(line.live().join("beside"), "beside").expect("write");
    line.commit();
}

#[test]
fn files_come_into_a_folder_that_was_a_subvolume_here() {
    let world = World::new();
    let mut line = world.line();
    let nested = line.live().join("nested");
    let made = std::process::Command::new("btrfs")
        .args(["subvolume", "create"])
        .arg(&nested)
        .output();
    assert!(made.expect("btrfs").status.success());
    line.commit();
    let sealed = line.sealed.as_ref().expect("sealed").root;

    // On another machine it is an ordinary folder.
    let elsewhere = tempfile::tempdir().expect("a folder");
    crate::round_trip::make(&line.objects, sealed, None, elsewhere.path());
    for name in ["one", "two", "three"] {
        std::fs::write(elsewhere.path().join("nested").join(name), name).expect("write");
    }
    let target = crate::round_trip::seal_into(&mut line.objects, elsewhere.path());
    let begin = world
        .pool
        .begin_import(&line.dot, line.head, CommitId::from_bytes([9; 16]));
    let import = world.runtime.block_on(begin).expect("an import");
    let base = dotmesh_sync::Base {
        root: sealed,
        data: world.pool.commit_data(&line.dot, line.head),
    };
    crate::round_trip::make(&line.objects, target, Some(base), &import.data());
    assert_eq!(crate::round_trip::seal_only(&import.data()), target);
}
