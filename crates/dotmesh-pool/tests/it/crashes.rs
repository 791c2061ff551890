//! What is in the pool when a step was begun and not ended, or ended and not told.

use std::time::Duration;

use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId};
use dotmesh_pool::Start;

use crate::world::{World, eventually, read, record};

#[tokio::test]
async fn dots_branches_and_commits_are_read_back_from_the_folders() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let file = world.subdot(&pool).await.join("file");
    std::fs::write(&file, "one").unwrap();
    let first = world.commit(&pool, 1).await;
    std::fs::write(&file, "two").unwrap();
    let second = world.commit(&pool, 2).await;
    let other: BranchName = "other".parse().unwrap();
    pool.create_branch(&world.dot, &other, Start::Commit(first))
        .await
        .unwrap();

    let again = world.open().await;
    assert_eq!(again.node(), pool.node());
    let dots = again.dots().await.unwrap();
    assert_eq!(dots.len(), 1);
    assert_eq!(
        dots[0].branches,
        [(world.master.clone(), second), (other, first)]
    );
    assert_eq!(again.commits(&world.dot).await.unwrap(), [first, second]);
    let bytes = again.record(&world.dot, second).await.unwrap();
    assert_eq!(bytes, record(2, first).encode());
    assert_eq!(
        read(
            &again
                .commit_data(&world.dot, first)
                .join("__default__/file")
        ),
        "one"
    );
}

#[tokio::test]
async fn a_record_without_its_snapshot_leaves_the_head_where_it_was() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    assert_eq!(world.head(&pool).await, CommitId::ROOT);
    let first = world.commit(&pool, 1).await;
    // Killed between writing the record and taking the snapshot.
    let data = pool.volume_path(&world.dot, &world.master, &Folder::Root);
    std::fs::write(
        data.with_file_name("commit.json"),
        record(2, first).encode(),
    )
    .unwrap();
    assert_eq!(world.head(&pool).await, first);
    let second = world.commit(&pool, 2).await;
    assert_eq!(world.head(&pool).await, second);
    pool.take_back(&world.dot, second).await.unwrap();
    assert_eq!(world.head(&pool).await, first);
}

#[tokio::test]
async fn what_was_being_made_is_gone_at_the_next_start() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let import = pool.begin_import(&world.dot, CommitId::ROOT).await.unwrap();
    std::fs::write(import.data().join("half"), "half").unwrap();
    let staging = import.data().ancestors().nth(2).unwrap().to_owned();
    // A killed daemon drops nothing.
    std::mem::forget(import);
    let draft = "draft".parse().unwrap();
    pool.begin_dot(&draft).await.unwrap();

    let again = world.open().await;
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
    let names: Vec<_> = again
        .dots()
        .await
        .unwrap()
        .into_iter()
        .map(|dot| dot.name)
        .collect();
    assert_eq!(names, std::slice::from_ref(&world.dot));
    // The name of the draft is free.
    again.begin_dot(&draft).await.unwrap();
}

#[tokio::test]
async fn an_import_that_is_given_up_is_deleted_and_one_that_is_finished_is_a_commit() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let import = pool.begin_import(&world.dot, CommitId::ROOT).await.unwrap();
    let folder = import.data().parent().unwrap().to_owned();
    drop(import);
    eventually("the import is deleted", || !folder.exists()).await;

    let import = pool.begin_import(&world.dot, CommitId::ROOT).await.unwrap();
    std::fs::write(import.data().join("file"), "received").unwrap();
    let record = record(7, CommitId::ROOT);
    pool.finish_import(&world.dot, import, record.id, record.encode())
        .await
        .unwrap();
    assert_eq!(
        read(&pool.commit_data(&world.dot, record.id).join("file")),
        "received"
    );
    assert_eq!(
        world.head(&pool).await,
        CommitId::ROOT,
        "no branch has moved"
    );
}

#[tokio::test]
async fn a_replaced_working_copy_can_be_fetched_back_until_the_trash_is_emptied() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let file = world.subdot(&pool).await.join("file");
    std::fs::write(&file, "committed").unwrap();
    let first = world.commit(&pool, 1).await;
    std::fs::write(&file, "not committed").unwrap();

    let replaced = pool
        .replace_branch(&world.dot, &world.master, first)
        .await
        .unwrap();
    assert_eq!(read(&file), "committed");
    pool.empty_trash(Duration::from_secs(3600)).await.unwrap();
    pool.restore_branch(&world.dot, &world.master, replaced)
        .await
        .unwrap();
    assert_eq!(read(&file), "not committed");

    let _ = pool
        .replace_branch(&world.dot, &world.master, CommitId::ROOT)
        .await
        .unwrap();
    assert!(!file.exists());
    assert_eq!(world.head(&pool).await, CommitId::ROOT);
    pool.empty_trash(Duration::ZERO).await.unwrap();
    let trash = world.path("pool/trash");
    assert_eq!(std::fs::read_dir(trash).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_container_puts_in_place_of_a_subdot_is_not_followed() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let data = pool.volume_path(&world.dot, &world.master, &Folder::Root);
    std::os::unix::fs::symlink("/etc", data.join("link")).unwrap();
    std::fs::write(data.join("file"), "").unwrap();
    for name in ["link", "file"] {
        let folder = Folder::Subdot(name.parse().unwrap());
        let error = pool
            .prepare_volume(&world.dot, &world.master, &folder)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("is not a folder"), "{error}");
    }
}
