//! Bundles: a whole push in one request, and the first objects of a commit with its history.

use bytes::Bytes;
use dotmesh_api::bundle::MAX_BUNDLE_LENGTH;
use dotmesh_api::hub::{Access, FinishUpload, Upload};
use dotmesh_api::identity::Meant;
use dotmesh_api::{Bundle, ClientError, ErrorCode, HubClient};
use dotmesh_hub_model::quota::Quota;
use dotmesh_model::{CommitId, DotIdentity, DotName, ObjectHash};
use dotmesh_store::{Kind, Object, PackReader};

use crate::deltas::{delta_pack, noise};
use crate::repack::repack;
use crate::support::{
    Files, Made, TestHub, commit, dot, files, finish, pack, push, push_first, refused, root_commit,
    update,
};

/// An upload with an id that a client chose.
fn upload(n: u8) -> Upload {
    let id = format!("{n:02x}").repeat(16);
    Upload { id }
}

async fn push_at_once(
    client: &HubClient,
    dot: &DotName,
    id: u8,
    pack: Bytes,
    finish: &FinishUpload,
) -> Result<Option<DotIdentity>, ClientError> {
    let bundle = Bundle::new(pack, finish).unwrap().encode();
    client.push_bundle(dot, &upload(id), bundle).await
}

/// A first commit, and its push.
fn first(content: &[u8]) -> (Made, Files, FinishUpload) {
    let files = files(&[("a", content), ("b", b"the same in all")]);
    let made = commit(&root_commit(), &files);
    let request = finish(&[&made], vec![update(None, &made)]);
    (made, files, request)
}

/// The objects that come with a commit, in their order.
async fn early(
    client: &HubClient,
    dot: &DotName,
    head: CommitId,
    until: Option<CommitId>,
) -> Vec<Object> {
    let (list, pack) = client.bundle(dot, head, until).await.unwrap();
    let told = client.commits(dot, head, until).await.unwrap();
    assert_eq!(list.commits, told.commits);
    let frames = PackReader::new(pack).unwrap();
    frames
        .map(|frame| frame.unwrap().object().unwrap())
        .collect()
}

fn hashes(objects: &[Object]) -> Vec<ObjectHash> {
    objects.iter().map(Object::hash).collect()
}

#[tokio::test]
async fn a_small_push_takes_one_request_and_may_be_repeated() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (made, files, request) = first(b"one");
    let all = pack(&files.objects);
    // Two at a time, and a third because the answers were lost. Each names a new dot, and means the same one.
    let new = alice.about(Some(Meant::New));
    let push = |pack: Bytes| push_at_once(&new, &app, 1, pack, &request);
    let both = tokio::join!(push(all.clone()), push(all.clone()));
    let identity = both.0.unwrap();
    assert!(identity.is_some());
    assert_eq!(both.1.unwrap(), identity);
    assert_eq!(push(all.clone()).await.unwrap(), identity);
    // Another request with this id is not the same push.
    let other = finish(&[&made], Vec::new());
    let again = push_at_once(&alice, &app, 1, all.clone(), &other).await;
    refused(again, ErrorCode::NotFound);
    let again = push_at_once(&new, &app, 2, all, &request).await;
    refused(again, ErrorCode::Exists);

    let there = alice.dot(&app).await.unwrap().unwrap();
    assert_eq!((there.identity, there.branches.len()), (identity, 1));
    assert_eq!(there.branches[0].head, made.id);
    let got = alice.objects(&app, &files.hashes()).await.unwrap();
    assert_eq!(PackReader::new(got).unwrap().count(), files.objects.len());

    // Only what is new is sent, as a delta where that is smaller, or nothing but a ref update.
    let large = |byte: u8| {
        let mut content = noise(1, 16_000);
        content[5000] = byte;
        crate::support::files(&[("a", &content)])
    };
    let (old, new) = (large(1), large(2));
    let second = commit(&made, &old);
    let request = finish(&[&second], vec![update(Some(&made), &second)]);
    let sent = push_at_once(&alice, &app, 3, pack(&old.objects), &request).await;
    assert_eq!(sent.unwrap(), identity);
    let third = commit(&second, &new);
    let request = finish(&[&third], Vec::new());
    let mut delta = delta_pack([(new.chunk(), old.chunk())]).to_vec();
    let pages = new
        .objects
        .iter()
        .filter(|object| object.kind() != Kind::Chunk);
    delta.extend_from_slice(&pack(pages)[8..]);
    push_at_once(&alice, &app, 4, delta.into(), &request)
        .await
        .unwrap();
    let request = finish(&[], vec![update(Some(&second), &third)]);
    push_at_once(&alice, &app, 5, pack([]), &request)
        .await
        .unwrap();
    let there = alice.dot(&app).await.unwrap().unwrap();
    assert_eq!(there.branches[0].head, third.id);
    let got = alice.objects(&app, &[new.chunk().hash()]).await.unwrap();
    let got = PackReader::new(got).unwrap().next().unwrap().unwrap();
    assert_eq!(&got.object().unwrap(), new.chunk());
}

