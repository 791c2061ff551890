//! Browsing commits: the hub's view of a tree must equal a naive walk of the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dotmesh_api::HubClient;
use dotmesh_api::hub::Access;
use dotmesh_browse::content::FileBytes;
use dotmesh_browse::diff::{DiffLimits, Tally, TreeChangeKind, TreeDiff};
use dotmesh_browse::facts::StoreKind;
use dotmesh_browse::{ReadError, TreeError, TreePath};
use dotmesh_hub_model::access::Visibility;
use dotmesh_hub_service::HubError;
use dotmesh_hub_service::auth::OpenDot;
use dotmesh_hub_service::operations::commit_facts::commit_facts;
use dotmesh_hub_service::operations::objects_of_dot::{self, DotReader};
use dotmesh_hub_service::rate_limit::Subject;
use dotmesh_model::{DotName, ObjectHash};
use dotmesh_store::file_page::FileSpine;
use dotmesh_store::grow::Grower;
use dotmesh_store::tree::TreeSpine;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, FilePage, Inode, InodeKind, Kind,
    Object, Root, Segment, TreeChild, TreePage,
};
use dotmesh_sync::{MemoryObjects, seal_directory};
use futures::TryStreamExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Files, Made, TestHub, commit, dot, push, root_commit};
use crate::trees::{actions, describe, run};

const ALL: DiffLimits = DiffLimits {
    changes: 1_000_000,
    pages: 1_000_000,
};

/// The objects of a folder, with the root last.
pub(crate) async fn seal(folder: &Path) -> Files {
    let mut objects = MemoryObjects::default();
    let sealed = seal_directory(folder, None, None, &mut objects, &Arc::default())
        .await
        .unwrap();
    let mut objects: Vec<Object> = objects.iter().cloned().collect();
    objects.sort_by_key(|object| object.hash() == sealed.root);
    Files { objects }
}

pub(crate) async fn open(hub: &TestHub, dot: &DotName) -> OpenDot {
    let facts = hub.hub.database.dot_facts(dot, None, None).await.unwrap();
    OpenDot {
        name: dot.clone(),
        owner: facts.owner.unwrap(),
        id: facts.dot,
        identity: facts.identity,
        access: Access::Owner,
        visibility: Visibility::Private,
        subject: Subject::Hub,
    }
}

async fn reader(hub: &TestHub, dot: &DotName) -> DotReader {
    let open = open(hub, dot).await;
    objects_of_dot::reader(&hub.hub, open.share(&hub.hub), open.owner, open.id.unwrap())
}

/// Pushes these objects, and returns a reader of the tree.
async fn pushed(hub: &TestHub, client: &HubClient, name: &str, files: &Files) -> (DotReader, Made) {
    let app = dot(name);
    let made = commit(&root_commit(), files);
    push(client, &app, None, &made, files).await.unwrap();
    (reader(hub, &app).await, made)
}

async fn read(reader: &DotReader, file: FileBytes, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut parts = std::pin::pin!(reader.content(file, range));
    let mut read = Vec::new();
    while let Some(part) = parts.try_next().await.unwrap() {
        assert!(!part.is_empty() && part.len() <= 64 << 10);
        read.extend_from_slice(&part);
    }
    read
}

async fn archive(reader: &DotReader, root: ObjectHash, path: &TreePath, to: &Path) {
    let top = EntryName::new(b"top").unwrap();
    let parts = reader.archive(root, path.clone(), top);
    let parts: Vec<bytes::Bytes> = parts.try_collect().await.unwrap();
    let tar = to.with_extension("tar");
    std::fs::write(&tar, parts.concat()).unwrap();
    std::fs::create_dir(to).unwrap();
    let status = Command::new("tar")
        .args([
            "-x",
            "-p",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-f",
        ])
        .arg(&tar)
        .arg("-C")
        .arg(to)
        .status();
    assert!(status.unwrap().success());
}

