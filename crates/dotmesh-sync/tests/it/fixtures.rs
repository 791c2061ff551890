//! Data that this and every earlier version stored and sent is in `testdata/`. It must still be read with its
//! original meaning.
//!
//! These files are never edited. Another version of a format gets another folder beside `v1`.

mod write;

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dotmesh_api::hub::{
    CommitList, CurrentUser, FinishUpload, GrantAccess, HubDot, HubVersion, Upload,
};
use dotmesh_api::hub_client;
use dotmesh_api::node::{Fetch, Transfer, TransferEvent};
use dotmesh_api::{Bundle, Problem};
use dotmesh_model::{CommitId, CommitRecord};
use dotmesh_pool::{DotFile, FormatFile};
use dotmesh_rows::model::DatabaseSummary;
use dotmesh_store::{
    FilePage, FrameDecoder, Group, Kind, Object, PackReader, PackStore, PackWriter, Root,
    StoredFrame, StoredPackReader, TreePage, references,
};
use dotmesh_sync::{Base, MemoryObjects, VerifiedCommit, verify_commits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::round_trip::{assert_same, make, runtime, seal_only};
use crate::trees::describe;

/// The number of items of a list that are shown individually.
const SHOWN: usize = 12;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/v1")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a fixture")
}

/// The paths of all files below a folder, sorted.
fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut below: Vec<_> = std::fs::read_dir(folder)
        .expect("list")
        .map(|entry| entry.expect("list").path())
        .collect();
    below.sort();
    for path in below {
        match path.is_dir() {
            true => files_below(&path, into),
            false => into.push(path),
        }
    }
}

#[test]
fn every_fixture_is_read_and_says_what_it_said() {
    let versions = std::fs::read_dir(folder().join("..")).expect("list");
    let mut versions: Vec<_> = versions
        .map(|entry| entry.expect("list").file_name())
        .collect();
    versions.sort();
    assert_eq!(versions, ["v1", "v2"], "read the other versions here, too");
    let mut files = Vec::new();
    files_below(&folder(), &mut files);
    let mut told = String::new();
    for file in files {
        let name = file.strip_prefix(folder()).expect("below").display();
        let bytes = std::fs::read(&file).expect("read");
        let what = tell(&name.to_string(), &bytes);
        writeln!(told, "{name}: {what}").expect("a string takes all");
    }
    insta::assert_snapshot!(told);
}

/// Version 2 has packs of another form. They hold the objects of the store of version 1.
#[test]
fn packs_of_version_2_have_the_objects_of_version_1() {
    let mut expected = BTreeSet::new();
    let mut files = Vec::new();
    files_below(&folder().join("store"), &mut files);
    for file in files {
        let pack = std::fs::read(file).expect("read");
        expected.extend(
            objects_of(&pack)
                .into_iter()
                .map(|(object, _)| object.hash()),
        );
    }
    let store = PackStore::local(&folder().join("../v2/store")).expect("a store");
    let mut found = BTreeSet::new();
    let mut told = String::new();
    let read = async {
        let mut packs = store.list().await.expect("list");
        packs.sort();
        for (id, _) in packs {
            writeln!(told, "{id}:").expect("a string takes all");
            let pack = store.get(id).await.expect("a pack");
            for frame in StoredPackReader::new(pack).expect("a pack") {
                let group = match frame.expect("a frame") {
                    StoredFrame::Single(frame) => {
                        let object = frame.object().expect("an object");
                        writeln!(told, "    {:?} {}", object.kind(), object.hash())
                            .expect("a string");
                        found.insert(object.hash());
                        continue;
                    }
                    StoredFrame::Group(group) => group,
                };
                let mut base = None;
                if let Some(at) = group.base() {
                    let stored = store.read(at.pack, &[at.range]).await.expect("the base");
                    let below = Group::parse(&stored[0]).expect("a group");
                    base = Some(below.decompress(None).expect("it has no base"));
                }
                let bytes = group.decompress(base.as_ref()).expect("a group");
                let objects = group.entries().len();
                writeln!(told, "    {objects} objects on {:?}", group.base()).expect("a string");
                for number in 0..objects {
                    let object = bytes.object(&group, number).expect("an object");
                    references(object.kind(), object.bytes()).expect("of the format");
                    found.insert(object.hash());
                }
            }
        }
    };
    runtime().block_on(read);
    assert_eq!(found, expected);
    insta::assert_snapshot!(told);
}

