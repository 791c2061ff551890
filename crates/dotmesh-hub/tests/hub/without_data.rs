//! Commits without data: a record, a root and a seal, without the objects of the tree. A user who has the data can
//! send it later.

use std::time::Duration;

use dotmesh_api::hub::{Access, BranchUpdate, FinishUpload};
use dotmesh_api::{ClientError, ErrorCode, HubClient};
use dotmesh_hub_model::quota::Quota;
use dotmesh_hub_service::backup::{BackupFolder, take};
use dotmesh_hub_service::operations::collect_garbage::collect_garbage;
use dotmesh_hub_service::operations::commit_facts::commit_facts;
use dotmesh_hub_service::operations::size_history::size_history;
use dotmesh_hub_service::settings::Settings;
use dotmesh_model::{DotName, LeftOut, LeftOutItem, ObjectHash};
use dotmesh_store::{Kind, Object};
use serde_json::{Value, json};

use crate::ambient;
use crate::api::Api;
use crate::backup::{has, restore_into};
use crate::browse::open;
use crate::deltas::{delta_pack, noise};
use crate::pages::Browser;
use crate::place::Place;
use crate::support::{
    Files, Made, TestHub, branch, commit, dot, files, finish, pack, push, push_first, refused,
    root_commit, update,
};

/// The commit as it is sent without its data.
fn bare(made: &Made) -> Made {
    let mut made = made.clone();
    made.sealed.without_data = true;
    made
}

/// A chain of three commits with different files.
fn line(contents: [&[u8]; 3]) -> Vec<(Made, Files)> {
    let mut line: Vec<(Made, Files)> = Vec::new();
    for content in contents {
        let files = files(&[("a", content), ("b", b"the same in all")]);
        let parent = line
            .last()
            .map_or_else(root_commit, |(made, _)| made.clone());
        line.push((commit(&parent, &files), files));
    }
    line
}

/// Sends objects, and finishes with commits.
async fn send(
    client: &HubClient,
    dot: &DotName,
    objects: &[Object],
    commits: &[&Made],
    branches: Vec<BranchUpdate>,
) -> Result<(), ClientError> {
    let upload = client.begin_upload(dot).await?;
    client.send_pack(dot, &upload, pack(objects)).await?;
    let request = finish(commits, branches);
    client.finish_upload(dot, &upload, &request).await.map(drop)
}

/// Pushes a chain to master, with the first two commits without data.
async fn push_partial(client: &HubClient, dot: &DotName) -> Vec<(Made, Files)> {
    let line = line([b"one", b"two", b"three"]);
    let [(one, _), (two, _), (three, files)] = &line[..] else {
        unreachable!()
    };
    let commits = [&bare(one), &bare(two), three];
    send(
        client,
        dot,
        &files.objects,
        &commits,
        vec![update(None, three)],
    )
    .await
    .unwrap();
    line
}

/// For each commit of a dot's master, oldest first: whether it has no data.
async fn without(client: &HubClient, dot: &DotName, head: &Made) -> Vec<bool> {
    let list = client.commits(dot, head.id, None).await.unwrap();
    let all = list.commits.iter().rev().map(|commit| commit.without_data);
    let all: Vec<bool> = all.collect();
    let count = all.iter().filter(|without| **without).count();
    let told = client.without_data(dot).await.unwrap().commits;
    assert_eq!(told.len(), count);
    let there = client.dot(dot).await.unwrap().unwrap();
    assert_eq!(there.without_data, count as u64);
    let listed = client.dots().await.unwrap();
    let listed = listed.iter().find(|listed| listed.name == *dot).unwrap();
    assert_eq!(listed.without_data, count as u64);
    all
}

