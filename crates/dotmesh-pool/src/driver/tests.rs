//! The conformance suite for drivers, run on btrfs in a sparse file.

use std::path::{Path, PathBuf};

use super::{Driver, Mode, Touch};
use crate::btrfs::{Btrfs, BtrfsPlace};

/// A btrfs image in a temporary folder, unmounted when dropped.
struct TestPool {
    mountpoint: PathBuf,
    driver: Btrfs,
    _folder: tempfile::TempDir,
}

impl TestPool {
    fn new(limit: u64) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "tests of the pool mount filesystems: run them as root"
        );
        let folder = tempfile::tempdir().unwrap();
        let mountpoint = folder.path().join("pool");
        let place = BtrfsPlace::Image {
            file: folder.path().join("pool.img"),
            mountpoint: mountpoint.clone(),
            limit,
        };
        let driver = Btrfs::open(&place).unwrap();
        Self {
            mountpoint,
            driver,
            _folder: folder,
        }
    }
}

impl Drop for TestPool {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::empty());
    }
}

const SMALL: u64 = 256 << 20;

#[test]
fn btrfs_passes_the_suite() {
    let pool = TestPool::new(SMALL);
    suite(&pool.driver, &pool.mountpoint);
}

fn suite(driver: &dyn Driver, root: &Path) {
    let live = root.join("live");
    driver.create(&live).unwrap();
    assert!(
        driver.create(&live).is_err(),
        "create refuses an existing path"
    );
    assert!(driver.is_snapshotted(&live).unwrap());
    let plain = root.join("plain");
    std::fs::create_dir(&plain).unwrap();
    assert!(!driver.is_snapshotted(&plain).unwrap());

    std::fs::write(live.join("file"), "one").unwrap();
    let frozen = root.join("frozen");
    driver.snapshot(&live, &frozen, Mode::Frozen).unwrap();
    std::fs::write(live.join("file"), "two").unwrap();
    assert_eq!(std::fs::read_to_string(frozen.join("file")).unwrap(), "one");
    assert!(
        std::fs::write(frozen.join("file"), "three").is_err(),
        "frozen is frozen"
    );
    assert!(
        driver.snapshot(&live, &frozen, Mode::Frozen).is_err(),
        "a snapshot replaces nothing"
    );
    assert_eq!(std::fs::read_to_string(frozen.join("file")).unwrap(), "one");

    let copy = root.join("copy");
    driver.snapshot(&frozen, &copy, Mode::Writable).unwrap();
    std::fs::write(copy.join("file"), "copy").unwrap();
    assert_eq!(std::fs::read_to_string(live.join("file")).unwrap(), "two");

    usage_suite(driver, root);
    difference_suite(driver, root);

    // Containers can create subvolumes. They must not prevent the deletion of the folder.
    driver.create(&copy.join("nested")).unwrap();
    std::fs::create_dir(copy.join("folder")).unwrap();
    driver.create(&copy.join("folder/deeper")).unwrap();
    driver.create(&copy.join("folder/deeper/deepest")).unwrap();
    for path in [&live, &frozen, &copy] {
        driver.delete(path).unwrap();
        assert!(!path.exists());
    }
    let space = driver.space().unwrap();
    assert!(space.free <= space.total && space.total > 0);
}

