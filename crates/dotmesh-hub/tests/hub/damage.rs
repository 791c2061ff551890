//! The hub refuses damaged or false data, and keeps nothing of it.

use bytes::Bytes;
use dotmesh_api::ErrorCode;
use dotmesh_api::hub::{FinishUpload, SealedCommit};
use dotmesh_hub_db::users::NewUser;
use dotmesh_model::{BranchName, CommitId, CommitRecord};
use dotmesh_store::{Kind, Object, PackReader, ROOT_SEAL};

use crate::ambient;
use crate::support::{
    Made, TestHub, commit, dot, files, finish, pack, push, push_first, record, refused,
    root_commit, sealed, update,
};

#[tokio::test]
async fn a_pack_with_any_byte_changed_is_refused_whole() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one"), ("b", &[7; 3000])]);
    let whole = pack(&files.objects);
    let upload = alice.begin_upload(&app).await.unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1 << (at % 8);
        let is_delta = PackReader::new(damaged.clone().into())
            .is_ok_and(|frames| frames.flatten().any(|frame| frame.base().is_some()));
        let answer = alice.send_pack(&app, &upload, damaged.into()).await;
        // A changed encoding byte may turn a frame into a delta whose base the hub does not have.
        let code = match is_delta {
            true => ErrorCode::Incomplete,
            false => ErrorCode::Corrupt,
        };
        refused(answer, code);
    }
    for length in (0..whole.len()).step_by(7) {
        // A pack that ends between two frames is valid.
        if let Err(error) = alice
            .send_pack(&dot("alice/cut"), &upload, whole.slice(..length))
            .await
        {
            assert_ne!(error.code(), ErrorCode::Internal);
        }
    }
    let missing = alice.missing(&app, &upload, &files.hashes()).await.unwrap();
    assert_eq!(missing, files.hashes());
    assert!(hub.hub.packs.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_learns_that_the_store_has_lost_a_pack() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (_, files) = push_first(&alice, &app, b"one").await;
    let pack = hub.hub.packs.list().await.unwrap()[0].0;
    hub.hub.packs.delete(pack).await.unwrap();
    let answer = alice.objects(&app, &files.hashes()).await;
    let error = refused(answer, ErrorCode::Internal);
    assert!(
        error.message.contains("damaged in the hub's store"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("backup"));
}

#[tokio::test]
async fn a_page_that_is_none_is_refused() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let upload = alice.begin_upload(&app).await.unwrap();
    for kind in [Kind::TreePage, Kind::FilePage, Kind::Root] {
        let object = Object::new(kind, &b"not a page"[..]);
        refused(
            alice.send_pack(&app, &upload, pack([&object])).await,
            ErrorCode::Corrupt,
        );
    }
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_refused_with_what_to_do() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let upload = alice.begin_upload(&app).await.unwrap();
    let page = Object::new(Kind::TreePage, &[2, 0][..]);
    let mut newer = pack([&page]).to_vec();
    let of_page = alice.send_pack(&app, &upload, newer.clone().into()).await;
    newer[7] = 2;
    let of_pack = alice.send_pack(&app, &upload, newer.into()).await;
    for answer in [of_page, of_pack] {
        let error = refused(answer, ErrorCode::Corrupt);
        assert!(error.hint.unwrap().contains("upgrade"));
    }
}

struct Sent {
    hub: TestHub,
    client: dotmesh_api::HubClient,
    upload: dotmesh_api::hub::Upload,
    made: Made,
    files: crate::support::Files,
}

/// A dot with one commit, and an upload that has sent the next commit's files.
async fn sent() -> (Sent, Made) {
    let hub = TestHub::start().await;
    let client = hub.user("alice").await;
    let (first, _) = push_first(&client, &dot("alice/app"), b"one").await;
    let files = files(&[("a", b"two")]);
    let upload = client.begin_upload(&dot("alice/app")).await.unwrap();
    client
        .send_pack(&dot("alice/app"), &upload, pack(&files.objects))
        .await
        .unwrap();
    let made = commit(&first, &files);
    (
        Sent {
            hub,
            client,
            upload,
            made,
            files,
        },
        first,
    )
}

impl Sent {
    async fn refused(&self, request: FinishUpload, code: ErrorCode) {
        let app = dot("alice/app");
        refused(
            self.client
                .finish_upload(&app, &self.upload, &request)
                .await,
            code,
        );
        let shown = self.client.dot(&app).await.unwrap().unwrap();
        assert_ne!(shown.branches[0].head, self.made.id);
        refused(
            self.client.commits(&app, self.made.id, None).await,
            ErrorCode::NotFound,
        );
    }
}

