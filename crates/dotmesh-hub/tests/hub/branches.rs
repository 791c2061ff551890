//! Ref updates: which are accepted and which are refused.

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::{BranchUpdate, HubBranch, ResolvedRef};

use crate::support::{
    Files, Made, TestHub, branch, commit, dot, files, finish, pack, push, push_first, refused,
    update,
};

async fn heads(client: &dotmesh_api::HubClient) -> Vec<HubBranch> {
    client
        .dot(&dot("alice/app"))
        .await
        .unwrap()
        .unwrap()
        .branches
}

fn at(name: &str, made: &Made) -> HubBranch {
    HubBranch {
        name: branch(name),
        head: made.id,
    }
}

/// A dot with two commits, and a third commit that is a sibling of the second.
async fn forked() -> (TestHub, dotmesh_api::HubClient, Files, [Made; 3]) {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let second = commit(&first, &files);
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    let beside = commit(&first, &files);
    (hub, alice, files, [first, second, beside])
}

#[tokio::test]
async fn diverged_lines_are_refused_or_stashed() {
    let (_hub, alice, files, [first, second, beside]) = forked().await;
    let app = dot("alice/app");
    let answer = push(&alice, &app, Some(&second), &beside, &files).await;
    let body = refused(answer, ErrorCode::Diverged);
    assert!(body.message.contains("master") && body.hint.unwrap().contains("pull"));
    // A client whose view of the branch is out of date gets the same answer.
    let answer = push(&alice, &app, Some(&first), &beside, &files).await;
    refused(answer, ErrorCode::Diverged);
    assert_eq!(heads(&alice).await, [at("master", &second)]);
    refused(
        alice.commits(&app, beside.id, None).await,
        ErrorCode::NotFound,
    );

    let stashed = |old: &Made| BranchUpdate {
        stash: Some(branch("old-line")),
        ..update(Some(old), &beside)
    };
    let upload = alice.begin_upload(&app).await.unwrap();
    let stale = finish(&[&beside], vec![stashed(&first)]);
    refused(
        alice.finish_upload(&app, &upload, &stale).await,
        ErrorCode::Behind,
    );
    let request = finish(&[&beside], vec![stashed(&second)]);
    alice.finish_upload(&app, &upload, &request).await.unwrap();
    assert_eq!(
        heads(&alice).await,
        [at("master", &beside), at("old-line", &second)]
    );
    let kept = alice.commits(&app, second.id, None).await.unwrap().commits;
    assert_eq!(kept, [second.sealed, first.sealed]);
}

#[tokio::test]
async fn a_line_that_is_behind_is_refused_or_stashed() {
    let (_hub, alice, files, [first, second, _]) = forked().await;
    let app = dot("alice/app");
    let answer = push(&alice, &app, Some(&second), &first, &files).await;
    refused(answer, ErrorCode::Behind);
    let back = BranchUpdate {
        stash: Some(branch("ahead")),
        ..update(Some(&second), &first)
    };
    let upload = alice.begin_upload(&app).await.unwrap();
    alice
        .finish_upload(&app, &upload, &finish(&[], vec![back]))
        .await
        .unwrap();
    assert_eq!(
        heads(&alice).await,
        [at("ahead", &second), at("master", &first)]
    );
}

#[tokio::test]
async fn a_name_for_the_old_line_must_be_free() {
    let (_hub, alice, _, [first, second, beside]) = forked().await;
    let app = dot("alice/app");
    let finish_with = async |branches| {
        let upload = alice.begin_upload(&app).await.unwrap();
        alice
            .finish_upload(&app, &upload, &finish(&[&beside], branches))
            .await
    };
    let other = BranchUpdate {
        name: branch("other"),
        ..update(None, &first)
    };
    finish_with(vec![other]).await.unwrap();
    let taken = BranchUpdate {
        stash: Some(branch("other")),
        ..update(Some(&second), &beside)
    };
    refused(finish_with(vec![taken]).await, ErrorCode::Exists);
    let own = BranchUpdate {
        stash: Some(branch("master")),
        ..update(Some(&second), &beside)
    };
    refused(finish_with(vec![own]).await, ErrorCode::Invalid);
    let twice = vec![
        update(Some(&second), &beside),
        update(Some(&second), &beside),
    ];
    refused(finish_with(twice).await, ErrorCode::Invalid);
    assert_eq!(
        heads(&alice).await,
        [at("master", &second), at("other", &first)]
    );
}