#[tokio::test]
async fn nothing_shows_of_a_push_that_lacks_an_object_and_its_upload_goes_on() {
    let hub = TestHub::start().await;
    let (made, files, request) = first(b"one");
    for (n, left_out) in files.objects.iter().enumerate() {
        let user = hub.user(&format!("user{n}")).await;
        let app = dot(&format!("user{n}/app"));
        let others = pack(files.objects.iter().filter(|object| *object != left_out));
        let id = 10 + u8::try_from(n).unwrap();
        let answer = push_at_once(&user, &app, id, others, &request).await;
        let message = refused(answer, ErrorCode::Incomplete).message;
        assert!(message.contains(&left_out.hash().to_string()), "{message}");
        assert!(user.dot(&app).await.unwrap().is_none());
        // The ordinary way sends only what is missing.
        let other = user.begin_upload(&app).await.unwrap();
        for upload in [&upload(id), &other] {
            let missing = user.missing(&app, upload, &files.hashes()).await.unwrap();
            assert_eq!(missing, [left_out.hash()]);
        }
        user.send_pack(&app, &other, pack([left_out]))
            .await
            .unwrap();
        user.finish_upload(&app, &other, &request).await.unwrap();
        assert!(user.dot(&app).await.unwrap().is_some());
    }
    // Objects and seals are verified.
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let mut damaged = pack(&files.objects).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let answer = push_at_once(&alice, &app, 1, damaged.into(), &request).await;
    refused(answer, ErrorCode::Corrupt);
    let mut forged = made.clone();
    forged.sealed.seal = files.root();
    let forged = finish(&[&forged], Vec::new());
    let answer = push_at_once(&alice, &app, 2, pack(&files.objects), &forged).await;
    refused(answer, ErrorCode::Corrupt);
    assert!(alice.dot(&app).await.unwrap().is_none());
}

#[tokio::test]
async fn a_hash_gives_no_access_to_the_objects_of_others() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let bob = hub.user("bob").await;
    let (secret, theirs) = push_first(&alice, &dot("alice/app"), &noise(1, 16_000)).await;
    let app = dot("bob/app");
    let made = commit(&root_commit(), &theirs);
    let request = finish(&[&made], vec![update(None, &made)]);
    // He names the root, or everything but a chunk, or a chunk as a delta base.
    let answer = push_at_once(&bob, &app, 1, pack([]), &request).await;
    let known = refused(answer, ErrorCode::Incomplete).message;
    let unknown = first(b"nobody has this");
    let answer = push_at_once(&bob, &app, 2, pack([]), &unknown.2).await;
    let unknown_root = refused(answer, ErrorCode::Incomplete).message;
    let (a, b) = (theirs.root().to_string(), unknown.1.root().to_string());
    assert_eq!(known.replace(&a, "…"), unknown_root.replace(&b, "…"));
    let chunk = theirs.chunk();
    let others = theirs.objects.iter().filter(|object| *object != chunk);
    let answer = push_at_once(&bob, &app, 3, pack(others), &request).await;
    refused(answer, ErrorCode::Incomplete);
    let mut like = chunk.bytes().to_vec();
    like[5000] ^= 1;
    let like = Object::new(Kind::Chunk, like);
    let delta = delta_pack([(&like, chunk)]);
    let answer = push_at_once(&bob, &app, 4, delta, &request).await;
    refused(answer, ErrorCode::Incomplete);
    assert!(bob.dot(&app).await.unwrap().is_none());

    // Nor does an id of an upload, whether of another user or to another dot.
    let begun = alice.begin_upload(&dot("alice/app")).await.unwrap();
    let bundle = Bundle::new(pack(&theirs.objects), &request)
        .unwrap()
        .encode();
    let answer = bob.push_bundle(&app, &begun, bundle.clone()).await;
    refused(answer, ErrorCode::NotFound);
    let answer = alice.push_bundle(&dot("alice/other"), &begun, bundle).await;
    refused(answer, ErrorCode::NotFound);

    // A bundle has only objects of the dot, and its reader needs access.
    for (client, code) in [(&bob, ErrorCode::NotFound), (&alice, ErrorCode::NotFound)] {
        let other = client.bundle(&app, secret.id, None).await;
        refused(other, code);
    }
    let answer = bob.bundle(&dot("alice/app"), secret.id, None).await;
    refused(answer, ErrorCode::NotFound);
    let bobs = "bob".parse().unwrap();
    alice
        .grant(&dot("alice/app"), &bobs, Access::Read)
        .await
        .unwrap();
    assert_eq!(
        early(&bob, &dot("alice/app"), secret.id, None).await.len(),
        5
    );
    let answer = push_at_once(&bob, &dot("alice/app"), 6, pack([]), &finish(&[], vec![])).await;
    refused(answer, ErrorCode::Forbidden);
}

