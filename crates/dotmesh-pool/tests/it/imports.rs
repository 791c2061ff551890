//! Subdots from elsewhere: all of them are there or none, whatever step the daemon dies at.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, SubdotName};
use dotmesh_pool::{DotFile, NewSubdots, Pool};

use crate::world::{World, read, record};

const NAMES: [&str; 3] = ["db", "files", "queue"];

fn fill(new: &mut NewSubdots) {
    for name in NAMES {
        let folder: OwnedFd = new.add(&name.parse().expect("a name")).expect("a folder");
        let file = format!("/proc/self/fd/{}/file", folder.as_raw_fd());
        std::fs::write(file, name).expect("a file");
    }
}

fn description() -> DotFile {
    DotFile {
        id: "e".repeat(32),
        current: BranchName::master(),
        origins: std::collections::BTreeMap::new(),
    }
}

/// The names in a folder.
fn names(folder: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

async fn data(world: &World, pool: &Pool) -> PathBuf {
    pool.volume_path(&world.dot, &world.master, &Folder::Root)
}

#[tokio::test]
async fn a_new_dot_appears_with_its_first_commit_or_not_at_all() {
    let id = record(1, CommitId::ROOT).id;
    for limit in 0.. {
        let world = World::new();
        let pool = world.open().await;
        let mut new = pool.begin_new_dot(&world.master).await.unwrap();
        fill(&mut new);
        assert!(
            pool.dots().await.unwrap().whole.is_empty(),
            "nothing is visible before the end"
        );
        pool.die_after(limit);
        let bytes = record(1, CommitId::ROOT).encode();
        let done = pool
            .finish_new_dot(&world.dot, new, &description(), id, bytes)
            .await;
        drop(pool);
        let pool = world.open().await;
        let dots = pool.dots().await.unwrap().whole;
        match dots.as_slice() {
            [] => assert!(done.is_err(), "step {limit}"),
            [dot] => {
                assert_eq!(dot.branches, [(world.master.clone(), id)]);
                for name in NAMES {
                    assert_eq!(
                        read(&pool.commit_data(&world.dot, id).join(name).join("file")),
                        name
                    );
                    assert_eq!(
                        read(&data(&world, &pool).await.join(name).join("file")),
                        name
                    );
                }
            }
            _ => unreachable!(),
        }
        assert!(names(world.path("pool/staging")).is_empty());
        if done.is_ok() {
            assert!(limit > 2, "several steps were tried");
            break;
        }
    }
}

#[tokio::test]
async fn subdots_of_a_dot_appear_together_or_not_at_all() {
    for limit in 0.. {
        let world = World::new();
        let pool = world.open().await;
        world.create_dot(&pool).await;
        std::fs::write(world.subdot(&pool).await.join("file"), "old").unwrap();
        let mut new = pool.begin_subdots(&world.dot, &world.master).await.unwrap();
        fill(&mut new);
        let data = data(&world, &pool).await;
        assert_eq!(names(data.clone()), ["__default__"]);
        pool.die_after(limit);
        let done = pool.finish_subdots(&world.dot, &world.master, new).await;
        drop(pool);
        let pool = world.open().await;
        pool.forget_new_subdots(&world.dot, &world.master)
            .await
            .unwrap();
        let found = names(data.clone());
        match found.len() {
            1 => assert!(done.is_err(), "step {limit}"),
            _ => {
                assert_eq!(
                    found,
                    ["__default__", "db", "files", "queue"],
                    "step {limit}"
                );
                for name in NAMES {
                    assert_eq!(read(&data.join(name).join("file")), name);
                }
            }
        }
        assert_eq!(names(data.parent().unwrap().to_owned()), ["data"]);
        assert_eq!(read(&data.join("__default__/file")), "old");
        if done.is_ok() {
            assert!(limit > 3, "several steps were tried");
            break;
        }
    }
}

#[tokio::test]
async fn a_subdot_that_is_there_is_not_replaced() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let mut new = pool.begin_subdots(&world.dot, &world.master).await.unwrap();
    fill(&mut new);
    let folder = Folder::Subdot("files".parse::<SubdotName>().unwrap());
    pool.prepare_volume(&world.dot, &world.master, &folder)
        .await
        .unwrap();
    let refused = pool.finish_subdots(&world.dot, &world.master, new).await;
    assert!(refused.unwrap_err().to_string().contains("files"));
    let data = data(&world, &pool).await;
    assert_eq!(names(data.clone()), ["files"]);
    assert!(names(data.join("files")).is_empty());
    assert_eq!(
        names(data.parent().unwrap().to_owned()),
        ["data"],
        "nothing is left over"
    );
}