/// The content and the attributes at a path, as far as a tree stores them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    content: String,
    attributes: String,
    /// The first of the file's names.
    first: Vec<u8>,
}

fn look(folder: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let lines = describe(folder).into_iter();
    lines
        .map(|(path, line)| {
            let (content, first, attributes) = match line.split_once(" as [") {
                Some((content, rest)) => {
                    let (first, attributes) = rest.split_once("] ").unwrap();
                    let first = first.split(", ").map(|byte| byte.parse().unwrap());
                    (content.to_owned(), first.collect(), attributes.to_owned())
                }
                None => {
                    let symlink = line.rfind("\" ").map(|at| at + 1);
                    let end = symlink.or_else(|| line.find(' ')).unwrap();
                    let (content, attributes) = line.split_at(end);
                    (content.to_owned(), path.clone(), attributes.to_owned())
                }
            };
            let seen = Seen {
                content,
                attributes,
                first,
            };
            (path, seen)
        })
        .collect()
}

/// The same without the positions of holes, which no archive stores.
fn without_holes(seen: BTreeMap<Vec<u8>, Seen>) -> BTreeMap<Vec<u8>, Seen> {
    let blur = |(path, mut seen): (Vec<u8>, Seen)| {
        if let Some(at) = seen.content.find(" [") {
            seen.content.truncate(at);
        }
        (path, seen)
    };
    seen.into_iter().map(blur).collect()
}

fn path(bytes: &[u8]) -> TreePath {
    if bytes.is_empty() {
        TreePath::default()
    } else {
        TreePath::from_bytes(bytes).unwrap()
    }
}

