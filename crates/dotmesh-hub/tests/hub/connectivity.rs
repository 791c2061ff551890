//! The hub accepts a push exactly if everything that its commits refer to exists and may be referred to. It makes no
//! difference how similar their trees are to those of earlier commits.

use std::collections::{HashMap, HashSet};

use dotmesh_api::{ClientError, ErrorCode, HubClient};
use dotmesh_model::{DotName, ObjectHash};
use dotmesh_store::{Kind, Object};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{
    Files, Made, TestHub, commit, dot, entry, files, finish, large_file, pack, push, refused,
    root_commit, tree_of, update,
};

/// A tree with one file of these chunks, and some others.
fn long_file(chunks: &[u8]) -> Files {
    let chunks = chunks.iter();
    let chunks = chunks.map(|chunk| Object::new(Kind::Chunk, vec![*chunk; 3]));
    let (kind, objects) = large_file(chunks);
    let mut files = tree_of(objects, vec![entry("long", kind)]);
    let mut seen = HashSet::new();
    files.objects.retain(|object| seen.insert(object.hash()));
    files
}

/// An edit of a version's file.
#[derive(Debug, Clone)]
enum Edit {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, chunk)| Edit::Set(at, chunk)),
        1 => (any::<usize>(), prop::collection::vec(any::<u8>(), 1..80)).prop_map(|(at, chunks)| Edit::Insert(at, chunks)),
        1 => (any::<usize>(), 1..200usize).prop_map(|(at, count)| Edit::Remove(at, count)),
    ]
}

fn apply(edit: &Edit, chunks: &mut Vec<u8>) {
    let place = |at: usize| at % chunks.len();
    match edit {
        Edit::Set(at, chunk) => {
            let at = place(*at);
            chunks[at] = *chunk;
        }
        Edit::Insert(at, more) => {
            let at = place(*at);
            chunks.splice(at..at, more.iter().copied());
        }
        Edit::Remove(at, count) => {
            let from = place(*at);
            let to = (from + count).min(chunks.len());
            // The file keeps at least two chunks, so it is stored with file pages.
            if chunks.len() - (to - from) > 1 {
                chunks.drain(from..to);
            }
        }
    }
}

/// A push of some versions in a row, without some of the objects that the dot lacks.
#[derive(Debug, Clone)]
struct Step {
    versions: Vec<Vec<Edit>>,
    left_out: Vec<prop::sample::Index>,
}

fn step() -> impl Strategy<Value = Step> {
    let versions = prop::collection::vec(prop::collection::vec(edit(), 1..6), 1..3);
    let left_out = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (versions, left_out).prop_map(|(versions, left_out)| Step { versions, left_out })
}

#[test]
fn a_push_is_taken_when_nothing_is_missing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hub = runtime.block_on(TestHub::start());
    let first = prop::collection::vec(any::<u8>(), 2..1500);
    let strategy = (first, prop::collection::vec(step(), 1..6));
    let mut case = 0;
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut names = move || {
        case += 1;
        format!("user{case}")
    };
    let names = std::cell::RefCell::new(&mut names);
    TestRunner::new(config)
        .run(&strategy, |(first, steps)| {
            let name = (names.borrow_mut())();
            runtime.block_on(pushes(&hub, &name, first, &steps));
            Ok(())
        })
        .unwrap();
}

