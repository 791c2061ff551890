//! Places for a pool: a file, a folder on btrfs, or a block device. Other places are refused.

use std::process::Command;

use dotmesh_model::CommitId;
use dotmesh_pool::{BtrfsPlace, Pool};

use crate::world::{Device, World, clock, losetup};

async fn fails(place: BtrfsPlace) -> String {
    match Pool::open(place, "0".repeat(16), clock()).await {
        Ok(_) => panic!("the pool opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_folder_of_a_btrfs_filesystem_holds_a_pool() {
    let world = World::new();
    world.open().await;
    let folder = world.path("pool/a/folder/of/mine");
    let pool = world.open_at(BtrfsPlace::Folder(folder)).await;
    world.create_dot(&pool).await;
    world.commit(&pool, 1).await;
    assert_eq!(pool.commits(&world.dot).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_folder_of_another_filesystem_does_not() {
    let world = World::new();
    let error = fails(BtrfsPlace::Folder("/dev/shm/not-btrfs".into())).await;
    let _ = std::fs::remove_dir("/dev/shm/not-btrfs");
    assert!(error.contains("it is not on a btrfs filesystem"), "{error}");
    let limit = 1 << 20;
    let (file, mountpoint) = (world.path("small.img"), world.path("small"));
    let error = fails(BtrfsPlace::Image {
        file,
        mountpoint,
        limit,
    })
    .await;
    assert!(error.contains("a pool needs at least 128 MiB"), "{error}");
}

fn blank(file: &std::path::Path) -> Device {
    let sparse = std::fs::File::create(file).expect("an image");
    sparse.set_len(256 << 20).expect("a sparse file");
    losetup(file)
}

#[tokio::test]
async fn a_blank_device_is_formatted_once_and_one_with_data_is_left_alone() {
    let world = World::new();
    let device = blank(&world.path("blank.img"));
    let mountpoint = world.path("mounted");
    let place = BtrfsPlace::Device {
        device: device.0.clone().into(),
        mountpoint: mountpoint.clone(),
    };
    let pool = world.open_at(place.clone()).await;
    world.create_dot(&pool).await;
    drop(pool);
    rustix::mount::unmount(&mountpoint, rustix::mount::UnmountFlags::empty()).unwrap();
    let again = world.open_at(place).await;
    assert_eq!(world.head(&again).await, CommitId::ROOT);
    assert_eq!(again.dots().await.unwrap().whole.len(), 1);

    let foreign = blank(&world.path("foreign.img"));
    let made = Command::new("mkfs.ext4")
        .args(["-q", &foreign.0])
        .status()
        .unwrap();
    assert!(made.success());
    let mountpoint = world.path("never");
    let error = fails(BtrfsPlace::Device {
        device: foreign.0.clone().into(),
        mountpoint,
    })
    .await;
    assert!(
        error.contains("it holds a filesystem of type ext4"),
        "{error}"
    );
}

#[tokio::test]
async fn a_mount_of_somebody_elses_at_a_path_that_is_no_text_is_passed_over() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    let odd = world.path("odd").join(std::ffi::OsStr::from_bytes(b"\xff"));
    std::fs::create_dir_all(&odd).unwrap();
    mount("none", &odd, "tmpfs", MountFlags::empty(), None).unwrap();
    let opened = Pool::open(
        BtrfsPlace::Image {
            file: world.path("pool.img"),
            mountpoint: world.path("pool"),
            limit: 256 << 20,
        },
        "0".repeat(16),
        clock(),
    )
    .await;
    unmount(&odd, UnmountFlags::DETACH).unwrap();
    opened.expect("the pool opens");
}