#[tokio::test]
async fn it_is_known_and_nothing_of_it_can_be_had() {
    let hub = TestHub::start().await;
    assert!(
        hub.user("bob")
            .await
            .version()
            .await
            .unwrap()
            .commits_without_data
    );
    let (alice, key) = hub.user_with_secret("alice").await;
    let app = dot("alice/app");
    let line = push_partial(&alice, &app).await;
    let [(one, files), (two, _), (three, here)] = &line[..] else {
        unreachable!()
    };
    assert_eq!(without(&alice, &app, three).await, [true, true, false]);
    has(&alice, "alice/app", here).await;
    refused(
        alice.objects(&app, &[files.root()]).await,
        ErrorCode::NotFound,
    );
    // A reference resolves, because the hub has the commit's record.
    let api = Api::new(&hub, &key);
    let found = api
        .done(
            "GET",
            &format!("dots/alice/app/refs/{}", one.id),
            Value::Null,
        )
        .await;
    assert_eq!(found["commit"], one.id.to_string());
    let found = api
        .done("GET", "search?q=message&in=commits", Value::Null)
        .await;
    assert_eq!(found["found"].as_array().unwrap().len(), 3, "{found}");
    api.done(
        "POST",
        "dots/alice/app/notes",
        json!({"commit": two.id, "body": "a note"}),
    )
    .await;

    // A client that does not know the member can read the list.
    let list = alice.commits(&app, three.id, None).await.unwrap();
    let mut plain = serde_json::to_value(&list).unwrap();
    for commit in plain["commits"].as_array_mut().unwrap() {
        commit.as_object_mut().unwrap().remove("without_data");
    }
    assert_eq!(plain["commits"][2]["record"], one.sealed.record);
}

#[tokio::test]
async fn no_name_leads_to_it() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let app = dot("alice/app");
    let all = line([b"one", b"two", b"three"]);
    let [(one, _), (two, _), (three, files)] = &all[..] else {
        unreachable!()
    };
    let at = |name: &str, made: &Made| BranchUpdate {
        name: branch(name),
        old: None,
        new: made.id,
        stash: None,
        force: false,
    };
    // A branch cannot have such a head: alone, beside a complete branch, or for a commit that the hub already has.
    let alone = send(&alice, &app, &[], &[&bare(one)], vec![at("master", one)]).await;
    let error = refused(alone, ErrorCode::Incomplete);
    assert!(
        error.message.contains("the data of that commit is neither"),
        "{error:?}"
    );
    let commits = [&bare(one), &bare(two), three];
    let both = vec![at("master", three), at("old", two)];
    let both = send(&alice, &app, &files.objects, &commits, both).await;
    refused(both, ErrorCode::Incomplete);
    assert!(
        alice.dot(&app).await.unwrap().is_none(),
        "nothing is visible"
    );
    let both = vec![at("master", three)];
    send(&alice, &app, &files.objects, &commits, both)
        .await
        .unwrap();
    let later = send(&alice, &app, &[], &[], vec![at("old", two)]).await;
    refused(later, ErrorCode::Incomplete);
    let again = send(&alice, &app, &[], &[&bare(two)], vec![at("old", two)]).await;
    refused(again, ErrorCode::Incomplete);

    // A branch cannot be moved there either, with or without a stash for the old line.
    let other = commit(&root_commit(), files);
    for stash in [None, Some(branch("kept"))] {
        let back = BranchUpdate {
            name: branch("master"),
            old: Some(three.id),
            new: other.id,
            stash,
            force: false,
        };
        let back = send(&alice, &app, &[], &[&bare(&other)], vec![back]).await;
        refused(back, ErrorCode::Incomplete);
    }

    let api = Api::new(&hub, &key);
    for (place, body) in [
        ("branches/old", json!({"at": two.id})),
        ("tags/old", json!({"at": two.id})),
    ] {
        let path = format!("dots/alice/app/{place}");
        let (status, answer) = api.call("PUT", &path, body).await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("absent")),
            "{answer}"
        );
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("does not have the data"), "{answer}");
    }
    let there = alice.dot(&app).await.unwrap().unwrap();
    assert_eq!(there.branches.len(), 1);
    assert_eq!(
        api.done("GET", "dots/alice/app/tags", Value::Null).await,
        json!([])
    );
}

