//! A fork shares the origin's history and objects, and nothing else.

use std::collections::BTreeSet;

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{Files, TestHub, commit, dot, files, push, push_first, refused, root_commit};

#[tokio::test]
async fn a_fork_goes_on_by_itself() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let alices = Api::new(&hub, &key);
    let (bob, key) = hub.user_with_secret("bob").await;
    let bobs = Api::new(&hub, &key);
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    alices
        .done("PUT", "dots/alice/app/tags/v1", json!({"at": "master"}))
        .await;
    let fork = json!({"name": "fork"});
    let path = "dots/alice/app/fork";
    assert_eq!(bobs.refused("POST", path, fork.clone()).await, "not_found");
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Read)
        .await
        .unwrap();
    // The owner decides whether readers may fork. Writers may by default.
    let settings = "dots/alice/app/settings";
    assert_eq!(bobs.refused("POST", path, fork.clone()).await, "forbidden");
    let shown = bobs.done("GET", settings, Value::Null).await;
    assert_eq!(shown["forks"], "writers");
    let readers = json!({"forks": "anyone-who-reads"});
    assert_eq!(
        bobs.refused("PATCH", settings, readers.clone()).await,
        "forbidden"
    );
    alices.done("PATCH", settings, readers).await;
    assert_eq!(bobs.done("POST", path, fork.clone()).await, "bob/fork");
    assert_eq!(bobs.refused("POST", path, fork).await, "exists");

    // From now on the fork needs neither the origin nor his access to it.
    let fork = dot("bob/fork");
    assert_eq!(alice.dot(&fork).await.unwrap().map(|dot| dot.name), None);
    alice.revoke(&app, &"bob".parse().unwrap()).await.unwrap();
    let settings = bobs
        .done("GET", "dots/bob/fork/settings", Value::Null)
        .await;
    assert_eq!(settings["forked_from"], Value::Null);
    let second = commit(&first, &files);
    push(&bob, &fork, Some(&first), &second, &files)
        .await
        .unwrap();
    bob.objects(&fork, &files.hashes()).await.unwrap();
    assert_eq!(
        bobs.done("GET", "dots/bob/fork/tags", Value::Null).await[0]["name"],
        "v1"
    );

    // The fork's commits go back to the origin, because both share a history.
    bob.grant(&fork, &"alice".parse().unwrap(), Access::Read)
        .await
        .unwrap();
    assert_eq!(
        alices
            .done("GET", "dots/alice/app/forks", Value::Null)
            .await,
        json!(["bob/fork"])
    );
    let line = alice
        .commits(&fork, second.id, Some(first.id))
        .await
        .unwrap();
    assert_eq!(line.commits.len(), 1);
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    alice.delete_dot(&app).await.unwrap();
    bob.objects(&fork, &files.hashes()).await.unwrap();
    assert_eq!(
        bob.commits(&fork, second.id, None)
            .await
            .unwrap()
            .commits
            .len(),
        2
    );
}

/// A tree of the model. Few contents exist, so the dots overlap.
fn tree(contents: &BTreeSet<u8>) -> Files {
    let named: Vec<(String, Vec<u8>)> = contents
        .iter()
        .map(|n| (format!("f{n}"), vec![*n; 100]))
        .collect();
    let refs: Vec<(&str, &[u8])> = named
        .iter()
        .map(|(n, c)| (n.as_str(), c.as_slice()))
        .collect();
    files(&refs)
}

/// Dots of two users with random contents, and random forks of Alice's dots. Each fork has exactly the objects of its
/// origin.
#[test]
fn a_fork_has_what_its_origin_has_and_nothing_more() {
    let contents = || prop::collection::btree_set(0..6u8, 1..4);
    let case = (
        prop::collection::vec(prop::collection::vec(contents(), 1..3), 1..4),
        prop::collection::vec(contents(), 0..3),
        prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..4),
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&case, |(hers, his, forks)| {
        runtime.block_on(check(hers, his, forks));
        Ok(())
    });
    result.unwrap();
}

