//! A clone gets exactly what was pushed, and a push is visible only once it is complete.

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use dotmesh_model::CommitId;
use dotmesh_store::PackReader;

use crate::support::{
    TestHub, branch, commit, dot, files, finish, pack, push, push_first, refused, root_commit,
    update,
};

#[tokio::test]
async fn what_was_pushed_can_be_cloned() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    assert!(alice.dot(&app).await.unwrap().is_none());
    let (first, first_files) = push_first(&alice, &app, b"one").await;
    let second_files = files(&[("a", b"two"), ("b", b"the same in all")]);
    let second = commit(&first, &second_files);
    push(&alice, &app, Some(&first), &second, &second_files)
        .await
        .unwrap();

    let shown = alice.dot(&app).await.unwrap().unwrap();
    assert_eq!(
        (shown.name.full().as_str(), shown.access),
        ("alice/app", Access::Owner)
    );
    assert_eq!(shown.branches.len(), 1);
    assert_eq!(
        (&shown.branches[0].name, shown.branches[0].head),
        (&branch("master"), second.id)
    );
    assert_eq!(alice.dots().await.unwrap().len(), 1);

    let commits = alice.commits(&app, second.id, None).await.unwrap().commits;
    assert_eq!(commits, [second.sealed, first.sealed.clone()]);
    assert_eq!(
        alice.commits(&app, first.id, None).await.unwrap().commits,
        [first.sealed]
    );
    assert!(
        alice
            .commits(&app, CommitId::ROOT, None)
            .await
            .unwrap()
            .commits
            .is_empty()
    );
    refused(
        alice
            .commits(&app, CommitId::from_bytes([9; 16]), None)
            .await,
        ErrorCode::NotFound,
    );

    let mut wanted = [first_files.hashes(), second_files.hashes()].concat();
    wanted.reverse();
    let got = PackReader::new(alice.objects(&app, &wanted).await.unwrap()).unwrap();
    let got: Vec<_> = got.map(|frame| frame.unwrap().object().unwrap()).collect();
    let mut sent = [first_files.objects, second_files.objects].concat();
    sent.reverse();
    assert_eq!(got, sent);
}

#[tokio::test]
async fn a_long_history_is_told_in_full() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let mut line = vec![first];
    for _ in 0..300 {
        line.push(commit(line.last().unwrap(), &files));
    }
    let upload = alice.begin_upload(&app).await.unwrap();
    let new: Vec<_> = line.iter().collect();
    let last = line.last().unwrap();
    let request = finish(&new, vec![update(Some(&line[0]), last)]);
    alice.finish_upload(&app, &upload, &request).await.unwrap();
    let told = alice.commits(&app, last.id, None).await.unwrap().commits;
    let expected: Vec<_> = line.iter().rev().map(|made| made.sealed.clone()).collect();
    assert_eq!(told, expected);

    // A client that has some commits gets only the newer ones.
    for known in [0, 1, 100, 171, 172, 173, 299, 300] {
        let until = Some(line[known].id);
        let told = alice.commits(&app, last.id, until).await.unwrap().commits;
        assert_eq!(told, expected[..300 - known], "{known}");
    }
    // A commit that is not on the line has no effect.
    for until in [CommitId::from_bytes([9; 16]), CommitId::ROOT] {
        let told = alice.commits(&app, last.id, Some(until)).await.unwrap();
        assert_eq!(told.commits, expected);
    }
    let newer = alice
        .commits(&app, line[5].id, Some(last.id))
        .await
        .unwrap();
    assert_eq!(newer.commits, expected[295..]);
    let root = alice.commits(&app, CommitId::ROOT, Some(last.id)).await;
    assert!(root.unwrap().commits.is_empty());
}

