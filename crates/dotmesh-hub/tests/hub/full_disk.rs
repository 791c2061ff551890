//! A full disk: the client gets a clear error, and the hub continues once there is space.
//!
//! The test must mount a small file system. If it may not, it prints a message and ends.

use std::path::{Path, PathBuf};

use dotmesh_api::ErrorCode;
use dotmesh_store::{Kind, Object};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::place::Place;
use crate::support::{TestHub, dot, pack, push_first, refused};

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let options = c"size=6m";
        mount("tmpfs", at, "tmpfs", MountFlags::NOSUID, options).ok()?;
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn noise(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) << 17 | 1;
    (0..60_000)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .collect()
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let outer = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(outer.path()) else {
        println!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let ballast = outer.path().join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let dir = tempfile::tempdir_in(outer.path()).unwrap();
    let hub = TestHub::start_in(Place::folder(dir)).await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let upload = alice.begin_upload(&app).await.unwrap();
    let mut answer = Ok(());
    for n in 0..200 {
        let objects: Vec<_> = (0..4)
            .map(|m| Object::new(Kind::Chunk, noise(n * 4 + m)))
            .collect();
        answer = alice.send_pack(&app, &upload, pack(&objects)).await;
        if answer.is_err() {
            break;
        }
    }
    let body = refused(answer, ErrorCode::NoSpace);
    assert!(body.hint.is_some());
    // Reads continue, and so do writes after a file is removed.
    assert_eq!(
        alice.commits(&app, first.id, None).await.unwrap().commits,
        [first.sealed]
    );
    alice.objects(&app, &files.hashes()).await.unwrap();
    std::fs::remove_file(ballast).unwrap();
    push_first(&alice, &dot("alice/other"), b"two").await;
}