async fn check(
    hers: Vec<Vec<BTreeSet<u8>>>,
    his: Vec<BTreeSet<u8>>,
    forks: Vec<(prop::sample::Index, bool)>,
) {
    let hub = TestHub::start().await;
    let (alice, alice_key) = hub.user_with_secret("alice").await;
    let (bob, bob_key) = hub.user_with_secret("bob").await;
    let (alices, bobs) = (Api::new(&hub, &alice_key), Api::new(&hub, &bob_key));
    let mut universe = BTreeSet::new();
    let mut models = Vec::new();
    for (n, commits) in hers.iter().enumerate() {
        let name = dot(&format!("alice/d{n}"));
        let (mut head, mut old) = (root_commit(), None);
        let mut has = BTreeSet::new();
        for contents in commits {
            let files = tree(contents);
            has.extend(files.hashes());
            let next = commit(&head, &files);
            push(&alice, &name, old.as_ref(), &next, &files)
                .await
                .unwrap();
            (head, old) = (next.clone(), Some(next));
        }
        universe.extend(has.iter().copied());
        alice
            .grant(&name, &"bob".parse().unwrap(), Access::Write)
            .await
            .unwrap();
        models.push(has);
    }
    for (n, contents) in his.iter().enumerate() {
        let files = tree(contents);
        universe.extend(files.hashes());
        let made = commit(&root_commit(), &files);
        push(&bob, &dot(&format!("bob/d{n}")), None, &made, &files)
            .await
            .unwrap();
    }
    for (n, (origin, to_bob)) in forks.iter().enumerate() {
        let origin = origin.index(models.len());
        let (client, api, user) = match to_bob {
            true => (&bob, &bobs, "bob"),
            false => (&alice, &alices, "alice"),
        };
        let path = format!("dots/alice/d{origin}/fork");
        let fork = format!("fork{n}");
        api.done("POST", &path, json!({ "name": fork })).await;
        let fork = dot(&format!("{user}/{fork}"));
        for hash in &universe {
            let answer = client.objects(&fork, &[*hash]).await;
            if models[origin].contains(hash) {
                answer.unwrap();
            } else {
                refused(answer, ErrorCode::NotFound);
            }
        }
    }
    // Every fork still accepts any push.
    for (n, (_, to_bob)) in forks.iter().enumerate() {
        let (client, user) = if *to_bob {
            (&bob, "bob")
        } else {
            (&alice, "alice")
        };
        let fork = dot(&format!("{user}/fork{n}"));
        let files = tree(&(0..6).collect());
        let made = commit(&root_commit(), &files);
        let mut update = crate::support::update(None, &made);
        update.name = "beside".parse().unwrap();
        let upload = client.begin_upload(&fork).await.unwrap();
        let missing = client
            .missing(&fork, &upload, &files.hashes())
            .await
            .unwrap();
        let wanted = files
            .objects
            .iter()
            .filter(|object| missing.contains(&object.hash()));
        client
            .send_pack(&fork, &upload, crate::support::pack(wanted))
            .await
            .unwrap();
        let request = crate::support::finish(&[&made], vec![update]);
        client
            .finish_upload(&fork, &upload, &request)
            .await
            .unwrap();
        client.objects(&fork, &files.hashes()).await.unwrap();
    }
}

/// The rules of the table in `access.rs`, through the API and on the pages.
#[tokio::test]
async fn the_owner_says_who_forks_a_private_dot() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let alices = Api::new(&hub, &key);
    let app = dot("alice/app");
    push_first(&alice, &app, b"one").await;
    let mut others = Vec::new();
    for (name, access) in [
        ("maintainer", Access::Maintain),
        ("writer", Access::Write),
        ("reader", Access::Read),
    ] {
        let (_, key) = hub.user_with_secret(name).await;
        alice
            .grant(&app, &name.parse().unwrap(), access)
            .await
            .unwrap();
        others.push((Api::new(&hub, &key), key));
    }
    others.push((alices, key));
    let alices = &others[3].0;
    let settings = "dots/alice/app/settings";
    let http = reqwest::Client::new();
    for (n, (visibility, forks, allowed)) in [
        ("private", "writers", [true, true, false, true]),
        ("private", "anyone-who-reads", [true, true, true, true]),
        ("private", "nobody", [false, false, false, true]),
        ("public", "nobody", [true, true, true, true]),
    ]
    .into_iter()
    .enumerate()
    {
        let change = json!({"visibility": visibility, "forks": forks});
        alices.done("PATCH", settings, change).await;
        for ((api, key), allowed) in others.iter().zip(allowed) {
            let name = json!({"name": format!("fork{n}")});
            let (status, answer) = api.call("POST", "dots/alice/app/fork", name).await;
            let expected = if allowed { 201 } else { 403 };
            assert_eq!(status, expected, "{visibility} {forks}: {answer}");
            let page = http
                .get(format!("{}/alice/app/fork", hub.url))
                .bearer_auth(key);
            let page = page.send().await.unwrap().text().await.unwrap();
            assert_eq!(page.contains(">Fork</button>"), allowed, "{page}");
        }
    }
    let refused = alices.refused("PATCH", settings, json!({"forks": "everybody"}));
    assert_eq!(refused.await, "invalid");
    // A fork does not inherit the setting of its origin.
    let fork = alices
        .done("GET", "dots/alice/fork0/settings", Value::Null)
        .await;
    assert_eq!(
        (&fork["forks"], &fork["visibility"]),
        (&json!("writers"), &json!("private"))
    );
}