#[tokio::test]
async fn a_branch_moves_only_from_where_it_was_seen() {
    let (_hub, alice, files, [first, second, _]) = forked().await;
    let app = dot("alice/app");
    let third = commit(&second, &files);
    refused(
        push(&alice, &app, Some(&first), &third, &files).await,
        ErrorCode::Behind,
    );
    refused(
        push(&alice, &app, None, &third, &files).await,
        ErrorCode::Behind,
    );
    // An update to the commit where the branch already is succeeds, whatever its old value says.
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    let gone = BranchUpdate {
        name: branch("gone"),
        ..update(Some(&first), &second)
    };
    let upload = alice.begin_upload(&app).await.unwrap();
    let answer = alice
        .finish_upload(&app, &upload, &finish(&[], vec![gone]))
        .await;
    refused(answer, ErrorCode::Behind);
    assert_eq!(heads(&alice).await, [at("master", &second)]);
}

#[tokio::test]
async fn of_two_pushers_at_once_one_wins() {
    for _ in 0..10 {
        let hub = TestHub::start().await;
        let alice = hub.user("alice").await;
        let app = dot("alice/app");
        let (first, _) = push_first(&alice, &app, b"one").await;
        let mut pushes = Vec::new();
        for n in 0..4u8 {
            let (alice, app, first) = (alice.clone(), app.clone(), first.clone());
            pushes.push(tokio::spawn(async move {
                let files = files(&[("a", &[n; 100])]);
                let made = commit(&first, &files);
                (push(&alice, &app, Some(&first), &made, &files).await, made)
            }));
        }
        let mut winners = Vec::new();
        for push in pushes {
            match push.await.unwrap() {
                (Ok(()), made) => winners.push(made),
                (answer, _) => drop(refused(answer, ErrorCode::Diverged)),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(heads(&alice).await, [at("master", &winners[0])]);
    }
}

#[tokio::test]
async fn of_two_first_pushes_at_once_one_makes_the_dot() {
    for _ in 0..10 {
        let hub = TestHub::start().await;
        let alice = hub.user("alice").await;
        let app = dot("alice/app");
        let push = async |content: &[u8]| {
            let files = files(&[("a", content)]);
            let made = commit(&crate::support::root_commit(), &files);
            push(&alice, &app, None, &made, &files).await.map(|()| made)
        };
        let both = tokio::join!(push(b"one"), push(b"two"));
        let winner = match both {
            (Ok(made), answer) | (answer, Ok(made)) => {
                refused(answer.map(drop), ErrorCode::Diverged);
                made
            }
            both => panic!("{both:?}"),
        };
        assert_eq!(heads(&alice).await, [at("master", &winner)]);
    }
}

#[tokio::test]
async fn a_word_stands_for_a_commit() {
    let hub = TestHub::start().await;
    let (alice, name) = (hub.user("alice").await, dot("alice/app"));
    let (first, files) = push_first(&alice, &name, b"one").await;
    let second = commit(&first, &files);
    let next = vec![
        update(Some(&first), &second),
        BranchUpdate {
            name: branch("copy"),
            old: None,
            new: second.id,
            stash: None,
            force: false,
        },
    ];
    let upload = alice.begin_upload(&name).await.unwrap();
    alice
        .missing(&name, &upload, &files.hashes())
        .await
        .unwrap();
    alice
        .finish_upload(&name, &upload, &finish(&[&second], next))
        .await
        .unwrap();

    let resolve = async |word: &str| alice.resolve(&name, &word.parse().unwrap()).await;
    let heads = vec![branch("copy"), branch("master")];
    for word in [
        "master",
        "copy",
        &second.id.to_string(),
        &second.id.to_string()[..16],
    ] {
        let commit = second.id;
        let expected = ResolvedRef {
            commit,
            heads: heads.clone(),
        };
        assert_eq!(resolve(word).await.unwrap(), expected, "{word}");
    }
    let (commit, heads) = (first.id, Vec::new());
    let expected = ResolvedRef { commit, heads };
    assert_eq!(resolve(&first.id.to_string()).await.unwrap(), expected);
    refused(resolve("absent").await, ErrorCode::NotFound);
    refused(resolve("000000").await, ErrorCode::Invalid);
    refused(resolve("00000").await, ErrorCode::NotFound);
    let bob = hub.user("bob").await;
    let word = "master".parse().unwrap();
    refused(bob.resolve(&name, &word).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_forced_update_leaves_the_old_line_and_its_commits_stay() {
    let (_hub, alice, _, [first, second, beside]) = forked().await;
    let app = dot("alice/app");
    let forced = |old: &Made, new: &Made| BranchUpdate {
        force: true,
        ..update(Some(old), new)
    };
    let upload = alice.begin_upload(&app).await.unwrap();
    // The branch is not where the client saw it.
    let stale = finish(&[&beside], vec![forced(&first, &beside)]);
    let answer = alice.finish_upload(&app, &upload, &stale).await;
    refused(answer, ErrorCode::Behind);
    assert_eq!(heads(&alice).await, [at("master", &second)]);

    let request = finish(&[&beside], vec![forced(&second, &beside)]);
    alice.finish_upload(&app, &upload, &request).await.unwrap();
    assert_eq!(heads(&alice).await, [at("master", &beside)]);
    let kept = alice.commits(&app, second.id, None).await.unwrap().commits;
    assert_eq!(kept, [second.sealed.clone(), first.sealed.clone()]);

    // Back to a commit that the branch has, with nothing to send.
    let upload = alice.begin_upload(&app).await.unwrap();
    let back = finish(&[], vec![forced(&beside, &first)]);
    alice.finish_upload(&app, &upload, &back).await.unwrap();
    assert_eq!(heads(&alice).await, [at("master", &first)]);
    // An update that leaves nothing needs no force, and may have it.
    let upload = alice.begin_upload(&app).await.unwrap();
    let on = finish(&[], vec![forced(&first, &second)]);
    alice.finish_upload(&app, &upload, &on).await.unwrap();
    assert_eq!(heads(&alice).await, [at("master", &second)]);
}

#[tokio::test]
async fn of_several_forced_pushes_at_once_one_wins() {
    let (_hub, alice, _, [first, second, _]) = forked().await;
    let app = dot("alice/app");
    let mut pushes = Vec::new();
    for n in 0..4u8 {
        let (alice, app) = (alice.clone(), app.clone());
        let files = files(&[("a", &[n; 100])]);
        let made = commit(&first, &files);
        let forced = BranchUpdate {
            force: true,
            ..update(Some(&second), &made)
        };
        pushes.push(tokio::spawn(async move {
            let upload = alice.begin_upload(&app).await.unwrap();
            alice
                .send_pack(&app, &upload, pack(&files.objects))
                .await
                .unwrap();
            let request = finish(&[&made], vec![forced]);
            (alice.finish_upload(&app, &upload, &request).await, made)
        }));
    }
    let mut winners = Vec::new();
    for push in pushes {
        match push.await.unwrap() {
            (Ok(_), made) => winners.push(made),
            (answer, _) => drop(refused(answer, ErrorCode::Behind)),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(heads(&alice).await, [at("master", &winners[0])]);
}