fn on_disk(folder: &Path, bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    folder.join(std::ffi::OsStr::from_bytes(bytes))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// A hub for many test cases, each with its own dot.
struct Bench {
    runtime: tokio::runtime::Runtime,
    hub: TestHub,
    alice: HubClient,
    next: std::cell::Cell<u32>,
}

impl Bench {
    fn new() -> Self {
        let runtime = runtime();
        let (hub, alice) = runtime.block_on(async {
            let hub = TestHub::start().await;
            let alice = hub.user("alice").await;
            (hub, alice)
        });
        Self {
            runtime,
            hub,
            alice,
            next: std::cell::Cell::new(0),
        }
    }

    fn name(&self) -> String {
        self.next.set(self.next.get() + 1);
        format!("alice/app{}", self.next.get())
    }
}

fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn a_commit_looks_like_its_folder() {
    let bench = Bench::new();
    let ranges = prop::collection::vec(any::<(u32, u32)>(), 3);
    check(24, (actions(30), ranges), |(actions, ranges)| {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        run(&folder, &actions);
        bench.runtime.block_on(async {
            let files = seal(&folder).await;
            let root = files.root();
            let (reader, _) = pushed(&bench.hub, &bench.alice, &bench.name(), &files).await;
            for bytes in look(&folder).keys() {
                let on_disk = on_disk(&folder, bytes);
                let found = reader.entry_at(root, &path(bytes)).await.unwrap();
                match &found.inode.kind {
                    InodeKind::Directory { tree } => {
                        let names = std::fs::read_dir(&on_disk).unwrap();
                        let names = names.map(|entry| entry.unwrap().file_name());
                        let names: BTreeSet<Vec<u8>> = names
                            .map(std::os::unix::ffi::OsStringExt::into_vec)
                            .collect();
                        let mut listed = Vec::new();
                        loop {
                            let skip = listed.len() as u64;
                            let page = reader.list(root, *tree, skip, 3).await.unwrap();
                            if skip == 0 {
                                assert_eq!(page.total, names.len() as u64);
                            }
                            if page.entries.is_empty() {
                                break;
                            }
                            let entries = page.entries.into_iter();
                            listed.extend(entries.map(|entry| {
                                assert!(entry.inode.is_some());
                                entry.name.as_bytes().to_vec()
                            }));
                        }
                        assert!(listed.iter().eq(&names));
                    }
                    InodeKind::File { size, .. } => {
                        let bytes = std::fs::read(&on_disk).unwrap();
                        let file = FileBytes::of(&found.inode).unwrap();
                        assert_eq!(*size, bytes.len() as u64);
                        assert!(read(&reader, file, 0..u64::MAX).await == bytes);
                        for (start, length) in &ranges {
                            let start = u64::from(*start) % (size + 1);
                            let end = (start + u64::from(*length) % 200_000).min(*size);
                            let range = read(&reader, file, start..end).await;
                            assert!(range == bytes[start as usize..end as usize]);
                        }
                    }
                    InodeKind::Symlink { target } => {
                        let wanted = std::fs::read_link(&on_disk).unwrap();
                        assert_eq!(&**target, wanted.as_os_str().as_encoded_bytes());
                    }
                    InodeKind::Fifo => {}
                }
            }
            let unpacked = place.path().join("unpacked");
            archive(&reader, root, &TreePath::default(), &unpacked).await;
            let (wanted, got) = (look(&folder), look(&unpacked.join("top")));
            assert_eq!(without_holes(got), without_holes(wanted));
            if on_disk(&folder, b"a").is_dir() {
                let unpacked = place.path().join("some");
                archive(&reader, root, &path(b"a"), &unpacked).await;
                // A file with hard links outside this folder has another first name here, as in a walk of only this
                // folder.
                let (wanted, got) = (look(&on_disk(&folder, b"a")), look(&unpacked.join("top")));
                assert_eq!(without_holes(got), without_holes(wanted));
            }
        });
    });
}

/// The changes by name, from a comparison of all names.
fn naive(
    before: &BTreeMap<Vec<u8>, Seen>,
    after: &BTreeMap<Vec<u8>, Seen>,
) -> BTreeMap<TreePath, TreeChangeKind> {
    let names: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let mut changes = BTreeMap::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let kind = match (before.get(name), after.get(name)) {
            (None, _) => TreeChangeKind::Added,
            (_, None) => TreeChangeKind::Removed,
            (Some(old), Some(new)) => {
                let is_same_link = old.first != *name && old.first == new.first;
                let timeless = |seen: &Seen| {
                    let mut words: Vec<&str> = seen.attributes.split(' ').collect();
                    words.retain(|word| seen.content != "directory" || !word.contains('.'));
                    words.join(" ")
                };
                if is_same_link {
                    continue;
                } else if old.content != new.content {
                    TreeChangeKind::Changed
                } else if timeless(old) != timeless(new) {
                    TreeChangeKind::Attributes
                } else {
                    continue;
                }
            }
        };
        changes.insert(path(name), kind);
    }
    changes
}

/// Tallies by the first component of the path.
fn count(seen: &BTreeMap<Vec<u8>, Seen>) -> BTreeMap<TreePath, Tally> {
    let mut tallies: BTreeMap<TreePath, Tally> = BTreeMap::new();
    for (name, seen) in seen.iter().filter(|(name, _)| !name.is_empty()) {
        let first = path(name).names()[0].clone();
        let tally = tallies.entry(TreePath::from(first)).or_default();
        if let Some((size, _)) = seen.content.split_once(" bytes ")
            && seen.first == *name
            && !seen.content.starts_with("->")
        {
            *tally = tally.and(Tally {
                files: 1,
                bytes: size.parse().unwrap(),
            });
        }
    }
    tallies
}

