//! A pool in a file on a small disk that fills up and gets free space again. The disk is a separate ext4 filesystem.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dotmesh_model::SubdotName;
use dotmesh_pool::{BtrfsPlace, Pool, PoolError};
use rustix::fs::{FallocateFlags, StatVfsMountFlags, fallocate, statvfs, syncfs};

use crate::world::{World, losetup, record, run};

const MIB: u64 = 1 << 20;

/// A disk with a pool on it.
struct Disk {
    world: World,
    pool: Pool,
}

impl Disk {
    /// A disk of this many bytes.
    async fn new(size: u64) -> Self {
        let world = Self::without_pool(size);
        let pool = Self::open(&world).await;
        Self { world, pool }
    }

    fn without_pool(size: u64) -> World {
        let world = World::new();
        let image = world.path("disk.img");
        File::create(&image)
            .expect("a call that works")
            .set_len(size)
            .expect("a call that works");
        run(
            "mkfs.ext4",
            &["-q", "-m", "0", image.to_str().expect("a path of text")],
        );
        let device = losetup(&image);
        let folder = world.path("disk");
        std::fs::create_dir(&folder).expect("a call that works");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount(&device.0, &folder, "ext4", flags, None).expect("a call that works");
        drop(device);
        world
    }

    async fn open(world: &World) -> Pool {
        let place = BtrfsPlace::Image {
            file: world.path("disk/pool.img"),
            mountpoint: world.path("pool"),
            limit: u64::MAX,
        };
        world.open_at(place).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path("pool").join(name)
    }

    fn free(&self) -> u64 {
        let disk = statvfs(self.world.path("disk")).expect("a call that works");
        disk.f_bavail * disk.f_frsize
    }

    /// Fills the disk, as another program could.
    fn fill(&self, bytes: u64) {
        let filler = File::create(self.world.path("disk/filler")).expect("a call that works");
        // If asked for all free space, it gets all but a few blocks.
        match fallocate(&filler, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::NOSPC) => {}
            filled => filled.expect("a call that works"),
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.world.path("disk/filler")).expect("a call that works");
    }

    fn is_read_only(&self) -> bool {
        let pool = statvfs(self.world.path("pool")).expect("a call that works");
        pool.f_flag.contains(StatVfsMountFlags::RDONLY)
    }

    /// Fits the pool to the disk all the time, as the daemon does, until [`Fitting::end`].
    fn fitting(&self) -> Fitting {
        let stop = Arc::new(AtomicBool::new(false));
        let (pool, stopped) = (self.pool.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                pool.fit().await.expect("the pool can be fitted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Fitting { stop, task }
    }
}

struct Fitting {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Fitting {
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("fitting goes well");
    }
}

/// Writes a file, and syncs each MiB. Returns how many MiB were written before an error.
fn write(path: &Path, mebibytes: u64) -> (u64, std::io::Result<()>) {
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return (0, Err(error)),
    };
    for done in 0..mebibytes {
        let piece = vec![u8::try_from(done % 251).expect("a call that works"); 1 << 20];
        let written = file.write_all(&piece).and_then(|()| file.sync_data());
        if let Err(error) = written {
            return (done, Err(error));
        }
    }
    (mebibytes, Ok(()))
}

/// Whether the first MiBs of such a file are intact.
fn is_whole(path: &Path, mebibytes: u64) -> bool {
    let content = std::fs::read(path).expect("a call that works");
    let mut pieces = content.chunks_exact(1 << 20).zip(0_u64..mebibytes);
    content.len() as u64 >= mebibytes * MIB
        && pieces.all(|(piece, n)| piece.iter().all(|byte| u64::from(*byte) == n % 251))
}