/// Reads a fixture, and describes its contents.
fn tell(name: &str, bytes: &[u8]) -> String {
    let (folder, file) = name.split_once('/').expect("fixtures are in folders");
    match (folder, file) {
        ("packs" | "store", _) => tell_pack(name, bytes),
        ("tree-nodes", _) => tell_tree_page(bytes),
        ("file-nodes", _) => tell_file_page(bytes),
        ("roots", _) => {
            let root = Root::decode(bytes).expect("a root");
            assert_eq!(root.encode(), bytes);
            format!("{root:?}")
        }
        ("records", _) | ("pool", "commit.json") => {
            let record = CommitRecord::decode(bytes).expect("a record");
            let again = CommitRecord::decode(&record.encode()).expect("a record");
            assert_eq!(again, record);
            format!("{record:?}")
        }
        ("hashes", _) => {
            let hashes = hub_client::split(bytes).expect("hashes");
            assert_eq!(hub_client::join(&hashes), bytes);
            format!("{hashes:?}")
        }
        ("bundles", "push") => tell_bundle::<FinishUpload>(name, bytes),
        ("bundles", "pull") => tell_bundle::<CommitList>(name, bytes),
        ("hub", "version.json") => tell_json::<HubVersion>(bytes),
        ("hub", "user.json") => tell_json::<CurrentUser>(bytes),
        ("hub", "dots.json") => tell_json::<Vec<HubDot>>(bytes),
        ("hub", "dot.json") => tell_json::<HubDot>(bytes),
        ("hub", "grant.json") => tell_json::<GrantAccess>(bytes),
        ("hub", "commits.json") => tell_json::<CommitList>(bytes),
        ("hub", "databases.json") => tell_json::<DatabaseSummary>(bytes),
        ("hub", "upload.json") => tell_json::<Upload>(bytes),
        ("hub", "finish.json") => tell_json::<FinishUpload>(bytes),
        ("hub", "problem.json") => tell_json::<Problem>(bytes),
        ("node", "transfer.json") => tell_json::<Transfer>(bytes),
        ("node", "fetch.json") => tell_json::<Fetch>(bytes),
        ("node", "events.ndjson") => {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let events: Vec<_> = lines.map(tell_json::<TransferEvent>).collect();
            list(events.iter().map(String::as_str))
        }
        ("pool", "format.json") => tell_json::<FormatFile>(bytes),
        ("pool", "dot.json") => tell_json::<DotFile>(bytes),
        ("pool", "hub-history.json") => "read by a test of dotmesh-node".to_owned(),
        (
            "pool",
            "amending.json" | "forks.json" | "restore.json" | "operation.json" | "renaming.json"
            | "stash.json" | "tags.json",
        ) => "read by a test of dotmesh-pool".to_owned(),
        _ => panic!("testdata/v1/{name} is read by no test: say here how it is read"),
    }
}

fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<T> = items.into_iter().collect();
    let mut told = String::new();
    for item in items.iter().take(SHOWN) {
        write!(told, "\n    {item}").expect("a string takes all");
    }
    if let more @ 1.. = items.len().saturating_sub(SHOWN) {
        write!(told, "\n    and {more} more").expect("a string takes all");
    }
    told
}

/// Reads JSON. No member may be unknown, and none may be lost.
fn tell_json<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> String {
    let value: T = serde_json::from_slice(bytes).expect("a message");
    let whole: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    assert_eq!(serde_json::to_value(&value).expect("JSON"), whole);
    format!("{value:?}")
}

fn tell_bundle<T: Serialize + DeserializeOwned + Debug>(name: &str, bytes: &[u8]) -> String {
    let bundle = Bundle::decode(&Bytes::copy_from_slice(bytes)).expect("a bundle");
    assert_eq!(bundle.encode(), bytes);
    tell_json::<T>(&bundle.json) + &tell_pack(name, &bundle.pack)
}

fn tell_tree_page(bytes: &[u8]) -> String {
    let page = TreePage::decode(bytes).expect("a tree page");
    assert_eq!(page.encode(), bytes);
    let items = match &page {
        TreePage::Leaf(entries) => list(entries.iter().map(|entry| format!("{entry:?}"))),
        TreePage::Inner { children, .. } => list(children.iter().map(|child| format!("{child:?}"))),
    };
    format!("level {}, {} entries{items}", page.level(), page.count())
}

fn tell_file_page(bytes: &[u8]) -> String {
    let page = FilePage::decode(bytes).expect("a file page");
    assert_eq!(page.encode(), bytes);
    let items = match &page {
        FilePage::Leaf(segments) => list(segments.iter().map(|segment| format!("{segment:?}"))),
        FilePage::Inner { children, .. } => list(children.iter().map(|child| format!("{child:?}"))),
    };
    format!("level {}, {} bytes{items}", page.level(), page.size())
}

