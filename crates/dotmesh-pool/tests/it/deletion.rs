//! The pool can delete anything that a container creates in its volume: in the trash, in `staging/` after a crash, and in
//! interrupted imports.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use dotmesh_model::CommitId;
use dotmesh_model::volume::Folder;
use dotmesh_pool::{Pool, Start};
use rustix::fs::IFlags;

use crate::nasty::{Place, btrfs};
use crate::world::{World, record};

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

async fn make(world: &World, pool: &Pool, nasty: impl Fn(&Place)) {
    let data = pool.volume_path(&world.dot, &world.master, &Folder::Root);
    nasty(&Place::open(&data));
}

/// Deletes the branch, and creates it again without files.
async fn renew(world: &World, pool: &Pool) {
    let deleted = pool.delete_branch(&world.dot, &world.master).await;
    deleted.expect("deletion");
    let start = Start::Commit(CommitId::ROOT);
    let created = pool.create_branch(&world.dot, &world.master, start).await;
    created.expect("a fresh working copy");
}

async fn empty(pool: &Pool) {
    pool.empty_trash(Duration::ZERO)
        .await
        .expect("a look at the trash");
}

/// Makes such data at each place from which the pool deletes, and checks that it goes.
async fn goes(nasty: impl Fn(&Place)) {
    let world = World::new();
    let pool = world.open().await;
    let (trash, staging) = (world.path("pool/trash"), world.path("pool/staging"));

    world.create_dot(&pool).await;
    make(&world, &pool, &nasty).await;
    pool.delete_dot(&world.dot).await.expect("deletion");
    empty(&pool).await;
    assert_eq!(count(&trash), 0, "a deleted dot");

    world.create_dot(&pool).await;
    make(&world, &pool, &nasty).await;
    renew(&world, &pool).await;
    empty(&pool).await;
    assert_eq!(count(&trash), 0, "a deleted branch");

    // As if a daemon was killed while a working copy was in `staging`.
    make(&world, &pool, &nasty).await;
    let working = world.path("pool/dots/admin/app/branches/master");
    std::fs::rename(&working, staging.join("fresh")).expect("a rename");
    let pool = world.open().await;
    empty(&pool).await;
    assert_eq!(count(&staging) + count(&trash), 0, "at a start");

    let (root, commit) = (CommitId::ROOT, record(7, CommitId::ROOT).id);
    let import = pool.begin_import(&world.dot, root, commit).await;
    let import = import.expect("an import");
    nasty(&Place::open(&import.data()));
    drop(import);
    pool.forget_incoming(Duration::ZERO)
        .await
        .expect("a look at imports");
    empty(&pool).await;
    assert_eq!(count(&world.path("pool/incoming")), 0, "an import");
    assert_eq!(count(&trash), 0, "an import");
}

#[tokio::test]
async fn subvolumes_inside_each_other_go() {
    goes(|data| {
        let mut at = data.directory(b"some");
        for _ in 0..5 {
            at = at.subvolume(b"nested").directory(b"folder");
            at.subvolume(b"beside").file(b"file");
        }
    })
    .await;
}

#[tokio::test]
async fn read_only_subvolumes_inside_each_other_go() {
    goes(|data| {
        let outer = data.subvolume(b"outer");
        let inner = outer.directory(b"folder").subvolume(b"inner");
        inner.subvolume(b"innermost").freeze();
        inner.freeze();
        outer.freeze();
    })
    .await;
}

#[tokio::test]
async fn a_subvolume_at_a_path_of_eight_kilobytes_goes() {
    goes(|data| {
        let deep = data.deep(&[b'x'; 255], 32).subvolume(b"nested");
        deep.deep(&[b'y'; 255], 32).subvolume(b"deeper").freeze();
        deep.freeze();
    })
    .await;
}

#[tokio::test]
async fn a_subvolume_three_thousand_folders_deep_goes() {
    goes(|data| {
        data.deep(b"d", 3000).subvolume(b"nested").file(b"file");
    })
    .await;
}

#[tokio::test]
async fn subvolumes_forty_levels_deep_go() {
    goes(|data| {
        let mut at = data.subvolume(b"0");
        for _ in 0..40 {
            at = at.deep(&[b'n'; 200], 2).subvolume(b"level");
        }
    })
    .await;
}

