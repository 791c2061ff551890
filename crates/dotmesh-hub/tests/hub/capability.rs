//! A hash is no capability. Knowing the hash of another user's object gives neither its bytes nor the knowledge that
//! the hub stores it.

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use dotmesh_store::{Kind, Object, PackReader};

use crate::support::{
    TestHub, commit, dot, files, finish, pack, push, push_first, refused, root_commit, update,
};

#[tokio::test]
async fn another_namespaces_objects_cannot_be_had() {
    let hub = TestHub::start().await;
    let (alice, mallory) = (hub.user("alice").await, hub.user("mallory").await);
    let (_, secret) = push_first(&alice, &dot("alice/secret"), b"the secret").await;
    let own = dot("mallory/own");
    push_first(&mallory, &own, b"nothing").await;

    // Request the objects directly, from the secret dot and from one's own dot.
    let asked = mallory
        .objects(&dot("alice/secret"), &secret.hashes())
        .await;
    refused(asked, ErrorCode::NotFound);
    for hash in secret.hashes() {
        if hash != secret.objects[1].hash() {
            refused(mallory.objects(&own, &[hash]).await, ErrorCode::NotFound);
        }
    }
    // Ask whether the hub has them.
    let upload = mallory.begin_upload(&own).await.unwrap();
    let missing = mallory
        .missing(&own, &upload, &[secret.root(), secret.chunk().hash()])
        .await;
    assert_eq!(missing.unwrap(), [secret.root(), secret.chunk().hash()]);
    // Claim them: as the root of a commit, and as children of one's own tree pages.
    let made = commit(&root_commit(), &secret);
    let claim = finish(&[&made], vec![]);
    let answer = mallory.finish_upload(&own, &upload, &claim).await;
    refused(answer, ErrorCode::Incomplete);
    let pages = secret
        .objects
        .iter()
        .filter(|object| object.kind() != Kind::Chunk);
    mallory.send_pack(&own, &upload, pack(pages)).await.unwrap();
    refused(
        mallory.finish_upload(&own, &upload, &claim).await,
        ErrorCode::Incomplete,
    );
    refused(
        mallory.objects(&own, &[secret.chunk().hash()]).await,
        ErrorCode::NotFound,
    );
    // Use another user's upload. Its id is no capability either.
    let theirs = alice.begin_upload(&dot("alice/secret")).await.unwrap();
    let asked = mallory.missing(&own, &theirs, &secret.hashes()).await;
    refused(asked, ErrorCode::NotFound);
    let asked = mallory
        .missing(&dot("alice/secret"), &theirs, &secret.hashes())
        .await;
    refused(asked, ErrorCode::Forbidden);
}

#[tokio::test]
async fn nor_those_of_another_dot_in_a_namespace_that_one_may_write_to() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    let (_, secret) = push_first(&alice, &dot("alice/secret"), b"the secret").await;
    let shared = dot("alice/shared");
    let (first, _) = push_first(&alice, &shared, b"not secret").await;
    alice
        .grant(&shared, &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();

    let hashes = [secret.root(), secret.chunk().hash()];
    refused(bob.objects(&shared, &hashes).await, ErrorCode::NotFound);
    let upload = bob.begin_upload(&shared).await.unwrap();
    assert_eq!(
        bob.missing(&shared, &upload, &hashes).await.unwrap(),
        hashes
    );
    let made = commit(&first, &secret);
    let claim = finish(&[&made], vec![update(Some(&first), &made)]);
    refused(
        bob.finish_upload(&shared, &upload, &claim).await,
        ErrorCode::Incomplete,
    );
    // With the hashes of the content, Bob can make all tree and file pages, but not the content.
    let pages = secret
        .objects
        .iter()
        .filter(|object| object.kind() != Kind::Chunk);
    bob.send_pack(&shared, &upload, pack(pages)).await.unwrap();
    refused(
        bob.finish_upload(&shared, &upload, &claim).await,
        ErrorCode::Incomplete,
    );
    // Alice's own upload of the content does not help Bob.
    let hers = alice.begin_upload(&shared).await.unwrap();
    alice
        .send_pack(&shared, &hers, pack(&secret.objects))
        .await
        .unwrap();
    refused(
        bob.finish_upload(&shared, &upload, &claim).await,
        ErrorCode::Incomplete,
    );
    refused(
        bob.finish_upload(&shared, &hers, &claim).await,
        ErrorCode::NotFound,
    );
    // With read access to the other dot, Bob may refer to the content without sending it.
    alice
        .grant(&dot("alice/secret"), &"bob".parse().unwrap(), Access::Read)
        .await
        .unwrap();
    assert!(
        bob.missing(&shared, &upload, &hashes)
            .await
            .unwrap()
            .is_empty()
    );
    bob.finish_upload(&shared, &upload, &claim).await.unwrap();
    let got = bob
        .objects(&shared, &[secret.chunk().hash()])
        .await
        .unwrap();
    let got = PackReader::new(got)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .object()
        .unwrap();
    assert_eq!(&got, secret.chunk());
}