#[test]
fn differences_and_counts_are_those_of_the_folders() {
    let bench = Bench::new();
    check(32, (actions(30), actions(12)), |(first, then)| {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        bench.runtime.block_on(async {
            let app = dot(&bench.name());
            run(&folder, &first);
            let (before, old) = (look(&folder), seal(&folder).await);
            run(&folder, &then);
            let (after, new) = (look(&folder), seal(&folder).await);
            let old_commit = commit(&root_commit(), &old);
            push(&bench.alice, &app, None, &old_commit, &old)
                .await
                .unwrap();
            let new_commit = commit(&old_commit, &new);
            push(&bench.alice, &app, Some(&old_commit), &new_commit, &new)
                .await
                .unwrap();
            let reader = reader(&bench.hub, &app).await;
            let kinds = |diff: TreeDiff| -> BTreeMap<TreePath, TreeChangeKind> {
                assert!(diff.complete && diff.unlisted == 0);
                assert!(diff.changes.is_sorted_by(|a, b| a.path < b.path));
                for change in diff.subdots.values() {
                    assert!(change.new_bytes <= change.after.bytes || change.after.files == 0);
                }
                let changes = diff.changes.into_iter();
                changes.map(|change| (change.path, change.kind)).collect()
            };
            let diff = reader
                .diff(Some(old.root()), new.root(), ALL)
                .await
                .unwrap();
            assert_eq!(kinds(diff.clone()), naive(&before, &after));
            let back = reader
                .diff(Some(new.root()), old.root(), ALL)
                .await
                .unwrap();
            assert_eq!(kinds(back), naive(&after, &before));
            let none = reader
                .diff(Some(new.root()), new.root(), ALL)
                .await
                .unwrap();
            assert!(none.changes.is_empty() && none.subdots.is_empty());

            let few = DiffLimits { changes: 1, ..ALL };
            let few = reader
                .diff(Some(old.root()), new.root(), few)
                .await
                .unwrap();
            assert_eq!(
                few.changes.len() as u64 + few.unlisted,
                diff.changes.len() as u64
            );
            assert_eq!(few.subdots, diff.subdots);

            // Count from the parent's tallies, from nothing, and from the stored facts.
            let dot = open(&bench.hub, &app).await;
            let others = count(&after);
            let alone = commit_facts(&bench.hub.hub, &dot, new_commit.id)
                .await
                .unwrap();
            for (seen, made) in [
                (&before, &old_commit),
                (&after, &new_commit),
                (&after, &new_commit),
            ] {
                let facts = commit_facts(&bench.hub.hub, &dot, made.id).await.unwrap();
                assert!(facts.complete);
                let wanted = count(seen);
                let there = facts.subdots.iter().filter(|subdot| !subdot.gone);
                let counted: BTreeMap<_, _> = there
                    .map(|subdot| (subdot.name.clone(), subdot.now))
                    .collect();
                assert_eq!(counted, wanted);
                let total = wanted.values().copied().fold(Tally::default(), Tally::and);
                assert_eq!(facts.total, total);
                if made.id == new_commit.id {
                    assert_eq!(facts, alone);
                }
            }
            let third = commit(&new_commit, &old);
            push(&bench.alice, &app, Some(&new_commit), &third, &old)
                .await
                .unwrap();
            let facts = commit_facts(&bench.hub.hub, &dot, third.id).await.unwrap();
            let there = facts.subdots.iter().filter(|subdot| !subdot.gone);
            let counted: BTreeMap<_, _> = there
                .map(|subdot| (subdot.name.clone(), subdot.now))
                .collect();
            assert_eq!(counted, count(&before));
            let gone = facts.subdots.iter().filter(|subdot| subdot.gone);
            for subdot in gone {
                assert!(others.contains_key(&subdot.name));
            }
        });
    });
}

fn inode(kind: InodeKind) -> EntryValue {
    EntryValue::Inode(Inode {
        attributes: Attributes::default(),
        kind,
    })
}

pub(crate) fn entry(name: &[u8], value: EntryValue) -> Entry {
    Entry {
        name: EntryName::new(name).unwrap(),
        value,
    }
}

/// The tree pages of a directory, with the hash of the top page.
pub(crate) fn tree(entries: impl IntoIterator<Item = Entry>) -> (ObjectHash, Vec<Object>) {
    let mut grower = Grower::<TreeSpine>::default();
    let mut pages = Vec::new();
    for entry in entries {
        grower.push(entry);
        pages.extend(grower.take_complete());
    }
    let (top, rest) = grower.finish();
    pages.extend(rest);
    (top, pages)
}

