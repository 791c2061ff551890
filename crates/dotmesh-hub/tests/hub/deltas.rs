//! Clients may send an object as a delta, if the hub has its delta base and the user may read that base.

use bytes::Bytes;
use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use dotmesh_store::{Frame, FrameEncoder, Kind, Object, PackReader, PackWriter};

use crate::support::{
    Files, TestHub, commit, dot, files, finish, pack, push_first, refused, root_commit, update,
};

/// Bytes that compress only against another version of themselves.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed << 1 | 1;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        content.extend_from_slice(&(state >> 32).to_le_bytes()[..4]);
    }
    content.truncate(length);
    content
}

/// Two versions of a file.
fn versions(seed: u64) -> (Files, Files) {
    let old = noise(seed, 16_000);
    let mut new = old.clone();
    new[5000..5008].copy_from_slice(b"changed!");
    (files(&[("a", &old)]), files(&[("a", &new)]))
}

pub(crate) fn delta_pack<'a>(pairs: impl IntoIterator<Item = (&'a Object, &'a Object)>) -> Bytes {
    let mut writer = PackWriter::default();
    for (object, base) in pairs {
        let frame = FrameEncoder::default().encode_against(object, base);
        assert!(frame.base().is_some() && frame.stored().len() < 1000);
        writer.push(&frame);
    }
    writer.finish()
}

fn pages(files: &Files) -> impl Iterator<Item = &Object> {
    let all = files.objects.iter();
    all.filter(|object| object.kind() != Kind::Chunk)
}

#[tokio::test]
async fn a_delta_is_kept_as_what_it_stands_for() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (old, new) = versions(1);
    let first = commit(&root_commit(), &old);
    crate::support::push(&alice, &app, None, &first, &old)
        .await
        .unwrap();

    let upload = alice.begin_upload(&app).await.unwrap();
    let delta = delta_pack([(new.chunk(), old.chunk())]);
    // The delta is sent twice, in one pack with other frames.
    let mut writer = PackWriter::default();
    for frame in PackReader::new(delta.clone()).unwrap() {
        writer.push(&frame.unwrap());
    }
    pages(&new).for_each(|page| {
        writer.push(&Frame::encode(page));
    });
    alice
        .send_pack(&app, &upload, writer.finish())
        .await
        .unwrap();
    alice.send_pack(&app, &upload, delta).await.unwrap();
    let second = commit(&first, &new);
    let request = finish(&[&second], vec![update(Some(&first), &second)]);
    alice.finish_upload(&app, &upload, &request).await.unwrap();

    let got = alice.objects(&app, &new.hashes()).await.unwrap();
    let got: Vec<Object> = PackReader::new(got)
        .unwrap()
        .map(|frame| frame.unwrap().object().unwrap())
        .collect();
    assert_eq!(got, new.objects);
}

#[tokio::test]
async fn what_this_upload_has_sent_can_be_a_base() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (old, new) = versions(2);
    let upload = alice.begin_upload(&app).await.unwrap();
    let delta = delta_pack([(new.chunk(), old.chunk())]);
    refused(
        alice.send_pack(&app, &upload, delta.clone()).await,
        ErrorCode::Incomplete,
    );
    // The hub does not look for a delta base in the same pack either.
    let mut both = PackWriter::default();
    both.push(&Frame::encode(old.chunk()));
    both.push(&FrameEncoder::default().encode_against(new.chunk(), old.chunk()));
    refused(
        alice.send_pack(&app, &upload, both.finish()).await,
        ErrorCode::Incomplete,
    );
    assert!(hub.hub.packs.list().await.unwrap().is_empty());
    alice
        .send_pack(&app, &upload, pack([old.chunk()]))
        .await
        .unwrap();
    alice.send_pack(&app, &upload, delta).await.unwrap();
    let asked = [new.chunk().hash(), old.chunk().hash()];
    let missing = alice.missing(&app, &upload, &asked).await.unwrap();
    assert!(missing.is_empty());
}