#[tokio::test]
async fn commits_that_are_not_what_they_claim() {
    let (sent, first) = sent().await;
    let good = &sent.made;
    let with = |change: &dyn Fn(&mut Made)| {
        let mut made = good.clone();
        change(&mut made);
        finish(&[&made], vec![update(Some(&first), good)])
    };
    let wrong_seal = with(&|made| made.sealed.seal = made.sealed.root);
    sent.refused(wrong_seal, ErrorCode::Corrupt).await;
    let other_root = with(&|made| made.sealed.root = made.sealed.seal);
    sent.refused(other_root, ErrorCode::Corrupt).await;
    let other_words = with(&|made| {
        made.sealed.record = made.sealed.record.replace("a message", "another");
    });
    sent.refused(other_words, ErrorCode::Corrupt).await;
    let no_record = with(&|made| made.sealed.record = "{}".to_owned());
    sent.refused(no_record, ErrorCode::Corrupt).await;

    let branches = || vec![update(Some(&first), good)];
    sent.refused(finish(&[good, good], branches()), ErrorCode::Invalid)
        .await;
    let orphan = commit(good, &sent.files);
    sent.refused(finish(&[&orphan], branches()), ErrorCode::Incomplete)
        .await;
    sent.refused(finish(&[&orphan, good], branches()), ErrorCode::Incomplete)
        .await;
    sent.refused(finish(&[], branches()), ErrorCode::Incomplete)
        .await;

    // A root that is a chunk, not a tree page, under a correct seal.
    let record = |id, parent| CommitRecord {
        version: 1,
        id,
        parent,
        branch: BranchName::master(),
        author: String::new(),
        time: "2026-01-31T12:00:00Z".parse().unwrap(),
        message: String::new(),
        metadata: Default::default(),
        images: Vec::new(),
        code: None,
        dot: None,
    };
    let id = CommitId::from_bytes([8; 16]);
    let root = sent.files.chunk().hash();
    let chunk = Made {
        id,
        sealed: sealed(&first, &record(id, first.id), root),
    };
    let request = finish(&[&chunk], vec![update(Some(&first), &chunk)]);
    sent.refused(request, ErrorCode::Corrupt).await;

    // A known commit id with another record.
    let sealed = sealed(
        &root_commit(),
        &record(first.id, CommitId::ROOT),
        sent.files.root(),
    );
    let impostor = Made {
        id: first.id,
        sealed,
    };
    let request = finish(&[&impostor], vec![]);
    sent.refused(request, ErrorCode::Exists).await;

    // The good commit is still accepted, together with its parent, which the hub already has.
    let request = finish(&[&first, good], branches());
    sent.client
        .finish_upload(&dot("alice/app"), &sent.upload, &request)
        .await
        .unwrap();
    drop(sent.hub);
}

/// Random bodies must not make the server fail, on any route that takes a body.
#[test]
fn no_body_makes_the_server_fail() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (hub, http, urls, key) = runtime.block_on(async {
        let hub = TestHub::start().await;
        let key = dotmesh_hub_model::credentials::ApiKey::generate(&ambient::random());
        let name = "alice".parse().unwrap();
        let now = crate::ambient::now();
        hub.hub
            .database
            .add_user(&name, &NewUser::with_key(key.digest()), now)
            .await
            .unwrap();
        let alice = hub.client("alice", key.reveal());
        let app = dot("alice/app");
        push_first(&alice, &app, b"one").await;
        let upload = alice.begin_upload(&app).await.unwrap().id;
        let base = format!("{}/api/v1/dots/alice/app", hub.url);
        let urls = vec![
            ("POST", format!("{base}/objects")),
            ("POST", format!("{base}/uploads")),
            ("POST", format!("{base}/uploads/{upload}/missing")),
            ("POST", format!("{base}/uploads/{upload}/packs")),
            ("POST", format!("{base}/uploads/{upload}/finish")),
            ("PUT", format!("{base}/collaborators/bob")),
        ];
        (hub, reqwest::Client::new(), urls, key.reveal().to_owned())
    });
    let prefixes: [&[u8]; 5] = [
        b"",
        b"dotpack\x01",
        b"dotpack\x01\x01\x00",
        b"{\"commits\":[",
        b"{",
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let input = (
        0..urls.len(),
        0..prefixes.len(),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    runner
        .run(&input, |(url, prefix, bytes)| {
            let body = Bytes::from([prefixes[prefix], &bytes].concat());
            let (method, url) = &urls[url];
            let method = method.parse::<reqwest::Method>().unwrap();
            let status = runtime.block_on(async {
                let request = http
                    .request(method, url)
                    .basic_auth("alice", Some(&key))
                    .body(body);
                request.send().await.unwrap().status()
            });
            prop_assert!(status.as_u16() < 500, "{status} from {url}");
            Ok(())
        })
        .unwrap();
    drop(hub);
}

/// Texts may contain a NUL character, which PostgreSQL cannot store.
#[tokio::test]
async fn zero_characters_make_nothing_fail() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one")]);
    let id = CommitId::from_bytes([9; 16]);
    let record = record(id, CommitId::ROOT).replace("a message", "a \\u0000 message");
    let seal = dotmesh_store::seal(ROOT_SEAL, record.as_bytes(), files.root());
    let root = files.root();
    let sealed = SealedCommit {
        seal,
        root,
        record,
        left_out: None,
        without_data: false,
    };
    let made = Made { id, sealed };
    push(&alice, &app, None, &made, &files).await.unwrap();
    let told = alice.commits(&app, id, None).await.unwrap().commits;
    assert_eq!(told, [made.sealed]);

    let base = format!("{}/api/v1/dots/alice/app", hub.url);
    for address in ["uploads/%00/missing", "uploads/%00/packs"] {
        let request = reqwest::Client::new()
            .post(format!("{base}/{address}"))
            .basic_auth("alice", Some(&key));
        let status = request.send().await.unwrap().status().as_u16();
        assert!((400..500).contains(&status), "{status} from {address}");
    }
}