async fn write_aside(path: PathBuf, mebibytes: u64) -> (u64, std::io::Result<()>) {
    let written = tokio::task::spawn_blocking(move || write(&path, mebibytes));
    written.await.expect("a call that works")
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_as_large_as_what_the_disk_can_give() {
    let disk = Disk::new(3 << 30).await;
    let space = disk.pool.space().await.unwrap();
    let free = disk.free();
    assert!(
        space.total + 256 * MIB <= free + 16 * MIB,
        "{space:?}, {free} on the disk"
    );
    assert!(
        space.total + 512 * MIB >= free,
        "{space:?}, {free} on the disk"
    );
    // Preallocating most of the pool takes no space on the disk below.
    let reserved = File::create(disk.path("reserved")).unwrap();
    fallocate(&reserved, FallocateFlags::empty(), 0, 2 << 30).unwrap();
    assert!(disk.free() + 64 * MIB > free);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_get_no_space_left_before_the_disk_is_full_and_go_on_when_it_has_room() {
    let disk = Disk::new(1500 * MIB).await;
    let fitting = disk.fitting();
    let (before, result) = write_aside(disk.path("first"), 100).await;
    result.unwrap();
    // Another program takes all but 200 MiB, which is less than the reserve.
    disk.fill(disk.free() - 200 * MIB);
    let (written, result) = write_aside(disk.path("second"), 2000).await;
    assert_eq!(
        result.unwrap_err().kind(),
        ErrorKind::StorageFull,
        "after {written} MiB"
    );
    assert!(!disk.is_read_only());
    assert!(disk.free() > 0, "others still have room on the disk");
    assert!(is_whole(&disk.path("first"), before));
    assert!(is_whole(&disk.path("second"), written));
    assert!(
        std::fs::remove_file(disk.path("second")).is_ok(),
        "a full pool can be cleared"
    );

    disk.empty();
    until("room in the pool", async || {
        disk.pool.space().await.unwrap().free > 500 * MIB
    })
    .await;
    let (_, result) = write_aside(disk.path("third"), 400).await;
    result.unwrap();
    fitting.end().await;
}

/// Earlier versions created pools of 10 GiB, even on smaller disks.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_larger_than_its_disk_gives_what_there_is() {
    let world = Disk::without_pool(1500 * MIB);
    let file = world.path("disk/pool.img");
    File::create(&file).unwrap().set_len(10 << 30).unwrap();
    run(
        "mkfs.btrfs",
        &["--quiet", "--metadata", "single", file.to_str().unwrap()],
    );
    let pool = Disk::open(&world).await;
    let disk = Disk { world, pool };
    let space = disk.pool.space().await.unwrap();
    assert!(space.total < 1300 * MIB, "{space:?}");
    let fitting = disk.fitting();
    let (written, result) = write_aside(disk.path("file"), 3000).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "after {written} MiB");
    assert!(is_whole(&disk.path("file"), written));
    assert!(!disk.is_read_only());
    fitting.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_another_program_fills_at_once_does_not_make_the_pool_read_only() {
    let disk = Disk::new(1500 * MIB).await;
    let subvolume = disk.path("dots");
    let (before, result) = write_aside(disk.path("first"), 100).await;
    result.unwrap();
    // Nothing fits the pool now. Data writes may fail, but metadata writes must not.
    disk.fill(disk.free());
    assert!(disk.free() < MIB);
    let _ = write_aside(disk.path("second"), 100).await;
    for n in 0..2000 {
        let _ = std::fs::write(subvolume.join(n.to_string()), b"small");
    }
    let _ = syncfs(File::open(&subvolume).unwrap());
    assert!(!disk.is_read_only());

    let fitting = disk.fitting();
    until("the pool to have no space", async || {
        disk.pool.space().await.unwrap().free < 2 * MIB
    })
    .await;
    let (_, result) = write_aside(disk.path("third"), 10).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(is_whole(&disk.path("first"), before));

    disk.empty();
    until("room in the pool", async || {
        disk.pool.space().await.unwrap().free > 500 * MIB
    })
    .await;
    let (_, result) = write_aside(disk.path("third"), 100).await;
    result.unwrap();
    assert!(!disk.is_read_only());
    fitting.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_a_full_disk_opens_again() {
    let disk = Disk::new(1500 * MIB).await;
    disk.world.create_dot(&disk.pool).await;
    write_aside(disk.path("first"), 100).await.1.unwrap();
    disk.fill(disk.free());
    let Disk { world, pool } = disk;
    drop(pool);
    rustix::mount::unmount(world.path("pool"), rustix::mount::UnmountFlags::empty()).unwrap();
    let pool = Disk::open(&world).await;
    assert_eq!(pool.dots().await.unwrap().whole.len(), 1);
    assert!(is_whole(&world.path("pool").join("first"), 100));
}

/// A file to which a program has written on a full disk, without a sync. Returns its path and its content, which is now in the
/// kernel's cache only.
async fn refused(disk: &Disk) -> (PathBuf, Vec<u8>) {
    disk.world.create_dot(&disk.pool).await;
    let file = disk.world.subdot(&disk.pool).await.join("rows");
    let written = noise(1, 40 << 20);
    std::fs::write(&file, &written).expect("a call that works");
    disk.world.commit(&disk.pool, 1).await;
    disk.fill(disk.free());
    let more = noise(2, 10 << 20);
    let mut opened = File::options()
        .append(true)
        .open(&file)
        .expect("a call that works");
    opened.write_all(&more).expect("a call that works");
    let synced = opened.sync_data().expect_err("a full disk");
    assert_eq!(synced.kind(), ErrorKind::StorageFull);
    let all = [written, more].concat();
    assert!(
        std::fs::read(&file).expect("a call that works") == all,
        "programs see it"
    );
    (file, all)
}

fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let words = (0..bytes / 4).zip(0_u32..);
    let words = words.map(|(_, n)| {
        (n ^ (seed << 24))
            .wrapping_mul(2_654_435_761)
            .rotate_left(n % 31)
    });
    words.flat_map(u32::to_le_bytes).collect()
}

/// The content that a restart of the machine would leave.
fn read_from_disk(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("a call that works");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a call that works");
    std::fs::read(path).expect("a call that works")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_has_what_a_full_disk_has_refused_before() {
    let disk = Disk::new(1500 * MIB).await;
    let (file, written) = refused(&disk).await;
    let parent = disk.world.head(&disk.pool).await;
    let record = record(2, parent);
    let (dot, branch) = (&disk.world.dot, &disk.world.master);
    let commit = async |pool: &Pool| pool.commit(dot, branch, record.id, record.encode()).await;
    // While the disk is full, a commit would lack the bytes.
    let refused = commit(&disk.pool).await.unwrap_err();
    assert!(matches!(refused, PoolError::Full { .. }), "{refused}");
    // A killed daemon forgets the error, which the kernel tells of once.
    let pool = Disk::open(&disk.world).await;
    let still = commit(&pool).await.unwrap_err();
    assert!(matches!(still, PoolError::Full { .. }), "{still}");

    disk.empty();
    let pool = Disk::open(&disk.world).await;
    commit(&pool).await.unwrap();
    let copy = pool.copy_commit(dot, record.id).await.unwrap();
    let subdot = SubdotName::default_subdot().to_string();
    let committed = copy.data().join(subdot).join("rows");
    assert!(read_from_disk(&committed) == written);
    assert!(read_from_disk(&file) == written);
    assert!(!disk.path("lost-writes").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_has_refused_is_written_when_it_has_room() {
    let disk = Disk::new(1500 * MIB).await;
    let (file, written) = refused(&disk).await;
    disk.pool.fit().await.unwrap();
    disk.empty();
    until("the writes", async || {
        disk.pool.fit().await.unwrap();
        read_from_disk(&file) == written
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_data_goes_back_to_the_disk() {
    let disk = Disk::new(1500 * MIB).await;
    let fitting = disk.fitting();
    write_aside(disk.path("file"), 400).await.1.unwrap();
    let file = disk.world.path("disk/pool.img");
    let allocated = || std::fs::metadata(&file).unwrap().blocks() * 512;
    assert!(allocated() >= 400 * MIB);
    std::fs::remove_file(disk.path("file")).unwrap();
    disk.pool.reclaim().await.unwrap();
    until("the disk to have its space back", async || {
        allocated() < 100 * MIB
    })
    .await;
    fitting.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_btrfs_the_file_is_not_copied_on_write() {
    let world = World::new();
    let host = BtrfsPlace::Image {
        file: world.path("pool.img"),
        mountpoint: world.path("pool"),
        limit: 1024 * MIB,
    };
    let _host = world.open_at(host).await;
    let file = world.path("pool/inner.img");
    let place = BtrfsPlace::Image {
        file: file.clone(),
        mountpoint: world.path("inner"),
        limit: 128 * MIB,
    };
    let inner = world.open_at(place).await;
    let flags = rustix::fs::ioctl_getflags(File::open(&file).unwrap()).unwrap();
    assert!(flags.contains(rustix::fs::IFlags::NOCOW));
    world.create_dot(&inner).await;
}
