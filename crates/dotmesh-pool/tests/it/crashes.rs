//! The state of the pool after a crash during a step, or right after one.

use std::time::Duration;

use dotmesh_model::branches::Origin;
use dotmesh_model::volume::Folder;
use dotmesh_model::{BranchName, CommitId, StashId};
use dotmesh_pool::{DotFile, NewStep, Pool, Start, StashFile, StoredDot, StoredStash};

use crate::world::{World, read, record};

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
    let dots = again.dots().await.unwrap().whole;
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
async fn branches_are_in_folders_by_their_spelling() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let folders = world.path("pool/dots/admin/app/branches");
    let longest = format!("{}/{}", "a".repeat(99), "ä".repeat(20));
    let mut names = vec![world.master.clone()];
    for (name, folder) in [
        ("feature/login", "feature~2flogin".to_owned()),
        ("feature", "feature".to_owned()),
        ("v1.2", "v1~2e2".to_owned()),
        (
            &longest,
            format!("{}~2f{}", "a".repeat(99), "~c3~a4".repeat(20)),
        ),
    ] {
        let name: BranchName = name.parse().unwrap();
        pool.create_branch(&world.dot, &name, Start::Commit(CommitId::ROOT))
            .await
            .unwrap();
        assert!(folders.join(folder).join("data").is_dir());
        names.push(name);
    }
    // The pool never creates such names, so it ignores these folders.
    for name in ["v1.2", "~61", "x~2F", "feature~2f"] {
        std::fs::create_dir(folders.join(name)).unwrap();
    }

    let dots = world.open().await.dots().await.unwrap();
    let found: std::collections::BTreeSet<_> = dots.whole[0]
        .branches
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(found, names.into_iter().collect());
}

#[tokio::test]
async fn a_record_without_its_snapshot_leaves_the_head_where_it_was() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    assert_eq!(world.head(&pool).await, CommitId::ROOT);
    let first = world.commit(&pool, 1).await;
    // As if killed between writing the record and taking the snapshot.
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
async fn what_was_received_is_there_at_the_next_start() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let (root, commit) = (CommitId::ROOT, record(7, CommitId::ROOT).id);
    let import = pool.begin_import(&world.dot, root, commit).await.unwrap();
    assert!(!import.is_resumed());
    std::fs::write(import.data().join("half"), "half").unwrap();
    // A second import of the same commit uses another folder.
    let other = pool.begin_import(&world.dot, root, commit).await.unwrap();
    assert!(!other.is_resumed() && !other.data().join("half").exists());
    // A killed daemon runs no destructors.
    std::mem::forget((import, other));
    let draft = "draft".parse().unwrap();
    pool.begin_dot(&draft).await.unwrap();

    let again = world.open().await;
    let dots = again.dots().await.unwrap().whole;
    let names: Vec<_> = dots.into_iter().map(|dot| dot.name).collect();
    assert_eq!(names, std::slice::from_ref(&world.dot));
    let import = again.begin_import(&world.dot, root, commit).await.unwrap();
    assert!(import.is_resumed());
    assert_eq!(read(&import.data().join("half")), "half");
    // A running import is not deleted.
    again.forget_incoming(Duration::ZERO).await.unwrap();
    assert!(import.data().join("half").exists());
    drop(import);
    again
        .forget_incoming(Duration::from_secs(3600))
        .await
        .unwrap();
    let import = again.begin_import(&world.dot, root, commit).await.unwrap();
    assert!(import.is_resumed());
    again.discard_import(import).await.unwrap();
    let import = again.begin_import(&world.dot, root, commit).await.unwrap();
    assert!(!import.is_resumed());
    drop(import);
    again.forget_incoming(Duration::ZERO).await.unwrap();
    let import = again.begin_import(&world.dot, root, commit).await.unwrap();
    assert!(!import.is_resumed());

    // A dot can be created in place of an interrupted clone.
    let file = DotFile {
        id: "e".repeat(32),
        current: world.master.clone(),
        origins: std::collections::BTreeMap::new(),
    };
    again.create_dot(&draft, &file).await.unwrap();
}

#[tokio::test]
async fn an_import_that_is_finished_is_a_commit() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let record = record(7, CommitId::ROOT);
    let import = pool
        .begin_import(&world.dot, CommitId::ROOT, record.id)
        .await
        .unwrap();
    let folder = import.data().parent().unwrap().to_owned();
    std::fs::write(import.data().join("file"), "received").unwrap();
    pool.finish_import(&world.dot, import, record.id, record.encode())
        .await
        .unwrap();
    assert!(!folder.exists());
    assert_eq!(
        read(&pool.commit_data(&world.dot, record.id).join("file")),
        "received"
    );
    assert_eq!(
        world.head(&pool).await,
        CommitId::ROOT,
        "no branch has moved"
    );
    // The folder of the import is deleted a moment later.
    let staging = world.path("pool/staging");
    while std::fs::read_dir(&staging).unwrap().next().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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