#[tokio::test]
async fn it_is_verified_as_all_others_are() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let all = line([b"one", b"two", b"three"]);
    let [(one, _), (two, _), (three, files)] = &all[..] else {
        unreachable!()
    };
    let refuse = async |commits: &[&Made], code| {
        let sent = send(
            &alice,
            &app,
            &files.objects,
            commits,
            vec![update(None, three)],
        )
        .await;
        refused(sent, code);
    };
    let mut forged = bare(one);
    forged.sealed.root = ObjectHash::from_bytes([7; 32]);
    refuse(&[&forged, &bare(two), three], ErrorCode::Corrupt).await;
    refuse(&[&bare(two), three], ErrorCode::Incomplete).await;
    refuse(&[&bare(one), one, &bare(two), three], ErrorCode::Invalid).await;
    let mut broken = bare(one);
    broken.sealed.record = "{}".to_owned();
    refuse(&[&broken, &bare(two), three], ErrorCode::Corrupt).await;
    // A commit with data is checked fully, even if the others have none.
    let sent = send(
        &alice,
        &app,
        &[],
        &[&bare(one), two],
        vec![update(None, two)],
    )
    .await;
    refused(sent, ErrorCode::Incomplete);

    push_partial(&alice, &dot("alice/other")).await;
    send(
        &alice,
        &app,
        &files.objects,
        &[&bare(one), &bare(two), three],
        vec![update(None, three)],
    )
    .await
    .unwrap();
    // Another commit with the same id is still refused.
    let mut other = bare(one);
    other.sealed.root = files.root();
    let record = other.sealed.record.as_bytes();
    other.sealed.seal = dotmesh_store::seal(dotmesh_store::ROOT_SEAL, record, files.root());
    let sent = send(&alice, &app, &[], &[&other], vec![]).await;
    refused(sent, ErrorCode::Exists);
}

#[tokio::test]
async fn who_has_the_data_fills_it_in() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let line = push_partial(&alice, &app).await;
    let [(one, old), (two, _), (three, here)] = &line[..] else {
        unreachable!()
    };
    let open = open(&hub, &app).await;
    let facts = async || commit_facts(&hub.hub, &open, three.id).await.unwrap();
    let before = facts().await;
    assert!(before.complete && before.change_unknown);
    assert_eq!(before.total.files, 2);
    assert!(before.subdots.iter().all(|subdot| !subdot.is_changed()));
    commit_facts(&hub.hub, &open, two.id).await.unwrap_err();

    // Part of the data is not enough. Nothing changes.
    let some = send(&alice, &app, &old.objects[2..], &[one], vec![]).await;
    refused(some, ErrorCode::Incomplete);
    assert_eq!(without(&alice, &app, three).await, [true, true, false]);

    // The second commit is completed before the first. Users with the data send its list of left-out files, too.
    let mut filled = two.clone();
    filled.sealed.left_out = Some(LeftOut {
        count: 1,
        items: vec![LeftOutItem {
            path: "null".to_owned(),
            reason: "a device node".to_owned(),
        }],
    });
    let objects = &line[1].1.objects;
    let upload = alice.begin_upload(&app).await.unwrap();
    alice.send_pack(&app, &upload, pack(objects)).await.unwrap();
    let request = finish(&[&filled], vec![]);
    for _ in 0..2 {
        alice.finish_upload(&app, &upload, &request).await.unwrap();
        assert_eq!(without(&alice, &app, three).await, [true, false, false]);
    }
    has(&alice, "alice/app", &line[1].1).await;
    let list = alice.commits(&app, two.id, None).await.unwrap();
    assert_eq!(list.commits[0].left_out, filled.sealed.left_out);
    // The next commit's changes can be computed now.
    let after = facts().await;
    assert!(after.complete && !after.change_unknown);
    assert!(after.subdots[0].is_changed());
    assert!(
        commit_facts(&hub.hub, &open, two.id)
            .await
            .unwrap()
            .change_unknown
    );

    // A push without data does not remove data that the hub has.
    let commits = [&bare(one), &bare(two), &bare(three)];
    send(
        &alice,
        &app,
        &[],
        &commits,
        vec![update(Some(three), three)],
    )
    .await
    .unwrap();
    assert_eq!(without(&alice, &app, three).await, [true, false, false]);
    // The push that adds the data also makes a branch to the commit.
    let at = BranchUpdate {
        name: branch("old"),
        old: None,
        new: one.id,
        stash: None,
        force: false,
    };
    send(&alice, &app, &old.objects, &[one], vec![at])
        .await
        .unwrap();
    assert_eq!(without(&alice, &app, three).await, [false; 3]);
    has(&alice, "alice/app", old).await;
    has(&alice, "alice/app", here).await;
}