/// The tests of sealing also compare the difference with a full read of the files.
fn difference_suite(driver: &dyn Driver, root: &Path) {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let live = root.join("compared");
    driver.create(&live).unwrap();
    let data = live.join("data");
    std::fs::create_dir_all(data.join("still/deep")).unwrap();
    std::fs::create_dir_all(data.join("busy/deep")).unwrap();
    std::fs::write(live.join("beside"), "one").unwrap();
    for name in [
        "still/deep/file",
        "busy/deep/file",
        "busy/deep/other",
        "moved",
    ] {
        std::fs::write(data.join(name), vec![1; 100_000]).unwrap();
    }
    let base = root.join("compared-1");
    driver.snapshot(&live, &base, Mode::Frozen).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(data.join("busy/deep/file"))
        .unwrap();
    file.write_all_at(&[2; 10], 50_000).unwrap();
    std::fs::rename(data.join("moved"), data.join("busy/elsewhere")).unwrap();
    std::fs::write(data.join("new"), "new").unwrap();
    std::fs::write(live.join("beside"), "two").unwrap();
    let snapshot = root.join("compared-2");
    driver.snapshot(&live, &snapshot, Mode::Frozen).unwrap();

    let compare =
        |base: &Path, snapshot: &Path| driver.difference(base, snapshot, "data", false).unwrap();
    let difference = compare(&base, &snapshot);
    let inode = |name: &str| {
        std::fs::metadata(snapshot.join("data").join(name))
            .unwrap()
            .ino()
    };
    let touch = |name| difference.touch(inode(name));
    assert_eq!(touch("still"), None);
    assert_eq!(touch("still/deep/file"), None);
    assert_eq!(touch("busy/deep/other"), None);
    assert_eq!(touch("busy/deep"), Some(Touch::Below));
    assert_eq!(touch(""), Some(Touch::Changed));
    for name in ["busy/deep/file", "busy/elsewhere", "new"] {
        assert_eq!(touch(name), Some(Touch::Changed), "{name}");
    }
    let below = difference.touched_in(inode("busy/deep"));
    assert_eq!(below, [(b"file"[..].into(), inode("busy/deep/file"))]);

    let before = |name| difference.before(inode(name)).unwrap();
    assert_eq!(before("busy/elsewhere").as_deref(), Some(&b"moved"[..]));
    assert_eq!(
        before("busy/deep/file").as_deref(),
        Some(&b"busy/deep/file"[..])
    );
    assert_eq!(before("new"), None);
    let ranges = difference.ranges(inode("busy/deep/file")).unwrap();
    let [range] = &ranges[..] else {
        panic!("one range, not {ranges:?}");
    };
    assert!(range.contains(&50_000) && range.contains(&50_009));
    assert!(range.end - range.start < 100_000, "{range:?}");
    assert_eq!(difference.ranges(inode("busy/elsewhere")).unwrap(), []);
    assert!(difference.bytes() > 0 && !difference.has_links());

    // The older snapshot must be the base.
    assert!(driver.difference(&snapshot, &base, "data", false).is_err());

    // A second hard link, far from the first.
    std::fs::hard_link(data.join("still/deep/file"), data.join("busy/link")).unwrap();
    let third = root.join("compared-3");
    driver.snapshot(&live, &third, Mode::Frozen).unwrap();
    let difference = compare(&snapshot, &third);
    assert!(difference.has_links());
    assert_eq!(difference.touch(inode("still/deep")), Some(Touch::Below));
    assert_eq!(
        difference.touch(inode("still/deep/file")),
        Some(Touch::Changed)
    );
}

fn usage_suite(driver: &dyn Driver, root: &Path) {
    let live = root.join("measured");
    driver.create(&live).unwrap();
    std::fs::write(live.join("ignored"), vec![1; 1000]).unwrap();
    std::fs::write(live.join("megabyte"), vec![1; 1 << 20]).unwrap();
    std::fs::create_dir(live.join("folder")).unwrap();
    std::fs::write(live.join("folder/small"), "x").unwrap();
    let frozen = root.join("measured-frozen");
    driver.snapshot(&live, &frozen, Mode::Frozen).unwrap();
    let usage = || {
        rustix::fs::syncfs(std::fs::File::open(root).unwrap()).unwrap();
        driver.usage(&live, &frozen, "ignored").unwrap()
    };
    let clean = usage();
    assert_eq!(clean.dirty, 0, "nothing changed since the snapshot");
    assert!(
        clean.size >= 1 << 20 && clean.size < (1 << 20) + 4096,
        "{clean:?}"
    );

    let fork = root.join("measured-fork");
    driver.snapshot(&frozen, &fork, Mode::Writable).unwrap();
    assert_eq!(driver.usage(&fork, &frozen, "ignored").unwrap(), clean);

    std::fs::write(live.join("new"), vec![3; 2000]).unwrap();
    std::fs::rename(live.join("new"), live.join("ignored")).unwrap();
    assert_eq!(usage(), clean, "the ignored file is replaced");
    assert_eq!(driver.dirty(&live, &frozen, "ignored").unwrap(), 0);

    std::fs::write(live.join("more"), vec![2; 256 << 10]).unwrap();
    let grown = usage();
    assert!(
        grown.dirty >= 256 << 10 && grown.dirty < 300 << 10,
        "{grown:?}"
    );
    assert_eq!(grown.size, clean.size + (256 << 10));
    let dirty = driver.dirty(&live, &frozen, "ignored").unwrap();
    assert_eq!(dirty, grown.dirty);

    // The size belongs to the subvolume, not to its path.
    let aside = root.join("measured-aside");
    std::fs::rename(&live, &aside).unwrap();
    std::fs::rename(&fork, &live).unwrap();
    assert_eq!(usage(), clean);
    std::fs::rename(&live, &fork).unwrap();
    std::fs::rename(&aside, &live).unwrap();

    // A writable copy of a changed folder is dirty, too.
    let dirty_fork = root.join("measured-dirty-fork");
    driver.snapshot(&live, &dirty_fork, Mode::Writable).unwrap();
    assert!(driver.usage(&dirty_fork, &frozen, "ignored").unwrap().dirty >= 256 << 10);

    std::fs::remove_file(live.join("more")).unwrap();
    driver
        .snapshot(&live, &root.join("measured-frozen-2"), Mode::Frozen)
        .unwrap();
    let base = root.join("measured-frozen-2");
    assert_eq!(driver.usage(&live, &base, "ignored").unwrap().dirty, 0);
    std::fs::remove_file(live.join("folder/small")).unwrap();
    assert!(usage().size <= clean.size);
    assert!(
        driver.usage(&live, &base, "ignored").unwrap().dirty > 0,
        "a deletion is a change"
    );
}