#[tokio::test]
async fn a_damaged_dot_is_left_out_and_keeps_no_other() {
    let world = World::new();
    let pool = world.open().await;
    let file = DotFile {
        id: "e".repeat(32),
        current: world.master.clone(),
        origins: std::collections::BTreeMap::new(),
    };
    world.create_dot(&pool).await;
    for name in ["description", "record"] {
        pool.create_dot(&name.parse().unwrap(), &file)
            .await
            .unwrap();
    }
    let dots = world.path("pool/dots");
    std::fs::write(dots.join("admin/description/dot.json"), "{").unwrap();
    let record = dots.join("admin/record/branches/master/commit.json");
    std::fs::write(&record, "no record").unwrap();
    std::fs::write(dots.join("stray"), "a file in place of a namespace").unwrap();

    let found = world.open().await.dots().await.unwrap();
    assert_eq!(found.whole.len(), 1);
    assert_eq!(found.whole[0].name, world.dot);
    let names: Vec<_> = found.damaged.iter().map(|dot| dot.name.name()).collect();
    assert_eq!(names, ["description", "record"]);
    let problem = &found.damaged[0].problem;
    assert!(problem.contains("is damaged: "), "{problem}");
    // A new dot does not replace it.
    let error = pool
        .create_dot(&"description".parse().unwrap(), &file)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it exists"), "{error}");
}

#[tokio::test]
async fn a_link_is_no_subdot() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    world.subdot(&pool).await;
    let data = pool.volume_path(&world.dot, &world.master, &Folder::Root);
    std::os::unix::fs::symlink("/etc", data.join("link")).unwrap();
    let subdots = pool.subdots(&world.dot, &world.master).await.unwrap();
    assert_eq!(subdots.len(), 1, "{subdots:?}");
}

#[tokio::test]
async fn a_branch_has_one_name_or_the_other() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let first = world.commit(&pool, 1).await;
    let [work, fix, kept] = ["feature/work", "fix", "kept"].map(|name| name.parse().unwrap());
    let from = |branch: &BranchName| Origin {
        branch: branch.clone(),
        commit: first,
    };
    let file = DotFile {
        id: "d".repeat(32),
        current: work,
        origins: std::collections::BTreeMap::new(),
    };
    let work = &file.current;
    for (branch, origin) in [(work, &world.master), (&fix, work)] {
        let start = Start::Commit(first);
        pool.create_branch(&world.dot, branch, start).await.unwrap();
        let mut file = file.clone();
        file.origins.insert(branch.clone(), from(origin));
    }
    let mut file = file.clone();
    file.origins = [
        (work.clone(), from(&world.master)),
        (fix.clone(), from(work)),
    ]
    .into();
    pool.write_dot(&world.dot, &file).await.unwrap();

    let renamed = DotFile {
        current: kept.clone(),
        origins: [
            (kept.clone(), from(&world.master)),
            (fix.clone(), from(&kept)),
        ]
        .into(),
        ..file.clone()
    };
    let rename = async |to: &BranchName, after: &DotFile| {
        let (from, to) = (work.clone(), to.clone());
        let rename = NewStep::RenameBranch { from, to };
        let steps = vec![rename, NewStep::Describe(after.clone())];
        let what = "rename".to_owned();
        let number = pool.begin_operation(&world.dot, what, steps).await?;
        let made = pool.carry_out(&world.dot, number).await;
        pool.settle(&world.dot).await?;
        made
    };
    rename(&kept, &renamed).await.unwrap();
    let read = async || world.open().await.dots().await.unwrap().whole.remove(0);
    let names = |dot: &StoredDot| {
        dot.branches
            .iter()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>()
    };
    let dot = read().await;
    assert_eq!(dot.file, renamed);
    assert_eq!(names(&dot), ["fix", "kept", "master"]);

    // As if killed after the folder was renamed, and as if killed before that.
    let folder = world.path("pool/dots/admin/app");
    let intent = r#"{"from": "feature/work", "to": "kept"}"#;
    for (name, description) in [("kept", &renamed), ("feature~2fwork", &file)] {
        pool.write_dot(&world.dot, &file).await.unwrap();
        let _ = std::fs::rename(
            folder.join("branches/kept"),
            folder.join("branches").join(name),
        );
        std::fs::write(folder.join("renaming.json"), intent).unwrap();
        for _ in 0..2 {
            assert_eq!(read().await.file, *description);
            assert!(!folder.join("renaming.json").exists());
        }
    }

    // If the name is taken, nothing changes.
    assert!(rename(&fix, &renamed).await.is_err());
    let dot = read().await;
    assert_eq!(dot.file, file);
    assert_eq!(names(&dot), ["feature/work", "fix", "master"]);
}