/// The check of a child assumes that the dot has the parent's whole tree. A commit without data has nothing, even if
/// the pusher could use its tree.
#[tokio::test]
async fn what_it_names_is_not_taken_for_the_dots() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let all = line([b"one", b"two", b"three"]);
    let [(one, first), (two, second), (three, third)] = &all[..] else {
        unreachable!()
    };
    // Another dot of Alice's has all objects, so she need not send any.
    let complete = dot("alice/complete");
    push(&alice, &complete, None, one, first).await.unwrap();
    push(&alice, &complete, Some(one), two, second)
        .await
        .unwrap();
    push(&alice, &complete, Some(two), three, third)
        .await
        .unwrap();

    // Both commits come in one push.
    let app = dot("alice/app");
    send(
        &alice,
        &app,
        &[],
        &[&bare(one), two],
        vec![update(None, two)],
    )
    .await
    .unwrap();
    has(&alice, "alice/app", second).await;
    // The parent without data is already in the dot.
    let app = dot("alice/again");
    let other = commit(one, third);
    send(
        &alice,
        &app,
        &[],
        &[&bare(one), two],
        vec![update(None, two)],
    )
    .await
    .unwrap();
    let at = BranchUpdate {
        name: branch("other"),
        old: None,
        new: other.id,
        stash: None,
        force: false,
    };
    send(&alice, &app, &[], &[&other], vec![at]).await.unwrap();
    has(&alice, "alice/again", third).await;
    // Here a commit without data is between two that have it.
    let app = dot("alice/between");
    let commits = [one, &bare(two), three];
    send(&alice, &app, &[], &commits, vec![update(None, three)])
        .await
        .unwrap();
    has(&alice, "alice/between", third).await;
    has(&alice, "alice/between", first).await;
    let chunk = second.chunk().hash();
    refused(
        alice.objects(&app, &[second.root()]).await,
        ErrorCode::NotFound,
    );
    refused(alice.objects(&app, &[chunk]).await, ErrorCode::NotFound);
    // The dot does not need the objects of the first dot.
    alice.delete_dot(&complete).await.unwrap();
    has(&alice, "alice/between", third).await;
}

/// Naming the root of another user's commit reveals nothing and gives no access.
#[tokio::test]
async fn a_hash_that_it_names_opens_nothing() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (mallory, key) = hub.user_with_secret("mallory").await;
    let secret = files(&[("a", &noise(1, 16_000)), ("b", b"the secret")]);
    let made = commit(&root_commit(), &secret);
    push(&alice, &dot("alice/secret"), None, &made, &secret)
        .await
        .unwrap();
    let shared = dot("alice/shared");
    let (base, _) = push_first(&alice, &shared, b"not secret").await;
    let user = "mallory".parse().unwrap();
    alice.grant(&shared, &user, Access::Write).await.unwrap();
    // One root that the hub has, and one that no one has. Both must get the same answers.
    let nowhere = files(&[("a", &noise(2, 16_000)), ("b", b"never sent")]);
    let mut answers: Vec<Vec<String>> = Vec::new();
    for (n, target) in [&secret, &nowhere].into_iter().enumerate() {
        let mut told: Vec<String> = Vec::new();
        for (place, parent) in [
            (dot(&format!("mallory/own{n}")), root_commit()),
            (shared.clone(), base.clone()),
        ] {
            let claim = commit(&parent, target);
            let own = files(&[("a", b"mallory's"), ("c", &[n as u8])]);
            let child = commit(&claim, &own);
            let at = BranchUpdate {
                name: branch(&format!("claim{n}")),
                old: None,
                new: child.id,
                stash: None,
                force: false,
            };
            send(
                &mallory,
                &place,
                &own.objects,
                &[&bare(&claim), &child],
                vec![at],
            )
            .await
            .unwrap();
            // Request objects by hash, and as children of a tree page.
            for object in &target.objects {
                let hash = object.hash();
                let got = mallory.objects(&place, &[hash]).await;
                let error = refused(got, ErrorCode::NotFound);
                let told_of = error.message.replace(&hash.to_string(), "HASH");
                told.push(told_of.replace(&place.full(), "DOT"));
                let upload = mallory.begin_upload(&place).await.unwrap();
                let missing = mallory.missing(&place, &upload, &[hash]).await.unwrap();
                told.push(format!("{}", missing.len()));
            }
            // A later push claims the same root, or the objects below it.
            let same = commit(&claim, target);
            let sent = send(&mallory, &place, &[], &[&same], vec![]).await;
            told.push(
                refused(sent, ErrorCode::Incomplete)
                    .code
                    .as_str()
                    .to_owned(),
            );
            let pages = target
                .objects
                .iter()
                .filter(|object| object.kind() != Kind::Chunk);
            let pages: Vec<Object> = pages.cloned().collect();
            let sent = send(&mallory, &place, &pages, &[&same], vec![]).await;
            told.push(
                refused(sent, ErrorCode::Incomplete)
                    .code
                    .as_str()
                    .to_owned(),
            );
            // Completing the commit requires every byte.
            let sent = send(&mallory, &place, &pages, &[&claim], vec![]).await;
            told.push(
                refused(sent, ErrorCode::Incomplete)
                    .code
                    .as_str()
                    .to_owned(),
            );
            // Use one as a delta base.
            told.push(delta_refused(&mallory, &place, target).await);
            // Request pages and API routes.
            let full = place.full();
            let api = Api::new(&hub, &key);
            for path in [
                format!("tree/{}", claim.id),
                format!("tree/{}/data/a", claim.id),
                format!("raw/{}/data/a", claim.id),
                format!("archive/{}", claim.id),
                format!("compare/{}...{}", claim.id, child.id),
                format!("compare/{}...{}", child.id, claim.id),
                format!("commit/{}", claim.id),
                format!("commit/{}", child.id),
                "graph".to_owned(),
                "activity".to_owned(),
            ] {
                let url = format!("{}/{full}/{path}", hub.url);
                let request = reqwest::Client::new().get(url).bearer_auth(&key);
                let answer = request.send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert!(
                    !text.contains("the secret") && !text.contains("never sent"),
                    "{path}"
                );
                told.push(format!("{} {status}", path.split('/').next().unwrap()));
            }
            let fork = json!({"name": format!("fork{n}{}", place.name())});
            api.done("POST", &format!("dots/{full}/fork"), fork).await;
            let fork = dot(&format!("mallory/fork{n}{}", place.name()));
            for hash in [target.root(), target.chunk().hash()] {
                refused(mallory.objects(&fork, &[hash]).await, ErrorCode::NotFound);
            }
        }
        answers.push(told);
    }
    assert_eq!(answers[0], answers[1]);
}