#[tokio::test]
async fn who_has_the_bytes_may_send_them_although_a_stranger_has_them_too() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    push_first(&alice, &dot("alice/app"), b"known to both").await;
    let (_, files) = push_first(&bob, &dot("bob/app"), b"known to both").await;
    bob.objects(&dot("bob/app"), &files.hashes()).await.unwrap();
}

#[tokio::test]
async fn access_that_is_taken_away_ends_at_once() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    let app = dot("alice/app");
    let (first, _) = push_first(&alice, &app, b"one").await;
    let user = "bob".parse().unwrap();
    alice.grant(&app, &user, Access::Write).await.unwrap();
    let files = files(&[("a", b"two")]);
    let made = commit(&first, &files);
    let upload = bob.begin_upload(&app).await.unwrap();
    bob.send_pack(&app, &upload, pack(&files.objects))
        .await
        .unwrap();
    alice.revoke(&app, &user).await.unwrap();
    let request = finish(&[&made], vec![update(Some(&first), &made)]);
    refused(
        bob.finish_upload(&app, &upload, &request).await,
        ErrorCode::Forbidden,
    );
    refused(bob.commits(&app, first.id, None).await, ErrorCode::NotFound);
    alice.grant(&app, &user, Access::Read).await.unwrap();
    refused(
        bob.finish_upload(&app, &upload, &request).await,
        ErrorCode::Forbidden,
    );
    alice.grant(&app, &user, Access::Write).await.unwrap();
    push(&bob, &app, Some(&first), &made, &files).await.unwrap();
}

/// Access to one object of a pack gives no access to the pack's other objects.
#[tokio::test]
async fn nor_what_lies_beside_it_in_a_pack() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    let bob_name = "bob".parse().unwrap();
    let secret = dot("alice/secret");
    let theirs = files(&[("a", b"the secret"), ("b", b"known to bob")]);
    let made = commit(&root_commit(), &theirs);
    push(&alice, &secret, None, &made, &theirs).await.unwrap();
    let [hidden, known] = [&theirs.objects[0], &theirs.objects[1]];
    assert_eq!(
        (&hidden.bytes()[..], &known.bytes()[..]),
        (&b"the secret"[..], &b"known to bob"[..])
    );

    // Bob has the bytes of one object and sends them, so he may refer to that object alone.
    let shared = dot("alice/shared");
    let (first, _) = push_first(&alice, &shared, b"not secret").await;
    alice
        .grant(&shared, &bob_name, Access::Write)
        .await
        .unwrap();
    let upload = bob.begin_upload(&shared).await.unwrap();
    bob.send_pack(&shared, &upload, pack([known]))
        .await
        .unwrap();
    let asked = [known.hash(), hidden.hash()];
    assert_eq!(
        bob.missing(&shared, &upload, &asked).await.unwrap(),
        [hidden.hash()]
    );
    let new = files(&[("c", b"known to bob")]);
    bob.send_pack(&shared, &upload, pack(&new.objects[1..]))
        .await
        .unwrap();
    let second = commit(&first, &new);
    let request = finish(&[&second], vec![update(Some(&first), &second)]);
    bob.finish_upload(&shared, &upload, &request).await.unwrap();
    bob.objects(&shared, &[known.hash()]).await.unwrap();
    refused(
        bob.objects(&shared, &[hidden.hash()]).await,
        ErrorCode::NotFound,
    );
    let again = bob.begin_upload(&shared).await.unwrap();
    let missing = bob.missing(&shared, &again, &asked).await.unwrap();
    assert_eq!(missing, [hidden.hash()]);
}

