//! The operation log of a dot on btrfs: it swaps working copies, and the next start settles interrupted operations.

use std::path::Path;

use dotmesh_model::{BranchName, CommitId};
use dotmesh_pool::{DeletedWith, NewStep, Operation, Pool, Start, State, to_redo, to_undo};

use crate::world::{World, read, record};

async fn log(world: &World, pool: &Pool) -> Vec<Operation> {
    pool.operations(&world.dot).await.expect("a log")
}

async fn states(world: &World, pool: &Pool) -> Vec<State> {
    log(world, pool).await.iter().map(|one| one.state).collect()
}

/// Carries out an operation, but does not mark it as done.
async fn begin(world: &World, pool: &Pool, steps: Vec<NewStep>) -> u64 {
    let begun = pool.begin_operation(&world.dot, "a test".to_owned(), steps);
    let number = begun.await.expect("it begins");
    pool.carry_out(&world.dot, number).await.expect("its steps");
    number
}

fn replace(world: &World, commit: CommitId) -> Vec<NewStep> {
    let branch = world.master.clone();
    vec![NewStep::Replace {
        branch,
        start: Start::Commit(commit),
    }]
}

async fn dirty(world: &World, pool: &Pool) -> u64 {
    pool.flush().await.expect("a flush");
    let head = world.head(pool).await;
    let usage = pool.usage(&world.dot, &world.master, head).await;
    usage.expect("its usage").dirty
}

/// A dot with a commit, and a file that is not committed.
async fn prepare(world: &World) -> (Pool, std::path::PathBuf, CommitId) {
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let file = world.subdot(&pool).await.join("file");
    std::fs::write(&file, "committed").expect("a file");
    let first = world.commit(&pool, 1).await;
    std::fs::write(&file, "not committed").expect("a file");
    (pool, file, first)
}

#[tokio::test]
async fn a_replaced_working_copy_comes_and_goes() {
    let world = World::new();
    let (pool, file, first) = prepare(&world).await;
    let number = begin(&world, &pool, replace(&world, first)).await;
    pool.settle(&world.dot).await.unwrap();
    assert_eq!(
        (read(&file), dirty(&world, &pool).await),
        ("committed".into(), 0)
    );
    std::fs::write(&file, "after").unwrap();
    let size = pool.kept().await.unwrap()[0].bytes;
    assert!(size > 0 && size < 100_000, "{size}");

    for _ in 0..2 {
        pool.undo(&world.dot, number).await.unwrap();
        pool.settle(&world.dot).await.unwrap();
        assert_eq!(read(&file), "not committed");
        assert!(dirty(&world, &pool).await > 0);
        pool.redo(&world.dot, number).await.unwrap();
        pool.settle(&world.dot).await.unwrap();
        assert_eq!(read(&file), "after");
    }
    // It cannot be redone twice.
    pool.redo(&world.dot, number).await.unwrap_err();
    assert_eq!(read(&file), "after");
}

#[tokio::test]
async fn a_head_that_comes_back_is_clean() {
    let world = World::new();
    let (pool, file, first) = prepare(&world).await;
    let second = record(2, first);
    let step = NewStep::Head {
        branch: world.master.clone(),
        before: first,
        after: second.id,
    };
    let begun = pool.begin_operation(&world.dot, "a commit".to_owned(), vec![step]);
    let number = begun.await.unwrap();
    assert_eq!(world.commit(&pool, 2).await, second.id);
    // As if killed before the log marked it as done.
    let pool = world.open().await;
    pool.dots().await.unwrap();
    assert_eq!(states(&world, &pool).await, [State::Done]);

    pool.undo(&world.dot, number).await.unwrap();
    assert_eq!(world.head(&pool).await, first);
    assert!(dirty(&world, &pool).await > 0);
    let pool = world.open().await;
    pool.dots().await.unwrap();
    assert_eq!(states(&world, &pool).await, [State::Undone]);
    pool.redo(&world.dot, number).await.unwrap();
    pool.settle(&world.dot).await.unwrap();
    assert_eq!(world.head(&pool).await, second.id);
    assert_eq!(dirty(&world, &pool).await, 0, "the record is no change");
    assert_eq!(read(&file), "not committed");
}