#[tokio::test]
async fn immutable_and_append_only_files_and_folders_go() {
    goes(|data| {
        for (name, flag) in [
            (&b"immutable"[..], IFlags::IMMUTABLE),
            (b"append", IFlags::APPEND),
        ] {
            let folder = data.directory(name);
            rustix::fs::ioctl_setflags(folder.file(b"file"), flag).unwrap();
            let top = folder.subvolume(b"nested");
            let inside = top.directory(b"folder");
            inside.subvolume(b"deeper").flag(flag);
            // On the parent folder of a subvolume, on its top folder, and on a read-only subvolume.
            inside.flag(flag);
            top.flag(flag);
            top.freeze();
            folder.flag(flag);
        }
        data.flag(IFlags::IMMUTABLE);
    })
    .await;
}

#[tokio::test]
async fn device_nodes_large_attributes_and_odd_names_go() {
    goes(|data| {
        let name = b"\xff\xfe name \n\x1b[31m";
        let folder = data.directory(name);
        folder.device(b"null");
        folder.attribute(&[7; 3000]);
        let nested = folder.subvolume(name);
        nested.device(b"null");
        nested.attribute(&[7; 3000]);
        nested.directory(name).subvolume(name).freeze();
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_be_deleted_keeps_no_other_and_goes_once_it_can() {
    let world = World::new();
    let pool = world.open().await;
    let trash = world.path("pool/trash");
    world.create_dot(&pool).await;
    // The kernel does not delete the default subvolume of a filesystem, nor a subvolume with an active swap file.
    make(&world, &pool, |data| {
        let nested = data.directory(b"kept").subvolume(b"default");
        btrfs(&["subvolume", "set-default"], OsStr::new(&nested.path()));
        data.subvolume(b"other").freeze();
    })
    .await;
    for _ in 0..2 {
        renew(&world, &pool).await;
        make(&world, &pool, |data| drop(data.subvolume(b"nested"))).await;
    }
    pool.delete_dot(&world.dot).await.unwrap();
    assert_eq!(count(&trash), 3);
    empty(&pool).await;
    assert_eq!(count(&trash), 1, "the others go");

    let leftovers = pool.leftovers().await.unwrap();
    let [leftover] = &leftovers[..] else {
        panic!("one leftover, not {leftovers:?}");
    };
    let expected =
        "the subvolume data/kept/default in it cannot be deleted: Operation not permitted";
    assert!(leftover.problem.contains(expected), "{leftover:?}");
    assert!(leftover.path.starts_with(&trash), "{leftover:?}");
    assert!(!leftover.path.join("data/other").exists());
    empty(&pool).await;
    assert_eq!(pool.leftovers().await.unwrap(), leftovers);

    // The daemon still starts, and reports it again.
    let again = world.open().await;
    assert_eq!(again.leftovers().await.unwrap(), []);
    empty(&again).await;
    assert_eq!(again.leftovers().await.unwrap(), leftovers);

    let root = world.path("pool");
    btrfs(&["subvolume", "set-default", "5"], root.as_os_str());
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while count(&trash) > 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "it is not tried again"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        empty(&pool).await;
    }
    assert_eq!(pool.leftovers().await.unwrap(), []);
    assert_eq!(again.leftovers().await.unwrap(), [], "deleted by another");
}

#[tokio::test]
async fn what_cannot_be_deleted_keeps_no_daemon_from_starting() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    make(&world, &pool, |data| {
        let nested = data.subvolume(b"default");
        btrfs(&["subvolume", "set-default"], OsStr::new(&nested.path()));
        data.flag(IFlags::IMMUTABLE);
    })
    .await;
    let staging = world.path("pool/staging");
    let working = world.path("pool/dots/admin/app/branches/master");
    let fresh = staging.join("fresh");
    std::fs::rename(&working, &fresh).unwrap();
    // So it cannot even be renamed.
    Place::open(&fresh).flag(IFlags::IMMUTABLE);

    let again = world.open().await;
    let leftovers = again.leftovers().await.unwrap();
    assert_eq!(leftovers.len(), 1, "{leftovers:?}");
    assert_eq!(leftovers[0].path, fresh);
    let root = world.path("pool");
    btrfs(&["subvolume", "set-default", "5"], root.as_os_str());
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fresh.exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "it is not tried again"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        empty(&again).await;
    }
    assert_eq!(again.leftovers().await.unwrap(), []);
}