#[tokio::test]
async fn nothing_shows_before_the_end_and_what_is_missing_is_named() {
    let hub = TestHub::start().await;
    let files = files(&[("a", b"one"), ("b", b"two"), ("c", b"three")]);
    let made = commit(&root_commit(), &files);
    let request = finish(&[&made], vec![update(None, &made)]);
    // Leave out each of the objects in turn. Each user has sent nothing before.
    for (n, left_out) in files.objects.iter().enumerate() {
        let user = hub.user(&format!("user{n}")).await;
        let app = dot(&format!("user{n}/app"));
        let upload = user.begin_upload(&app).await.unwrap();
        let missing = user.missing(&app, &upload, &files.hashes()).await;
        assert_eq!(missing.unwrap(), files.hashes());
        let others = files.objects.iter().filter(|object| *object != left_out);
        user.send_pack(&app, &upload, pack(others)).await.unwrap();
        let answer = user.finish_upload(&app, &upload, &request).await;
        let message = refused(answer, ErrorCode::Incomplete).message;
        assert!(message.contains(&left_out.hash().to_string()), "{message}");
        assert!(user.dot(&app).await.unwrap().is_none());
        let missing = user.missing(&app, &upload, &files.hashes()).await;
        assert_eq!(missing.unwrap(), [left_out.hash()]);
        // The upload can continue after that.
        let rest = pack([left_out]);
        user.send_pack(&app, &upload, rest).await.unwrap();
        user.finish_upload(&app, &upload, &request).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_finish_again_gets_the_same_answer() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one")]);
    let made = commit(&root_commit(), &files);
    let request = finish(&[&made], vec![update(None, &made)]);
    let upload = alice.begin_upload(&app).await.unwrap();
    alice
        .send_pack(&app, &upload, pack(&files.objects))
        .await
        .unwrap();
    let both = tokio::join!(
        alice.finish_upload(&app, &upload, &request),
        alice.finish_upload(&app, &upload, &request)
    );
    both.0.unwrap();
    both.1.unwrap();
    alice.finish_upload(&app, &upload, &request).await.unwrap();
    let other = finish(&[&made], Vec::new());
    refused(
        alice.finish_upload(&app, &upload, &other).await,
        ErrorCode::NotFound,
    );
    let sent = alice.send_pack(&app, &upload, pack(&files.objects)).await;
    refused(sent, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_new_upload_goes_on_where_the_last_was_cut() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one"), ("b", b"two")]);
    let made = commit(&root_commit(), &files);
    let cut = alice.begin_upload(&app).await.unwrap();
    alice
        .send_pack(&app, &cut, pack(&files.objects[..2]))
        .await
        .unwrap();
    let upload = alice.begin_upload(&app).await.unwrap();
    let missing = alice.missing(&app, &upload, &files.hashes()).await.unwrap();
    assert_eq!(missing, &files.hashes()[2..]);
    push(&alice, &app, None, &made, &files).await.unwrap();
}

#[tokio::test]
async fn within_a_namespace_nothing_is_sent_or_stored_twice() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (_, files) = push_first(&alice, &dot("alice/one"), b"content").await;
    let stored = hub.hub.packs.list().await.unwrap();
    let two = dot("alice/two");
    let upload = alice.begin_upload(&two).await.unwrap();
    assert!(
        alice
            .missing(&two, &upload, &files.hashes())
            .await
            .unwrap()
            .is_empty()
    );
    let made = commit(&root_commit(), &files);
    let request = finish(&[&made], vec![update(None, &made)]);
    // Send them nevertheless, together with something new.
    alice
        .send_pack(&two, &upload, pack(&files.objects))
        .await
        .unwrap();
    assert_eq!(hub.hub.packs.list().await.unwrap(), stored);
    alice.finish_upload(&two, &upload, &request).await.unwrap();
    // One dot does not depend on the other.
    alice.delete_dot(&dot("alice/one")).await.unwrap();
    alice.objects(&two, &files.hashes()).await.unwrap();
}

#[tokio::test]
async fn what_an_upload_was_told_is_there_stays_good_when_its_dot_goes() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (_, files) = push_first(&alice, &dot("alice/one"), b"content").await;
    let two = dot("alice/two");
    let upload = alice.begin_upload(&two).await.unwrap();
    assert!(
        alice
            .missing(&two, &upload, &files.hashes())
            .await
            .unwrap()
            .is_empty()
    );
    alice.delete_dot(&dot("alice/one")).await.unwrap();
    let made = commit(&root_commit(), &files);
    let request = finish(&[&made], vec![update(None, &made)]);
    alice.finish_upload(&two, &upload, &request).await.unwrap();
    alice.objects(&two, &files.hashes()).await.unwrap();
}

#[tokio::test]
async fn a_deleted_dot_is_gone_and_its_name_free() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"content").await;
    let begun = alice.begin_upload(&app).await.unwrap();
    alice.delete_dot(&app).await.unwrap();
    assert!(alice.dot(&app).await.unwrap().is_none());
    assert!(alice.dots().await.unwrap().is_empty());
    refused(alice.delete_dot(&app).await, ErrorCode::NotFound);
    refused(
        alice.missing(&app, &begun, &files.hashes()).await,
        ErrorCode::NotFound,
    );
    refused(
        alice.objects(&app, &files.hashes()).await,
        ErrorCode::NotFound,
    );
    let upload = alice.begin_upload(&app).await.unwrap();
    // Objects that only the deleted dot had must be sent again.
    assert_eq!(
        alice.missing(&app, &upload, &files.hashes()).await.unwrap(),
        files.hashes()
    );
    push(&alice, &app, None, &first, &files).await.unwrap();
}

#[tokio::test]
async fn an_empty_pack_and_an_empty_question_are_fine() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let upload = alice.begin_upload(&app).await.unwrap();
    alice.send_pack(&app, &upload, pack([])).await.unwrap();
    assert!(alice.missing(&app, &upload, &[]).await.unwrap().is_empty());
    push_first(&alice, &app, b"content").await;
    assert_eq!(alice.objects(&app, &[]).await.unwrap(), pack([]));
}