/// The error code for a delta whose base is a chunk of a target.
async fn delta_refused(client: &HubClient, dot: &DotName, target: &Files) -> String {
    let base = target.chunk();
    let mut bytes = base.bytes().to_vec();
    bytes[5000..5008].copy_from_slice(b"changed!");
    let object = Object::new(Kind::Chunk, bytes);
    let upload = client.begin_upload(dot).await.unwrap();
    let sent = client.send_pack(dot, &upload, delta_pack([(&object, base)]));
    let error = refused(sent.await, ErrorCode::Incomplete);
    error.message.replace(&base.hash().to_string(), "HASH")
}

#[tokio::test]
async fn pushes_at_the_same_time_end_as_one_after_the_other() {
    let hub = TestHub::start().await;
    let (alice, bob) = (hub.user("alice").await, hub.user("bob").await);
    for round in 0..5u8 {
        let app = dot(&format!("alice/app{round}"));
        let line = push_partial(&alice, &app).await;
        let [(one, old), (two, middle), (three, _)] = &line[..] else {
            unreachable!()
        };
        let user = "bob".parse().unwrap();
        alice.grant(&app, &user, Access::Write).await.unwrap();
        let next_files = files(&[("a", &[round]), ("b", b"the same in all")]);
        let next = commit(three, &next_files);
        let both = [&old.objects[..], &middle.objects[..]].concat();
        let (a, b, c, d) = tokio::join!(
            async { send(&alice, &app, &old.objects, &[one], vec![]).await },
            async { send(&bob, &app, &both, &[one, two], vec![]).await },
            async { send(&bob, &app, &[], &[&bare(one), &bare(two)], vec![]).await },
            push(&alice, &app, Some(three), &next, &next_files),
        );
        for result in [a, b, c, d] {
            result.unwrap();
        }
        assert_eq!(without(&alice, &app, &next).await, [false; 4]);
        for files in [old, middle, &next_files] {
            has(&alice, &app.full(), files).await;
        }
    }
}

