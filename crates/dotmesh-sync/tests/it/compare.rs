//! A comparison of two folders by their times finds the same as one that reads everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dotmesh_sync::{EntryType, Look, PathChange, What, compare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::incremental::World;
use crate::trees::{actions_on_btrfs, describe, run};

/// The differences that a person would name. It leaves out times, holes, extended attributes, and which name of a
/// file is first.
fn told(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let lines = describe(root).into_iter();
    // The comparison does not go deeper.
    let is_compared =
        |path: &Vec<u8>| !path.is_empty() && path.split(|byte| *byte == b'/').count() <= 257;
    let lines = lines.filter(|(path, _)| is_compared(path));
    lines.map(|(path, line)| (path, plain(&line))).collect()
}

fn plain(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let mode = words.iter().position(|word| {
        word.contains(':') && word.bytes().all(|b| b.is_ascii_digit() || b == b':')
    });
    let owner = mode.expect("an owner");
    words.truncate(owner + 1);
    let attributes = words.split_off(owner - 1).join(" ");
    let content = words.join(" ");
    // The format is `N bytes CHECKSUM HOLES as NAME`.
    let content = match content.split_once(" bytes ") {
        Some((length, rest)) => format!("{length} {}", rest.split(' ').next().unwrap_or_default()),
        None => content,
    };
    format!("{content} {attributes}")
}

#[test]
fn what_differs_is_found_and_nothing_else() {
    let world = World::with_nodesize(16384);
    let steps = (actions_on_btrfs(60), actions_on_btrfs(20));
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let checked = runner.run(&steps, |(first, then)| {
        let mut line = world.line();
        run(&line.live(), &first);
        line.commit();
        run(&line.live(), &then);
        let committed = line.committed();
        let (old, new) = (told(&committed), told(&line.live()));
        let paths: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
        let expected: BTreeSet<Vec<u8>> = paths
            .into_iter()
            .filter(|path| old.get(*path) != new.get(*path))
            .cloned()
            .collect();
        let changes = compare(&committed, &line.live(), Look::AtBytes).expect("a comparison");
        let mut found = BTreeSet::new();
        for PathChange { path, what, .. } in &changes {
            found.insert(path.clone());
            match what {
                What::Added => prop_assert!(!old.contains_key(path) || new.contains_key(path)),
                What::Removed => prop_assert!(old.contains_key(path)),
                What::Modified => prop_assert!(old.contains_key(path) && new.contains_key(path)),
                What::Moved { from } => {
                    prop_assert!(old.contains_key(from) && new.contains_key(path));
                    found.insert(from.clone());
                }
            }
        }
        // A directory that is not empty is not listed: its files are.
        let is_directory = |path: &Vec<u8>| {
            [&old, &new].iter().any(|side| {
                side.get(path)
                    .is_some_and(|line| line.starts_with("directory"))
            })
        };
        let missed: Vec<_> = expected
            .difference(&found)
            .filter(|path| !is_directory(path))
            .collect();
        prop_assert!(missed.is_empty(), "missed {missed:?}");
        let invented: Vec<_> = found
            .difference(&expected)
            .filter(|path| old.contains_key(*path) == new.contains_key(*path))
            .collect();
        prop_assert!(invented.is_empty(), "invented {invented:?}");
        // The comparison by times alone finds the same changes or more.
        let quick = compare(&committed, &line.live(), Look::AtTimes).expect("a comparison");
        let quick: BTreeSet<_> = quick.into_iter().map(|change| change.path).collect();
        prop_assert!(changes.iter().all(|change| quick.contains(&change.path)));
        Ok(())
    });
    checked.expect("right");
}

#[test]
fn a_change_says_what_it_is() {
    let world = World::with_nodesize(16384);
    let mut line = world.line();
    let at = |path: &str| line.live().join(path);
    fs::create_dir_all(at("db/pages")).unwrap();
    fs::create_dir(at("uploads")).unwrap();
    for (path, bytes) in [
        ("db/pages/1", 8192),
        ("db/pages/2", 8192),
        ("db/log", 100),
        ("uploads/a.png", 500),
        ("uploads/b.png", 7),
    ] {
        fs::write(at(path), vec![1; bytes]).unwrap();
    }
    line.commit();
    let at = |path: &str| line.live().join(path);
    fs::write(at("db/pages/1"), vec![2; 8192]).unwrap();
    // The file is written again with the same bytes.
    fs::write(at("db/pages/2"), vec![1; 8192]).unwrap();
    fs::remove_file(at("db/log")).unwrap();
    fs::rename(at("uploads/a.png"), at("uploads/c.png")).unwrap();
    fs::create_dir(at("uploads/empty")).unwrap();
    fs::remove_file(at("uploads/b.png")).unwrap();
    std::os::unix::fs::symlink("c.png", at("uploads/b.png")).unwrap();

    let changes = compare(&line.committed(), &line.live(), Look::AtBytes).unwrap();
    let shown: Vec<String> = changes
        .iter()
        .map(|change| {
            let path = String::from_utf8_lossy(&change.path);
            let what = match &change.what {
                What::Added => "+".to_owned(),
                What::Removed => "-".to_owned(),
                What::Modified => "m".to_owned(),
                What::Moved { from } => format!("{} ->", String::from_utf8_lossy(from)),
            };
            let kind = match change.kind {
                EntryType::Directory => "/",
                EntryType::Symlink => "@",
                EntryType::File | EntryType::Other => "",
            };
            format!("{what} {path}{kind} {} {}", change.before, change.after)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "- db/log 100 0",
            "m db/pages/1 8192 8192",
            "- uploads/b.png 7 0",
            "+ uploads/b.png@ 0 0",
            "uploads/a.png -> uploads/c.png 500 500",
            "+ uploads/empty/ 0 0",
        ]
    );
}