#[tokio::test]
async fn many_deltas_become_several_packs() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let base = Object::new(Kind::Chunk, noise(3, 60_000));
    let changed: Vec<Object> = (0..300u32)
        .map(|n| {
            let mut content = base.bytes().to_vec();
            content[..4].copy_from_slice(&n.to_le_bytes());
            Object::new(Kind::Chunk, content)
        })
        .collect();
    let upload = alice.begin_upload(&app).await.unwrap();
    alice.send_pack(&app, &upload, pack([&base])).await.unwrap();
    let deltas = delta_pack(changed.iter().map(|object| (object, &base)));
    assert!(deltas.len() < 100_000);
    alice.send_pack(&app, &upload, deltas).await.unwrap();
    let hashes: Vec<_> = changed.iter().map(Object::hash).collect();
    let missing = alice.missing(&app, &upload, &hashes).await.unwrap();
    assert!(missing.is_empty());
    // One pack with the base, and two of 8 MiB with a remainder.
    assert_eq!(hub.hub.packs.list().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_delta_that_does_not_make_what_it_says_is_refused() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (old, new) = versions(4);
    let upload = alice.begin_upload(&app).await.unwrap();
    let sent = pack([old.chunk()]);
    alice.send_pack(&app, &upload, sent).await.unwrap();
    let stored = hub.hub.packs.list().await.unwrap();
    let whole = delta_pack([(new.chunk(), old.chunk())]);
    for at in 0..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1 << (at % 8);
        let error = alice.send_pack(&app, &upload, damaged.into()).await;
        let code = error.unwrap_err().code();
        // A change in the name of the delta base names another base.
        assert!(
            matches!(code, ErrorCode::Corrupt | ErrorCode::Incomplete),
            "{at}: {code:?}"
        );
    }
    assert_eq!(hub.hub.packs.list().await.unwrap(), stored);
    let missing = alice.missing(&app, &upload, &[new.chunk().hash()]).await;
    assert_eq!(missing.unwrap(), [new.chunk().hash()]);
}

/// The body of a refusal, without the name of the delta base.
async fn refusal(
    client: &dotmesh_api::HubClient,
    app: &dotmesh_model::DotName,
    upload: &dotmesh_api::hub::Upload,
    object: &Object,
    base: &Object,
) -> String {
    let sent = client
        .send_pack(app, upload, delta_pack([(object, base)]))
        .await;
    let body = refused(sent, ErrorCode::Incomplete);
    format!("{body:?}").replace(&base.hash().to_string(), "BASE")
}

#[tokio::test]
async fn a_strangers_object_is_no_base() {
    let hub = TestHub::start().await;
    let (alice, mallory) = (hub.user("alice").await, hub.user("mallory").await);
    let secret = dot("alice/secret");
    let (theirs, guess) = versions(5);
    let made = commit(&root_commit(), &theirs);
    crate::support::push(&alice, &secret, None, &made, &theirs)
        .await
        .unwrap();
    let (unknown, other) = versions(6);
    let own = dot("mallory/own");
    push_first(&mallory, &own, b"nothing").await;
    let upload = mallory.begin_upload(&own).await.unwrap();
    // The refusal must be the same, word for word, as for a base that the hub does not have.
    let nobodys = refusal(&mallory, &own, &upload, other.chunk(), unknown.chunk()).await;
    let strangers = refusal(&mallory, &own, &upload, guess.chunk(), theirs.chunk()).await;
    assert_eq!(strangers, nobodys);

    // The same holds within one namespace, with write access to one dot and none to the other.
    let shared = dot("alice/shared");
    push_first(&alice, &shared, b"not secret").await;
    let mallory_name = "mallory".parse().unwrap();
    alice
        .grant(&shared, &mallory_name, Access::Write)
        .await
        .unwrap();
    let upload = mallory.begin_upload(&shared).await.unwrap();
    let strangers = refusal(&mallory, &shared, &upload, guess.chunk(), theirs.chunk()).await;
    assert_eq!(strangers, nobodys);
    // A base that another user sent in an unfinished upload is refused, too.
    let hers = alice.begin_upload(&shared).await.unwrap();
    alice
        .send_pack(&shared, &hers, pack(&theirs.objects))
        .await
        .unwrap();
    let strangers = refusal(&mallory, &shared, &upload, guess.chunk(), theirs.chunk()).await;
    assert_eq!(strangers, nobodys);
    // With read access a user may use the base, until the access is revoked.
    alice
        .grant(&secret, &mallory_name, Access::Read)
        .await
        .unwrap();
    let delta = delta_pack([(guess.chunk(), theirs.chunk())]);
    mallory
        .send_pack(&shared, &upload, delta.clone())
        .await
        .unwrap();
    alice.revoke(&secret, &mallory_name).await.unwrap();
    refused(
        mallory.send_pack(&shared, &upload, delta).await,
        ErrorCode::Incomplete,
    );
}