async fn pushes(hub: &TestHub, user: &str, mut chunks: Vec<u8>, steps: &[Step]) {
    let client = hub.user(user).await;
    let app = dot(&format!("{user}/app"));
    let files = long_file(&chunks);
    let mut head = commit(&root_commit(), &files);
    push(&client, &app, None, &head, &files).await.unwrap();
    let mut there: HashSet<ObjectHash> = files.hashes().into_iter().collect();
    for step in steps {
        let (mut made, mut needed): (Vec<Made>, HashMap<ObjectHash, Object>) = Default::default();
        let mut parent = head.clone();
        for edits in &step.versions {
            for edit in edits {
                apply(edit, &mut chunks);
            }
            let files = long_file(&chunks);
            parent = commit(&parent, &files);
            made.push(parent.clone());
            let objects = files.objects.into_iter();
            needed.extend(objects.map(|object| (object.hash(), object)));
        }
        needed.retain(|hash, _| !there.contains(hash));
        let mut wanted: Vec<Object> = needed.values().cloned().collect();
        wanted.sort_unstable_by_key(Object::hash);
        let mut left_out = HashSet::new();
        // If the edits cancel each other out, there is nothing to leave out.
        for index in step.left_out.iter().filter(|_| !wanted.is_empty()) {
            left_out.insert(index.get(&wanted).hash());
        }
        wanted.retain(|object| !left_out.contains(&object.hash()));
        let old = head.clone();
        let made: Vec<&Made> = made.iter().collect();
        let request = finish(&made, vec![update(Some(&old), &parent)]);
        let upload = client.begin_upload(&app).await.unwrap();
        if !wanted.is_empty() {
            client
                .send_pack(&app, &upload, pack(&wanted))
                .await
                .unwrap();
        }
        let answer = client.finish_upload(&app, &upload, &request).await;
        if !left_out.is_empty() {
            refused(answer, ErrorCode::Incomplete);
            let rest = needed
                .values()
                .filter(|object| left_out.contains(&object.hash()));
            client.send_pack(&app, &upload, pack(rest)).await.unwrap();
            client.finish_upload(&app, &upload, &request).await.unwrap();
        } else {
            answer.unwrap();
        }
        head = parent;
        there.extend(needed.keys());
        assert_all_can_be_had(&client, &app, &there).await;
    }
}

async fn assert_all_can_be_had(client: &HubClient, dot: &DotName, there: &HashSet<ObjectHash>) {
    let mut rest: Vec<ObjectHash> = there.iter().copied().collect();
    while !rest.is_empty() {
        let got = client.objects(dot, &rest).await.unwrap();
        let frames = dotmesh_store::PackReader::new(got).unwrap();
        let got: HashSet<ObjectHash> = frames.map(|frame| frame.unwrap().hash()).collect();
        assert!(!got.is_empty());
        rest.retain(|hash| !got.contains(hash));
    }
}

/// The connectivity check skips what the parent's tree has. So a parent that lacks some of its objects must not pass
/// either.
#[tokio::test]
async fn what_a_parent_in_the_same_push_only_claims_to_have_is_missing() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let first = files(&[("a", b"one"), ("b", b"never sent")]);
    let second = files(&[("a", b"two"), ("b", b"never sent")]);
    let made_first = commit(&root_commit(), &first);
    let made_second = commit(&made_first, &second);
    let missing = Object::new(Kind::Chunk, &b"never sent"[..]).hash();
    let all = [&first, &second].map(|files| files.objects.iter());
    let sent = all.into_iter().flatten();
    let sent = sent.filter(|object| object.hash() != missing);
    let upload = alice.begin_upload(&app).await.unwrap();
    alice.send_pack(&app, &upload, pack(sent)).await.unwrap();
    let request = finish(
        &[&made_first, &made_second],
        vec![update(None, &made_second)],
    );
    let answer = alice.finish_upload(&app, &upload, &request).await;
    let message = refused(answer, ErrorCode::Incomplete).message;
    assert!(message.contains(&missing.to_string()), "{message}");
    assert!(alice.dot(&app).await.unwrap().is_none());
}

/// A parent counts only if it is a commit of this dot, not of another.
#[tokio::test]
async fn what_another_dots_commit_has_is_missing() -> Result<(), ClientError> {
    let hub = TestHub::start().await;
    let [alice, bob] = [hub.user("alice").await, hub.user("bob").await];
    let (mine, secret) = (files(&[("a", b"mine")]), files(&[("a", b"secret")]));
    let theirs = dot("alice/app");
    let alices = commit(&root_commit(), &secret);
    push(&alice, &theirs, None, &alices, &secret).await?;
    let app = dot("bob/app");
    let first = commit(&root_commit(), &mine);
    push(&bob, &app, None, &first, &mine).await?;

    // The push has the same root as Alice's commit, and sends only its tree pages.
    let second = commit(&first, &secret);
    let upload = bob.begin_upload(&app).await?;
    let pages = secret
        .objects
        .iter()
        .filter(|object| object.kind() != Kind::Chunk);
    bob.send_pack(&app, &upload, pack(pages)).await?;
    let request = finish(&[&second], vec![update(Some(&first), &second)]);
    refused(
        bob.finish_upload(&app, &upload, &request).await,
        ErrorCode::Incomplete,
    );
    // A parent that only Alice's dot has does not help either.
    let third = commit(&alices, &mine);
    let request = finish(&[&third], vec![update(Some(&first), &third)]);
    refused(
        bob.finish_upload(&app, &upload, &request).await,
        ErrorCode::Incomplete,
    );
    Ok(())
}