pub(crate) fn rooted(top: ObjectHash, objects: Vec<Object>) -> Files {
    let root = Root {
        attributes: Attributes::default(),
        tree: top,
    };
    let root = Object::new(Kind::Root, root.encode());
    Files {
        objects: [objects, vec![root]].concat(),
    }
}

fn numbered(count: u64, without: u64, size: u64) -> Files {
    let names = (0..count).filter(|n| *n != without).map(|n| {
        let kind = InodeKind::File {
            size,
            content: FileContent::Hole,
        };
        entry(format!("{n:08}").as_bytes(), inode(kind))
    });
    let (top, pages) = tree(names);
    rooted(top, pages)
}

#[tokio::test]
async fn a_long_folder_is_read_only_where_it_must_be() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (old, new) = (numbered(50_000, 7, 5), numbered(50_000, 31_234, 5));
    let first = commit(&root_commit(), &old);
    push(&alice, &app, None, &first, &old).await.unwrap();
    let second = commit(&first, &new);
    push(&alice, &app, Some(&first), &second, &new)
        .await
        .unwrap();
    let reader = reader(&hub, &app).await;
    let root = reader.root(new.root()).await.unwrap();
    for skip in [
        0,
        1,
        255,
        256,
        31_233,
        31_234,
        49_990,
        49_999,
        50_000,
        u64::MAX,
    ] {
        let page = reader.list(new.root(), root.tree, skip, 10).await.unwrap();
        assert_eq!(page.total, 49_999);
        let names = page.entries.iter().map(|entry| entry.name.to_string());
        let wanted = (skip..49_999.max(skip)).take(10);
        let wanted = wanted.map(|n| format!("{:08}", n + u64::from(n >= 31_234)));
        assert!(names.eq(wanted), "{skip}");
    }
    let last = reader
        .entry_at(new.root(), &path(b"00049999"))
        .await
        .unwrap();
    assert!(FileBytes::of(&last.inode).is_some_and(|file| file.size == 5));
    let gone = reader.entry_at(new.root(), &path(b"00031234")).await;
    assert!(matches!(
        gone,
        Err(ReadError::Tree(TreeError::NoSuchPath { .. }))
    ));

    // Some hundred leaf pages. The pages above them shift when a leaf is added or removed.
    let limits = DiffLimits {
        changes: 10,
        pages: 160,
    };
    let diff = reader
        .diff(Some(old.root()), new.root(), limits)
        .await
        .unwrap();
    assert!(diff.complete);
    let changes: Vec<_> = diff
        .changes
        .iter()
        .map(|change| (change.path.to_string(), change.kind))
        .collect();
    let wanted = [
        ("00000007".to_owned(), TreeChangeKind::Added),
        ("00031234".to_owned(), TreeChangeKind::Removed),
    ];
    assert_eq!(changes, wanted);
    let all = reader.diff(None, new.root(), limits).await.unwrap();
    assert!(!all.complete);

    // Facts that take longer than a page may wait are available later.
    let dot = open(&hub, &app).await;
    let facts = commit_facts(&hub.hub, &dot, second.id).await.unwrap();
    assert!(!facts.complete);
    while !commit_facts(&hub.hub, &dot, second.id)
        .await
        .unwrap()
        .complete
    {
        tokio::task::yield_now().await;
    }
    let facts = commit_facts(&hub.hub, &dot, second.id).await.unwrap();
    assert_eq!(
        facts.total,
        Tally {
            files: 49_999,
            bytes: 5 * 49_999
        }
    );
}

