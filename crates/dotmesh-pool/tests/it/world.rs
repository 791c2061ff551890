//! A pool in a temporary folder, with helpers for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use dotmesh_model::ambient::Clock;
use dotmesh_model::commit::RECORD_VERSION;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, SubdotName};
use dotmesh_pool::{BtrfsPlace, DotFile, Pool};

/// A temporary folder with a pool. Dropping it unmounts everything in the folder, and deletes it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) dot: DotName,
    pub(crate) master: BranchName,
}

impl World {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a pool is mounted: run this test as root"
        );
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            dot: "app".parse().expect("a name"),
            master: BranchName::master(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the pool. A second call is like a restart after the daemon was killed.
    pub(crate) async fn open(&self) -> Pool {
        let limit = 256 << 20;
        let (file, mountpoint) = (self.path("pool.img"), self.path("pool"));
        self.open_at(BtrfsPlace::Image {
            file,
            mountpoint,
            limit,
        })
        .await
    }

    pub(crate) async fn open_at(&self, place: BtrfsPlace) -> Pool {
        Pool::open(place, "0123456789abcdef".to_owned(), clock())
            .await
            .expect("the pool opens")
    }

    pub(crate) async fn create_dot(&self, pool: &Pool) {
        let file = DotFile {
            id: "d".repeat(32),
            current: self.master.clone(),
            origins: std::collections::BTreeMap::new(),
        };
        pool.create_dot(&self.dot, &file).await.expect("a new dot");
    }

    /// The folder of the default subdot of master.
    pub(crate) async fn subdot(&self, pool: &Pool) -> PathBuf {
        let folder = Folder::Subdot(SubdotName::default_subdot());
        pool.prepare_volume(&self.dot, &self.master, &folder)
            .await
            .expect("a subdot");
        pool.volume_path(&self.dot, &self.master, &folder)
    }

    pub(crate) async fn commit(&self, pool: &Pool, id: u8) -> CommitId {
        let head = self.head(pool).await;
        let record = record(id, head);
        pool.commit(&self.dot, &self.master, record.id, record.encode())
            .await
            .expect("a commit");
        record.id
    }

    pub(crate) async fn head(&self, pool: &Pool) -> CommitId {
        pool.head(&self.dot, &self.master).await.expect("a head")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let table = String::from_utf8_lossy(&table);
        let folder = self.folder.path().display().to_string();
        for mountpoint in table
            .lines()
            .rev()
            .filter_map(|line| line.split(' ').nth(4))
        {
            if mountpoint.starts_with(&folder) {
                let flags = rustix::mount::UnmountFlags::DETACH;
                let _ = rustix::mount::unmount(mountpoint, flags);
            }
        }
    }
}

/// A loop device. Dropping it detaches the device as soon as nothing on it is mounted.
pub(crate) struct Device(pub(crate) String);

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

pub(crate) fn losetup(file: &Path) -> Device {
    let file = file.to_str().expect("a path of text");
    Device(
        run("losetup", &["--find", "--show", file])
            .trim()
            .to_owned(),
    )
}

/// Runs a program that must succeed, and returns its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn record(id: u8, parent: CommitId) -> CommitRecord {
    CommitRecord {
        version: RECORD_VERSION,
        id: CommitId::from_bytes([id; 16]),
        parent,
        branch: BranchName::master(),
        author: "somebody".to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
        message: format!("commit {id}"),
        metadata: std::collections::BTreeMap::new(),
        images: Vec::new(),
        code: None,
        dot: None,
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// The system's clock.
#[expect(clippy::disallowed_methods, reason = "the pool runs for real")]
pub(crate) fn clock() -> Clock {
    Clock::new(jiff::Timestamp::now)
}
