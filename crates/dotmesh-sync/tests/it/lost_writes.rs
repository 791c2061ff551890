//! A disk that loses writes: the kernel's cache has bytes that never reach the disk.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use dotmesh_sync::{MemoryObjects, Target};
use rustix::fs::{Advice, FallocateFlags, fallocate};

use crate::resume::{Recorded, attempt};
use crate::round_trip::seal_into;

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.expect(program).success(), "{program} {arguments:?}");
}

/// A btrfs file system in a sparse file on a small disk. Both are unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (disk, pool) = (path("disk"), path("pool"));
        fs::create_dir(&disk).expect("create");
        fs::create_dir(&pool).expect("create");
        let (image, inner) = (path("disk.img"), path("disk/pool.img"));
        File::create(&image)
            .and_then(|file| file.set_len(400 << 20))
            .expect("an image");
        run("mkfs.ext4", &["-q", "-m", "0", &image]);
        run("mount", &["-o", "loop", &image, &disk]);
        File::create(&inner)
            .and_then(|file| file.set_len(2 << 30))
            .expect("an image");
        run("mkfs.btrfs", &["--quiet", "--metadata", "single", &inner]);
        // Allocate the blocks below the metadata in advance, so that only data is lost.
        let file = File::options().write(true).open(&inner).expect("open");
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 16 << 20).expect("allocate");
        run("mount", &["-o", "loop,nodiscard", &inner, &pool]);
        Self(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for name in ["pool", "disk"] {
            let _ = Command::new("umount").arg(self.path(name)).status();
        }
    }
}

/// The bytes of a file that are on the disk.
fn read_from_disk(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("open");
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("drop the cache");
    fs::read(path).expect("read")
}

#[test]
fn bytes_that_only_the_cache_has_do_not_count() {
    let disk = Disk::new();
    let live = disk.path("live");
    fs::create_dir(&live).expect("create");
    // Files smaller than a chunk stay in the cache when they are written.
    for number in 0..1500_u32 {
        let noise = (0..5000_u32).map(|n| (n + number).wrapping_mul(2_654_435_761));
        let noise: Vec<u8> = noise.flat_map(u32::to_le_bytes).collect();
        fs::write(live.join(number.to_string()), noise).expect("write");
    }
    let mut objects = MemoryObjects::default();
    let root = seal_into(&mut objects, &live);
    let copy = disk.path("pool/copy");
    fs::create_dir(&copy).expect("create");
    let pool = File::open(&copy).expect("open");
    rustix::fs::syncfs(&pool).expect("sync");

    let filler = disk.path("disk/filler");
    let mut taker = File::create(&filler).expect("create");
    while std::io::Write::write_all(&mut taker, &[0; 1 << 16]).is_ok() {}
    let mut target = Target {
        root,
        base: None,
        into: copy.clone(),
        resumed: false,
    };
    let cut = Recorded::new(&objects, 4);
    assert!(!attempt(&cut, &target, usize::MAX));
    // As after a kill of the daemon, no caller receives this error.
    assert!(rustix::fs::syncfs(&pool).is_err(), "the disk is full");
    drop(taker);
    fs::remove_file(&filler).expect("remove");

    // All bytes that can be read are right. Otherwise reading is an error, and the caller starts again from nothing.
    target.resumed = true;
    let whole = Recorded::new(&objects, usize::MAX);
    if !attempt(&whole, &target, usize::MAX) {
        fs::remove_dir_all(&copy).expect("delete");
        fs::create_dir(&copy).expect("create");
        target.resumed = false;
        assert!(attempt(&whole, &target, usize::MAX));
    }
    rustix::fs::syncfs(File::open(&copy).expect("open")).expect("sync");
    for number in 0..1500 {
        let name = number.to_string();
        let wanted = fs::read(live.join(&name)).expect("read");
        assert!(read_from_disk(&copy.join(&name)) == wanted, "file {name}");
    }
}