#[tokio::test]
async fn long_and_hollow_files() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let chunks: Vec<Object> = (1..=9u8)
        .map(|n| Object::new(Kind::Chunk, vec![n; 100 * usize::from(n)]))
        .collect();
    let (mut grower, mut bytes) = (Grower::<FileSpine>::default(), Vec::new());
    let mut objects = chunks.clone();
    let mut state = 1u32;
    for _ in 0..60_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let chunk = &chunks[(state >> 16) as usize % 9];
        bytes.extend_from_slice(&chunk.bytes()[..]);
        grower.push(Segment::Data {
            hash: chunk.hash(),
            length: chunk.bytes().len() as u32,
        });
        objects.extend(grower.take_complete());
    }
    const HOLE: u64 = 1 << 50;
    grower.push(Segment::Hole { length: HOLE });
    grower.push(Segment::Data {
        hash: chunks[0].hash(),
        length: 100,
    });
    let (top, rest) = grower.finish();
    objects.extend(rest);
    let size = bytes.len() as u64 + HOLE + 100;
    let file = FileBytes {
        size,
        content: FileContent::Page(top),
    };
    let value = inode(InodeKind::File {
        size,
        content: file.content,
    });
    let (top, pages) = tree([entry(b"file", value)]);
    objects.extend(pages);
    let files = rooted(top, objects);
    let (reader, made) = pushed(&hub, &alice, "alice/app", &files).await;
    let end = bytes.len() as u64;
    assert!(read(&reader, file, 0..end).await == bytes);
    for start in (0..end).step_by(7_777_777) {
        let range = start..(start + 100_000).min(end);
        let wanted = &bytes[range.start as usize..range.end as usize];
        assert!(read(&reader, file, range).await == wanted);
    }
    let around = read(&reader, file, end - 1..end + 200_000).await;
    assert_eq!(around.iter().filter(|byte| **byte != 0).count(), 1);
    assert_eq!(
        read(&reader, file, size - 101..u64::MAX).await,
        [&[0][..], &[1; 100]].concat()
    );
    assert_eq!(read(&reader, file, size..size).await, b"");
    assert_eq!(reader.beginning(file, 1000).await.unwrap(), bytes[..1000]);
    // A file has no growth compared with itself.
    assert_eq!(reader.growth(file, file).await.unwrap(), 0);
    let facts = commit_facts(&hub.hub, &open(&hub, &dot("alice/app")).await, made.id).await;
    assert_eq!(facts.unwrap().total.bytes, size);
}

#[tokio::test]
async fn trees_that_lie() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let chunk = Object::new(Kind::Chunk, vec![7; 1000]);
    let file = |size, content| inode(InodeKind::File { size, content });
    let leaf = Object::new(
        Kind::TreePage,
        TreePage::Leaf(vec![entry(b"a", file(1, FileContent::Hole))]).encode(),
    );
    let above = |level, last: &[u8], count, hash| {
        let child = TreeChild {
            last: EntryName::new(last).unwrap(),
            count,
            hash,
        };
        let page = TreePage::Inner {
            level,
            children: vec![child],
        };
        Object::new(Kind::TreePage, page.encode())
    };
    let list = Object::new(
        Kind::FilePage,
        FilePage::Leaf(vec![
            Segment::Data {
                hash: chunk.hash(),
                length: 1000,
            },
            Segment::Hole { length: 1 },
        ])
        .encode(),
    );
    let short = Object::new(
        Kind::FilePage,
        FilePage::Leaf(vec![
            Segment::Data {
                hash: chunk.hash(),
                length: 999,
            },
            Segment::Hole { length: 1 },
        ])
        .encode(),
    );
    let link = |first: &[u8]| EntryValue::HardLink {
        first: first.into(),
    };
    let one = |name: &[u8], value| {
        Object::new(
            Kind::TreePage,
            TreePage::Leaf(vec![entry(name, value)]).encode(),
        )
    };
    let lies = [
        // Wrong tree pages.
        (above(1, b"a", 2, leaf.hash()), vec![leaf.clone()]),
        (above(1, b"b", 1, leaf.hash()), vec![leaf.clone()]),
        (above(2, b"a", 1, leaf.hash()), vec![leaf.clone()]),
        // Wrong file pages.
        (
            one(b"a", file(1002, FileContent::Page(list.hash()))),
            vec![chunk.clone(), list.clone()],
        ),
        (
            one(b"a", file(1000, FileContent::Page(short.hash()))),
            vec![chunk.clone(), short.clone()],
        ),
        (
            one(b"a", file(999, FileContent::Chunk(chunk.hash()))),
            vec![chunk.clone()],
        ),
        // Wrong hard links: to the file itself, to nothing, and to a later name.
        (one(b"a", link(b"a")), vec![]),
        (one(b"a", link(b"b/c")), vec![]),
    ];
    for (n, (top, below)) in lies.into_iter().enumerate() {
        let files = rooted(top.hash(), [below, vec![top]].concat());
        let name = format!("alice/lie{n}");
        let (reader, made) = pushed(&hub, &alice, &name, &files).await;
        let archive = reader.archive(
            made.sealed.root,
            TreePath::default(),
            EntryName::new(b"top").unwrap(),
        );
        let cut: Result<Vec<bytes::Bytes>, ReadError<HubError>> = archive.try_collect().await;
        let error = cut.unwrap_err();
        assert!(
            matches!(
                error,
                ReadError::Tree(TreeError::Inconsistent { .. } | TreeError::NoSuchPath { .. })
            ),
            "{n}: {error}"
        );
        // Nothing else panics or hangs, whatever it returns.
        let root = reader.root(made.sealed.root).await.unwrap();
        let _ = reader.list(made.sealed.root, root.tree, 0, 10).await;
        let _ = reader.entry_at(made.sealed.root, &path(b"a")).await;
        let _ = reader.diff(None, made.sealed.root, ALL).await;
        let _ = commit_facts(&hub.hub, &open(&hub, &dot(&name)).await, made.id).await;
    }
}