/// Every object of a pack, including deltas from earlier objects of the pack.
fn objects_of(bytes: &[u8]) -> Vec<(Object, &'static str)> {
    let pack = Bytes::copy_from_slice(bytes);
    let mut writer = PackWriter::default();
    let mut objects: Vec<(Object, &str)> = Vec::new();
    for frame in PackReader::new(pack.clone()).expect("a pack") {
        let frame = frame.expect("a frame");
        writer.push(&frame);
        let base = frame.base().map(|hash| {
            let base = objects.iter().find(|(object, _)| object.hash() == hash);
            base.expect("its base").0.clone()
        });
        let (object, encoding) = match &base {
            Some(base) => (
                FrameDecoder::default().object_against(&frame, base),
                "delta",
            ),
            // Byte 1 of a frame is its encoding.
            None => (
                frame.object(),
                ["raw", "zstd"][usize::from(frame.stored()[1])],
            ),
        };
        objects.push((object.expect("an object"), encoding));
    }
    assert_eq!(writer.finish(), pack);
    objects
}

fn tell_pack(name: &str, bytes: &[u8]) -> String {
    if let Some(path) = name.strip_prefix("store/packs/") {
        let id = blake3::hash(bytes).to_hex();
        assert_eq!(path, format!("{}/{id}", &id[..2]));
    }
    let objects = objects_of(bytes);
    list(objects.iter().map(|(object, encoding)| {
        let (kind, length) = (object.kind(), object.bytes().len());
        let named = references(kind, object.bytes())
            .expect("of the format")
            .len();
        format!(
            "{kind:?} {encoding} {length} bytes, refers to {named}, {}",
            object.hash()
        )
    }))
}

/// The commits of a hub's answer, oldest first.
fn commits() -> Vec<VerifiedCommit> {
    let list: CommitList = serde_json::from_slice(&read("hub/commits.json")).expect("commits");
    let newest = list.commits.first().expect("a commit");
    let head = CommitRecord::decode(newest.record.as_bytes()).expect("a record");
    assert_ne!(head.parent, CommitId::ROOT, "it is a chain");
    verify_commits(&list, head.id, |_| None).expect("the seals are right")
}

#[test]
fn the_stored_commits_become_directories_and_seal_to_the_same_again() {
    // Use a copy, because opening a store may write to it.
    let temp = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    files_below(&folder().join("store"), &mut files);
    for file in &files {
        let to = temp
            .path()
            .join(file.strip_prefix(folder()).expect("below"));
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("create");
        std::fs::copy(file, to).expect("copy");
    }
    let store = PackStore::local(&temp.path().join("store")).expect("a store");
    let mut objects = MemoryObjects::default();
    runtime().block_on(async {
        for (pack, _) in store.list().await.expect("list") {
            let pack = store.get(pack).await.expect("a pack");
            for (object, encoding) in objects_of(&pack) {
                assert_ne!(encoding, "delta", "deltas only travel");
                objects.insert(object);
            }
        }
    });
    let mut told = String::new();
    let mut base: Option<Base> = None;
    for commit in commits() {
        let (id, root) = (commit.record.id, commit.sealed.root);
        let data = temp.path().join(id.to_string());
        std::fs::create_dir(&data).expect("create");
        make(&objects, root, None, &data);
        assert_eq!(seal_only(&data), root);
        writeln!(told, "{id}:").expect("a string takes all");
        let mut wide = 0;
        for (path, line) in describe(&data) {
            match path.starts_with(b"wide/") {
                true => wide += 1,
                false => writeln!(told, "    {}: {line}", path.escape_ascii()).expect("a string"),
            }
        }
        writeln!(told, "    and {wide} files in wide").expect("a string takes all");
        if let Some(base) = base.take() {
            let moved = temp.path().join("moved");
            std::fs::create_dir(&moved).expect("create");
            make(&objects, base.root, None, &moved);
            make(&objects, root, Some(base), &moved);
            assert_same(&data, &moved);
            assert_eq!(seal_only(&moved), root);
            std::fs::remove_dir_all(&moved).expect("remove");
        }
        base = Some(Base { root, data });
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_packs_have_every_kind_in_every_encoding() {
    let objects = objects_of(&read("packs/every-encoding.pack"));
    for kind in Kind::ALL {
        for encoding in ["raw", "zstd", "delta"] {
            let there = objects
                .iter()
                .any(|(object, of)| object.kind() == kind && *of == encoding);
            assert!(there, "a {kind:?} as {encoding}");
        }
    }
}