#[tokio::test]
async fn limits_identities_and_quotas_hold() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (made, files, request) = first(b"one");
    let all = pack(&files.objects);
    let whole = Bundle::new(all.clone(), &request).unwrap().encode();
    for id in ["short", &"X".repeat(32), &"0".repeat(33)] {
        let upload = Upload { id: id.to_owned() };
        let answer = alice.push_bundle(&app, &upload, whole.clone()).await;
        refused(answer, ErrorCode::Invalid);
    }
    for cut in [0, 3, 4, 20, whole.len() - 1] {
        let answer = alice
            .push_bundle(&app, &upload(1), whole.slice(..cut))
            .await;
        refused(answer, ErrorCode::Invalid);
    }
    let long = Bytes::from(vec![0; MAX_BUNDLE_LENGTH + 1]);
    let answer = alice.push_bundle(&app, &upload(1), long).await;
    refused(answer, ErrorCode::TooLarge);
    // The cut requests left no upload behind, so the id is free.
    let identity = alice.push_bundle(&app, &upload(1), whole).await.unwrap();
    let identity = identity.unwrap();

    let other = alice.about(Some(Meant::Known("1".repeat(32).parse().unwrap())));
    let second = commit(&made, &files);
    let next = finish(&[&second], vec![update(Some(&made), &second)]);
    let answer = push_at_once(&other, &app, 2, pack([]), &next).await;
    refused(answer, ErrorCode::AnotherDot);
    let known = alice.about(Some(Meant::Known(identity)));
    let answer = push_at_once(&known, &app, 3, pack([]), &next).await;
    assert_eq!(answer.unwrap(), Some(identity));

    let large = crate::support::files(&[("a", &noise(7, 60_000)), ("b", &noise(8, 60_000))]);
    let carol = hub.user("carol").await;
    hub.set_quota("carol", Quota::Bytes(50_000)).await;
    let third = commit(&root_commit(), &large);
    let request = finish(&[&third], vec![update(None, &third)]);
    let theirs = dot("carol/app");
    let answer = push_at_once(&carol, &theirs, 4, pack(&large.objects), &request).await;
    refused(answer, ErrorCode::NoSpace);
    assert!(carol.dot(&theirs).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bundle_has_the_objects_in_the_order_in_which_they_are_needed() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let old_files = files(&[("a", b"one"), ("b", b"the same"), ("c", b"last")]);
    let old = commit(&root_commit(), &old_files);
    push(&alice, &app, None, &old, &old_files).await.unwrap();
    let new_files = files(&[("a", b"two"), ("b", b"the same"), ("c", b"last")]);
    let new = commit(&old, &new_files);
    push(&alice, &app, Some(&old), &new, &new_files)
        .await
        .unwrap();

    // The pages come from the top, and then the chunks in the order of the files.
    let got = early(&alice, &app, new.id, None).await;
    let [chunks @ .., folder, top, root] = &new_files.objects[..] else {
        unreachable!()
    };
    let expected = [&[root.clone(), top.clone(), folder.clone()], chunks].concat();
    assert_eq!(got, expected);
    // With the older commit, only what differs comes.
    let got = early(&alice, &app, new.id, Some(old.id)).await;
    let changed = &chunks[..1];
    assert_eq!(
        got,
        [&[root.clone(), top.clone(), folder.clone()], changed].concat()
    );
    // An unknown commit changes nothing, and the root commit has no objects.
    let got = early(&alice, &app, new.id, Some(CommitId::from_bytes([9; 16]))).await;
    assert_eq!(got, expected);
    assert!(early(&alice, &app, CommitId::ROOT, None).await.is_empty());

    // It ends at the limit, with the pages first.
    let contents: Vec<_> = (0..40)
        .map(|n| (format!("f{n:02}"), noise(n, 50_000)))
        .collect();
    let list: Vec<_> = contents
        .iter()
        .map(|(name, bytes)| (&**name, &**bytes))
        .collect();
    let many = files(&list);
    let large = commit(&new, &many);
    push(&alice, &app, Some(&new), &large, &many).await.unwrap();
    let got = early(&alice, &app, large.id, None).await;
    let [chunks @ .., folder, top, root] = &many.objects[..] else {
        unreachable!()
    };
    let all = [&[root.clone(), top.clone(), folder.clone()], chunks].concat();
    assert_eq!(got, all[..got.len()]);
    let length = pack(&got).len();
    assert!(
        length <= MAX_BUNDLE_LENGTH && length > MAX_BUNDLE_LENGTH - 51_000,
        "{length}"
    );

    // Groups are not what a client knows.
    let before = early(&alice, &app, new.id, None).await;
    repack(&hub).await;
    assert_eq!(early(&alice, &app, new.id, None).await, before);
}

#[tokio::test]
async fn a_root_that_is_only_claimed_brings_no_objects() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (_, theirs) = push_first(&alice, &app, b"secret").await;
    let mut claim = commit(&root_commit(), &theirs);
    claim.sealed.without_data = true;
    let shown = files(&[("a", b"shown")]);
    let head = commit(&claim, &shown);
    let request = finish(&[&claim, &head], vec![update(None, &head)]);
    let bob = hub.user("bob").await;
    let his = dot("bob/app");
    push_at_once(&bob, &his, 1, pack(&shown.objects), &request)
        .await
        .unwrap();
    assert!(early(&bob, &his, claim.id, None).await.is_empty());
    let all = early(&bob, &his, head.id, Some(claim.id)).await;
    assert_eq!(hashes(&all).len(), shown.objects.len());
}