#[tokio::test]
async fn no_dot_shows_what_is_anothers() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("secret"), "of the one").unwrap();
    let one = seal(place.path()).await;
    pushed(&hub, &alice, "alice/one", &one).await;
    std::fs::write(place.path().join("secret"), "of the other").unwrap();
    let two = seal(place.path()).await;
    let (reader, _) = pushed(&hub, &alice, "alice/two", &two).await;
    for answer in [
        reader
            .entry_at(one.root(), &path(b"secret"))
            .await
            .map(drop),
        reader
            .diff(Some(one.root()), two.root(), ALL)
            .await
            .map(drop),
    ] {
        assert!(matches!(
            answer,
            Err(ReadError::Tree(TreeError::Missing { .. }))
        ));
    }
    let file = FileBytes {
        size: 10,
        content: FileContent::Chunk(one.chunk().hash()),
    };
    assert!(reader.beginning(file, 10).await.is_err());
}

#[tokio::test]
async fn stores_are_known_by_their_files() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let place = tempfile::tempdir().unwrap();
    for path in [
        "pg/PG_VERSION",
        "pg-deep/pgdata/PG_VERSION",
        "redis/dump.rdb",
        "valkey/appendonlydir/x",
        "mysql/ibdata1",
        "mongo/WiredTiger",
        "uploads/pirate.png",
    ] {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    std::fs::create_dir(place.path().join("void")).unwrap();
    let files = seal(place.path()).await;
    let (_, made) = pushed(&hub, &alice, "alice/app", &files).await;
    let facts = commit_facts(&hub.hub, &open(&hub, &dot("alice/app")).await, made.id).await;
    let facts = facts.unwrap().subdots.into_iter();
    let kinds: Vec<_> = facts
        .map(|subdot| (subdot.name.to_string(), subdot.kind))
        .collect();
    let wanted = [
        ("mongo", StoreKind::MongoDb),
        ("mysql", StoreKind::MySql),
        ("pg", StoreKind::PostgreSql),
        ("pg-deep", StoreKind::PostgreSql),
        ("redis", StoreKind::Redis),
        ("uploads", StoreKind::Files),
        ("valkey", StoreKind::Redis),
        ("void", StoreKind::Files),
    ];
    assert_eq!(kinds, wanted.map(|(name, kind)| (name.to_owned(), kind)));
}