/// An object that a push sends but does not refer to is not added to the dot, although the rest of its pack is.
#[tokio::test]
async fn nor_what_was_sent_along_and_never_referred_to() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    let app = dot("alice/app");
    let pushed = files(&[("a", b"one")]);
    let beside = Object::new(Kind::Chunk, &b"sent by mistake"[..]);
    let made = commit(&root_commit(), &pushed);
    let upload = alice.begin_upload(&app).await.unwrap();
    let all = pushed.objects.iter().chain([&beside]);
    alice.send_pack(&app, &upload, pack(all)).await.unwrap();
    let request = finish(&[&made], vec![update(None, &made)]);
    alice.finish_upload(&app, &upload, &request).await.unwrap();
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    for client in [&alice, &bob] {
        client.objects(&app, &pushed.hashes()).await.unwrap();
        refused(
            client.objects(&app, &[beside.hash()]).await,
            ErrorCode::NotFound,
        );
        let upload = client.begin_upload(&app).await.unwrap();
        let asked = [beside.hash(), pushed.root()];
        let missing = client.missing(&app, &upload, &asked).await.unwrap();
        assert_eq!(missing, [beside.hash()]);
    }
}

/// An upload belongs to one user and one dot. Its id opens none of its routes to others.
#[tokio::test]
async fn an_uploads_id_is_no_capability() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    let app = dot("alice/app");
    let (first, _) = push_first(&alice, &app, b"one").await;
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    let secret = files(&[("a", b"sent, and not yet pushed")]);
    let made = commit(&first, &secret);
    let request = finish(&[&made], vec![update(Some(&first), &made)]);
    let hers = alice.begin_upload(&app).await.unwrap();
    alice
        .send_pack(&app, &hers, pack(&secret.objects))
        .await
        .unwrap();
    let own = dot("bob/own");
    push_first(&bob, &own, b"nothing").await;
    for dot in [&app, &own] {
        let hashes = secret.hashes();
        refused(bob.missing(dot, &hers, &hashes).await, ErrorCode::NotFound);
        refused(
            bob.send_pack(dot, &hers, pack([])).await,
            ErrorCode::NotFound,
        );
        refused(
            bob.finish_upload(dot, &hers, &request).await,
            ErrorCode::NotFound,
        );
        // With an upload of his own Bob learns and gets nothing either.
        let his = bob.begin_upload(dot).await.unwrap();
        let missing = bob.missing(dot, &his, &hashes).await.unwrap();
        assert_eq!(missing, hashes);
        refused(
            bob.finish_upload(dot, &his, &request).await,
            ErrorCode::Incomplete,
        );
        for hash in hashes {
            refused(bob.objects(dot, &[hash]).await, ErrorCode::NotFound);
        }
    }
    // Her upload is not valid for another dot of her own either.
    let (other, hashes) = (dot("alice/other"), secret.hashes());
    refused(
        alice.missing(&other, &hers, &hashes).await,
        ErrorCode::NotFound,
    );
    alice.finish_upload(&app, &hers, &request).await.unwrap();
    bob.objects(&app, &secret.hashes()).await.unwrap();
}