/// The same commit arrives with its data and without, at the same time.
#[tokio::test]
async fn whoever_comes_first_the_data_is_there_in_the_end() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    for round in 0..5u8 {
        let app = dot(&format!("alice/app{round}"));
        let (base, _) = push_first(&alice, &app, b"base").await;
        let old = files(&[("a", &[round, 1])]);
        let new = files(&[("a", &[round, 2])]);
        let one = commit(&base, &old);
        let two = commit(&one, &new);
        let at = |name: &str| BranchUpdate {
            name: branch(name),
            old: None,
            new: two.id,
            stash: None,
            force: false,
        };
        let all = [&old.objects[..], &new.objects[..]].concat();
        let whole = async { send(&alice, &app, &all, &[&one, &two], vec![at("whole")]).await };
        let partial = async {
            let commits = [&bare(&one), &two];
            send(&alice, &app, &new.objects, &commits, vec![at("partial")]).await
        };
        let (whole, partial) = tokio::join!(whole, partial);
        whole.unwrap();
        partial.unwrap();
        assert_eq!(without(&alice, &app, &two).await, [false; 3]);
        has(&alice, &app.full(), &old).await;
        has(&alice, &app.full(), &new).await;
    }
}

#[tokio::test]
async fn forks_the_trash_collections_and_backups_keep_it_as_it_is() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let (bob, bobs) = hub.user_with_secret("bob").await;
    let app = dot("alice/app");
    let line = push_partial(&alice, &app).await;
    let [(one, old), _, (three, here)] = &line[..] else {
        unreachable!()
    };
    let user = "bob".parse().unwrap();
    alice.grant(&app, &user, Access::Write).await.unwrap();
    let (api, bob_api) = (Api::new(&hub, &key), Api::new(&hub, &bobs));
    for api in [&api, &bob_api] {
        api.done("POST", "dots/alice/app/fork", json!({"name": "fork"}))
            .await;
    }
    let (own, theirs) = (dot("alice/fork"), dot("bob/fork"));
    assert_eq!(without(&alice, &own, three).await, [true, true, false]);
    assert_eq!(without(&bob, &theirs, three).await, [true, true, false]);
    // Completing one commit does not complete the others, not even within the namespace.
    send(&bob, &theirs, &old.objects, &[one], vec![])
        .await
        .unwrap();
    send(&alice, &own, &old.objects, &[one], vec![])
        .await
        .unwrap();
    assert_eq!(without(&bob, &theirs, three).await, [false, true, false]);
    assert_eq!(without(&alice, &app, three).await, [true, true, false]);
    refused(
        alice.objects(&app, &[old.root()]).await,
        ErrorCode::NotFound,
    );

    alice.delete_dot(&app).await.unwrap();
    let trash = api.done("GET", "trash", Value::Null).await;
    let path = format!("trash/{}/restore", trash[0]["id"].as_str().unwrap());
    api.done("POST", &path, Value::Null).await;
    assert_eq!(without(&alice, &app, three).await, [true, true, false]);
    let later = ambient::now() + Duration::from_secs(24 * 60 * 60);
    let (database, packs) = (&hub.hub.database, &hub.hub.packs);
    collect_garbage(database, packs, later, Duration::ZERO)
        .await
        .unwrap();
    has(&alice, "alice/app", here).await;
    has(&alice, "alice/fork", old).await;
    assert_eq!(without(&alice, &app, three).await, [true, true, false]);

    let folder = tempfile::tempdir().unwrap();
    let to = BackupFolder::create(folder.path()).unwrap();
    take(database, packs, &to, &ambient::clock(), &ambient::random())
        .await
        .unwrap();
    let place = Place::new().await;
    restore_into(&place, folder.path()).await.unwrap();
    let restored = TestHub::start_in(place).await;
    let alice = restored.client("alice", &key);
    assert_eq!(without(&alice, &app, three).await, [true, true, false]);
    assert_eq!(without(&alice, &own, three).await, [false, true, false]);
    send(&alice, &app, &old.objects, &[one], vec![])
        .await
        .unwrap();
    assert_eq!(without(&alice, &app, three).await, [false, true, false]);
}