#[tokio::test]
async fn a_stash_is_there_once_its_note_is_written() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let file = world.subdot(&pool).await.join("file");
    std::fs::write(&file, "committed").unwrap();
    let head = world.commit(&pool, 1).await;
    std::fs::write(&file, "changed").unwrap();
    let stash = |id: u8, second| StoredStash {
        id: StashId::from_bytes([id; 16]),
        head,
        file: StashFile {
            branch: world.master.clone(),
            time: jiff::Timestamp::from_second(second).unwrap(),
            message: String::new(),
        },
    };
    let one = stash(1, 1);
    pool.stash(&world.dot, &world.master, &one).await.unwrap();
    assert_eq!(read(&file), "changed");
    let of_stash = |pool: &Pool, id| pool.stash_data(&world.dot, id).join("__default__/file");
    assert_eq!(read(&of_stash(&pool, one.id)), "changed");
    pool.drop_stash(&world.dot, one.id).await.unwrap();
    assert_eq!(pool.stashes(&world.dot).await.unwrap(), []);
    let two = stash(2, 2);
    pool.stash(&world.dot, &world.master, &two).await.unwrap();
    std::fs::write(&file, "changed again").unwrap();
    let three = stash(3, 3);
    pool.stash(&world.dot, &world.master, &three).await.unwrap();
    assert_eq!(read(&of_stash(&pool, two.id)), "changed");

    // As if killed before `stash.json` was written.
    let folder = world.path("pool/dots/admin/app");
    let half = folder.join("stashes").join("4".repeat(32));
    std::fs::create_dir(&half).unwrap();
    let pool = world.open().await;
    pool.tidy_stashes(&world.dot).await.unwrap();
    assert!(!half.exists());
    assert_eq!(
        pool.stashes(&world.dot).await.unwrap(),
        [three.clone(), two.clone()]
    );

    let other: BranchName = "other".parse().unwrap();
    pool.create_branch(&world.dot, &other, Start::Stash(three.id))
        .await
        .unwrap();
    assert_eq!(pool.head(&world.dot, &other).await.unwrap(), head);
    assert!(!folder.join("branches/other/stash.json").exists());
    pool.drop_stash(&world.dot, three.id).await.unwrap();
    assert_eq!(pool.stashes(&world.dot).await.unwrap(), [two]);
    // Deleting a dot deletes its stashes.
    pool.delete_dot(&world.dot).await.unwrap();
    pool.empty_trash(Duration::ZERO).await.unwrap();
    let trash = world.path("pool/trash");
    assert_eq!(std::fs::read_dir(trash).unwrap().count(), 0);
}

#[tokio::test]
async fn an_amended_commit_is_there_or_the_one_before() {
    let world = World::new();
    let pool = world.open().await;
    world.create_dot(&pool).await;
    let first = world.commit(&pool, 1).await;
    let second = world.commit(&pool, 2).await;
    let amended = record(3, first);
    let folder = world.path("pool/dots/admin/app");
    let working = folder.join("branches/master/commit.json");

    // As if killed between the record and the snapshot.
    let intent = format!(r#"{{"id": "{}", "was": "{second}"}}"#, amended.id);
    std::fs::write(folder.join("amending.json"), intent).unwrap();
    std::fs::write(&working, amended.encode()).unwrap();
    assert_eq!(world.head(&world.open().await).await, second);

    let pool = world.open().await;
    pool.amend(
        &world.dot,
        &world.master,
        second,
        amended.id,
        amended.encode(),
    )
    .await
    .unwrap();
    assert!(!folder.join("amending.json").exists());
    assert_eq!(world.head(&pool).await, amended.id);
    pool.take_amend_back(&world.dot, &world.master, second, amended.id)
        .await
        .unwrap();
    assert_eq!(world.head(&world.open().await).await, second);
    let commits = pool.commits(&world.dot).await.unwrap();
    assert_eq!(commits, [first, second]);
}