#[tokio::test]
async fn what_was_begun_is_made_or_has_never_been() {
    let world = World::new();
    let (pool, file, first) = prepare(&world).await;
    let other: BranchName = "feature/other".parse().unwrap();
    let folder = world.path("pool/dots/admin/app/operations");
    // Killed after the description was written.
    let steps = replace(&world, first);
    let begun = pool.begin_operation(&world.dot, "a test".to_owned(), steps);
    let number = begun.await.unwrap();
    let pool = world.open().await;
    pool.dots().await.unwrap();
    assert_eq!(log(&world, &pool).await, []);
    assert!(!folder.join(number.to_string()).exists());
    assert_eq!(read(&file), "not committed");

    // Killed after the first of two steps.
    let create = NewStep::Create {
        branch: other.clone(),
        start: Start::WorkingCopy(world.master.clone()),
    };
    let mut steps = vec![create];
    steps.extend(replace(&world, first));
    let begun = pool.begin_operation(&world.dot, "a test".to_owned(), steps.clone());
    let number = begun.await.unwrap();
    let kept = folder
        .join(number.to_string())
        .join("branches/feature~2fother");
    let place = world.path("pool/dots/admin/app/branches/feature~2fother");
    std::fs::rename(&kept, &place).unwrap();
    let pool = world.open().await;
    let dots = pool.dots().await.unwrap();
    assert_eq!(dots.whole[0].branches.len(), 1);
    assert_eq!(log(&world, &pool).await, []);

    // Killed after all steps, and during the undo.
    let number = begin(&world, &pool, steps).await;
    let pool = world.open().await;
    assert_eq!(pool.dots().await.unwrap().whole[0].branches.len(), 2);
    assert_eq!(states(&world, &pool).await, [State::Done]);
    pool.undo(&world.dot, number).await.unwrap();
    std::fs::rename(kept_in(&folder, number), &place).unwrap();
    let pool = world.open().await;
    assert_eq!(pool.dots().await.unwrap().whole[0].branches.len(), 2);
    assert_eq!(
        states(&world, &pool).await,
        [State::Done],
        "as before the undo"
    );
    assert_eq!(read(&file), "committed");
}

fn kept_in(folder: &Path, number: u64) -> std::path::PathBuf {
    folder
        .join(number.to_string())
        .join("branches/feature~2fother")
}

#[tokio::test]
async fn a_later_operation_ends_redo() {
    let world = World::new();
    let (pool, _, first) = prepare(&world).await;
    for _ in 0..3 {
        begin(&world, &pool, replace(&world, first)).await;
        pool.settle(&world.dot).await.unwrap();
    }
    for number in [3, 2] {
        pool.undo(&world.dot, number).await.unwrap();
        pool.settle(&world.dot).await.unwrap();
    }
    let now = log(&world, &pool).await;
    assert_eq!(to_undo(&now).map(|one| one.number), Some(1));
    assert_eq!(to_redo(&now).map(|one| one.number), Some(2));
    let number = begin(&world, &pool, replace(&world, first)).await;
    assert_eq!(number, 4, "no number is used twice");
    pool.settle(&world.dot).await.unwrap();
    let now = log(&world, &pool).await;
    let numbers: Vec<u64> = now.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 4]);
}

#[tokio::test]
async fn a_dot_is_set_aside_and_comes_back() {
    let world = World::new();
    let (pool, file, first) = prepare(&world).await;
    let with = DeletedWith {
        volumes: vec!["app.db".to_owned()],
        made_by: None,
    };
    let steps = vec![NewStep::DeleteDot(with.clone())];
    let begun = pool.begin_operation(&world.dot, "its deletion".to_owned(), steps);
    let number = begun.await.unwrap();
    pool.set_dot_aside(&world.dot, number).await.unwrap();
    let pool = world.open().await;
    assert_eq!(pool.dots().await.unwrap().whole.len(), 0);
    let deleted = pool.deleted_dots(&world.dot).await.unwrap();
    assert_eq!(deleted[0].deletion().unwrap().deleted(), Some(&with));
    // All data counts once: the committed file and its uncommitted version.
    let kept = pool.kept().await.unwrap();
    assert!(kept[0].bytes > 0 && kept[0].bytes < 100_000, "{kept:?}");

    // It cannot be restored while another dot has its name.
    world.create_dot(&pool).await;
    pool.bring_dot_back(&world.dot, &deleted[0])
        .await
        .unwrap_err();
    pool.delete_dot(&world.dot).await.unwrap();
    let back = pool.bring_dot_back(&world.dot, &deleted[0]).await.unwrap();
    assert_eq!(back.unwrap().branches, [(world.master.clone(), first)]);
    assert_eq!(read(&file), "not committed");
    assert_eq!(states(&world, &pool).await, [State::Undone]);
}