#[tokio::test]
async fn pages_say_that_its_data_is_not_here() {
    let hub = TestHub::start().await;
    let mut browser = Browser::logged_in(&hub, "alice").await;
    let (bob, _) = hub.user_with_secret("bob").await;
    let app = dot("bob/app");
    let line = push_partial(&bob, &app).await;
    let [(one, _), (two, middle), (three, _)] = &line[..] else {
        unreachable!()
    };
    bob.grant(&app, &"alice".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    let mut page = async |path: String| {
        let answer = browser.get(&format!("/bob/app{path}")).await;
        (answer.status.as_u16(), answer.body)
    };
    const NOT_HERE: &str = "The hub does not have the data of this commit";
    let (status, shown) = page(format!("/commit/{}", two.id)).await;
    assert!(status == 200 && shown.contains(NOT_HERE), "{shown}");
    for offer in [
        "dm clone",
        "Browse the files",
        "Compare with",
        "Create a branch",
        "tree/",
    ] {
        assert!(!shown.contains(offer), "{offer}: {shown}");
    }
    let (_, shown) = page(format!("/commit/{}", three.id)).await;
    assert!(
        !shown.contains(NOT_HERE) && shown.contains("dm clone"),
        "{shown}"
    );
    assert!(
        shown.contains("You cannot compare it with its parent"),
        "{shown}"
    );
    assert!(!shown.contains("Compare with its parent"), "{shown}");
    assert!(shown.contains("The changes are unknown"), "{shown}");
    for (list, count) in [("/commits/master", 2), ("/graph", 2), ("/activity", 8)] {
        let (status, shown) = page(list.to_owned()).await;
        let marks = shown.matches("no data on the hub").count();
        assert_eq!((status, marks), (200, count), "{list}: {shown}");
    }
    for path in [
        format!("/tree/{}", two.id),
        format!("/tree/{}/data/a", two.id),
        format!("/raw/{}/data/a", two.id),
        format!("/archive/{}", two.id),
        format!("/compare/{}...{}", one.id, three.id),
        format!("/compare/master...{}", one.id),
    ] {
        let (status, shown) = page(path.clone()).await;
        assert_eq!(status, 409, "{path}: {shown}");
        assert!(shown.contains("it was pushed without its data"), "{shown}");
    }
    // The pages of the dot and of its newest commit work as usual.
    for path in ["", "/tree/master", "/compare/master...master"] {
        assert_eq!(page(path.to_owned()).await.0, 200, "{path}");
    }
    let open = open(&hub, &app).await;
    let counted = size_history(&hub.hub, &open, 10).await.unwrap();
    let counted = counted.iter().map(|counted| counted.facts.is_some());
    assert_eq!(counted.collect::<Vec<_>>(), [false, false, true]);

    send(&bob, &app, &middle.objects, &[two], vec![])
        .await
        .unwrap();
    let (_, shown) = page(format!("/commit/{}", two.id)).await;
    assert!(
        !shown.contains(NOT_HERE) && shown.contains("Browse the files"),
        "{shown}"
    );
    let (_, shown) = page(format!("/commit/{}", three.id)).await;
    assert!(shown.contains("Compare with its parent"), "{shown}");
    assert!(shown.contains("those since the parent commit"), "{shown}");
    let (_, shown) = page("/activity".to_owned()).await;
    assert!(
        shown.contains("pushed the data of 1 older commit"),
        "{shown}"
    );
}

/// A commit without data uses no quota. Its data counts when it arrives.
#[tokio::test]
async fn its_data_counts_when_it_comes() {
    let settings = Settings {
        quota: Some(20_000),
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let large = files(&[("a", &noise(3, 30_000))]);
    let one = commit(&root_commit(), &large);
    let small = files(&[("a", b"small")]);
    let two = commit(&one, &small);
    let commits = [&bare(&one), &two];
    send(
        &alice,
        &app,
        &small.objects,
        &commits,
        vec![update(None, &two)],
    )
    .await
    .unwrap();
    let filling = send(&alice, &app, &large.objects, &[&one], vec![]).await;
    refused(filling, ErrorCode::NoSpace);
    assert_eq!(without(&alice, &app, &two).await, [true, false]);
    let name = "alice".parse().unwrap();
    let quota = Quota::Unlimited;
    let set = hub
        .hub
        .database
        .set_quota(&name, quota, &name, ambient::now());
    assert!(set.await.unwrap());
    send(&alice, &app, &large.objects, &[&one], vec![])
        .await
        .unwrap();
    assert_eq!(without(&alice, &app, &two).await, [false; 2]);
}

/// Version 1 of the protocol has no such member. Its messages mean commits with data.
#[test]
fn messages_of_before_are_with_data() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/v1/hub/finish.json"
    );
    let message = std::fs::read(file).unwrap();
    let request: FinishUpload = serde_json::from_slice(&message).unwrap();
    assert!(request.commits.iter().all(|commit| !commit.without_data));
    let again = serde_json::to_value(&request).unwrap();
    assert!(!again.to_string().contains("without_data"));
}
