//! Search finds only what the viewer may see, for any input.

use dotmesh_api::hub::Access;
use dotmesh_model::{CommitId, CommitRecord};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{Made, TestHub, dot, files, push, root_commit, sealed};

/// A dot with one commit for each message.
async fn dot_with(client: &dotmesh_api::HubClient, name: &str, messages: &[&str]) -> Vec<CommitId> {
    let name = dot(name);
    let files = files(&[("a", b"a")]);
    let (mut parent, mut old) = (root_commit(), None);
    let mut ids = Vec::new();
    for message in messages {
        let mut made = crate::support::commit(&parent, &files);
        let record = CommitRecord {
            message: (*message).to_owned(),
            ..CommitRecord::decode(made.sealed.record.as_bytes()).unwrap()
        };
        made.sealed = sealed(&parent, &record, files.root());
        push(client, &name, old.as_ref(), &made, &files)
            .await
            .unwrap();
        ids.push(made.id);
        parent = made.clone();
        old = Some::<Made>(made);
    }
    ids
}

async fn messages(api: &Api, words: &str) -> Vec<String> {
    let query = serde_urlencoded::to_string([("in", "commits"), ("q", words)]).unwrap();
    let answer = api
        .done("GET", &format!("search?{query}"), Value::Null)
        .await;
    let found = answer["found"].as_array().unwrap();
    let texts = found
        .iter()
        .map(|found| found["text"].as_str().unwrap().to_owned());
    texts.collect()
}

#[tokio::test]
async fn messages_are_found_where_one_may_see_them() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let alices = Api::new(&hub, &key);
    let (bob, key) = hub.user_with_secret("bob").await;
    let bobs = Api::new(&hub, &key);
    dot_with(
        &alice,
        "alice/app",
        &["The pirate flag", "A security-vulnerability: Écran"],
    )
    .await;
    dot_with(&bob, "bob/app", &["Another pirate"]).await;
    assert_eq!(messages(&alices, "pirate").await, ["The pirate flag"]);
    assert_eq!(messages(&alices, "PIRATE the").await, ["The pirate flag"]);
    assert_eq!(messages(&alices, "secur").await.len(), 1);
    assert_eq!(messages(&alices, "vulnerability écran").await.len(), 1);
    assert_eq!(messages(&alices, "vulnerability ecran").await, [""; 0]);
    assert_eq!(messages(&alices, "security pirate").await, [""; 0]);
    assert_eq!(messages(&alices, "ecurity").await, [""; 0]);
    alice
        .grant(&dot("alice/app"), &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    assert_eq!(messages(&bobs, "pirate").await.len(), 2);
    // A fork's messages are found, too. Those of a deleted dot are not.
    bobs.done("POST", "dots/alice/app/fork", json!({"name": "fork"}))
        .await;
    assert_eq!(messages(&bobs, "pirate").await.len(), 3);
    alice.delete_dot(&dot("alice/app")).await.unwrap();
    assert_eq!(messages(&bobs, "pirate").await.len(), 2);
    let later = crate::ambient::now() + std::time::Duration::from_secs(2);
    hub.hub.database.purge_dots(later).await.unwrap();
    assert_eq!(messages(&bobs, "pirate").await.len(), 2);
    // The id of a dot is not searchable text.
    for n in 0..6 {
        assert_eq!(messages(&bobs, &n.to_string()).await, [""; 0]);
    }
}

#[tokio::test]
async fn names_are_found_page_by_page() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let alices = Api::new(&hub, &key);
    let (_, key) = hub.user_with_secret("bob").await;
    let bobs = Api::new(&hub, &key);
    dot_with(&alice, "alice/shop_floor", &["x"]).await;
    for n in 0..25 {
        let path = format!("dots/alice/shop_floor/branches/try-{n}");
        alices.done("PUT", &path, json!({"at": "master"})).await;
    }
    alices
        .done(
            "PUT",
            "dots/alice/shop_floor/tags/v1",
            json!({"at": "master", "message": "100% done"}),
        )
        .await;
    let description = json!({"description": "All of the shop's *orders*"});
    alices
        .done("PATCH", "dots/alice/shop_floor/settings", description)
        .await;
    let count = async |api: &Api, query: &str| {
        let answer = api
            .done("GET", &format!("search?{query}"), Value::Null)
            .await;
        (
            answer["found"].as_array().unwrap().len(),
            answer["more"].as_bool().unwrap(),
        )
    };
    assert_eq!(count(&alices, "q=try&in=branches").await, (20, true));
    assert_eq!(count(&alices, "q=try&in=branches&page=2").await, (5, false));
    assert_eq!(count(&alices, "q=try+24&in=branches").await, (1, false));
    assert_eq!(count(&alices, "q=orders").await, (1, false));
    assert_eq!(count(&alices, "q=alice+FLOOR&in=dots").await, (1, false));
    assert_eq!(count(&alices, "q=%25&in=tags").await, (0, false));
    assert_eq!(count(&alices, "q=100%25&in=tags").await, (1, false));
    assert_eq!(count(&alices, "q=").await, (0, false));
    for place in ["dots", "branches", "tags", "commits"] {
        for word in ["shop", "try", "v1", "x"] {
            assert_eq!(
                count(&bobs, &format!("q={word}&in={place}")).await,
                (0, false)
            );
        }
    }
    assert_eq!(
        alices
            .refused("GET", "search?q=a&in=users", Value::Null)
            .await,
        "invalid"
    );
    alices
        .done(
            "PATCH",
            "dots/alice/shop_floor/settings",
            json!({"visibility": "public"}),
        )
        .await;
    assert_eq!(count(&bobs, "q=shop").await, (1, false));
}

/// Any input is only a list of words. No input fails, and each result has all of the words.
#[test]
fn nothing_that_is_typed_is_a_query() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (hub, api) = runtime.block_on(async {
        let hub = TestHub::start().await;
        let (alice, key) = hub.user_with_secret("alice").await;
        dot_with(
            &alice,
            "alice/app",
            &["needle in a haystack", "NEAR and NOT or"],
        )
        .await;
        let api = Api::new(&hub, &key);
        (hub, api)
    });
    let syntax = prop::sample::select(vec![
        "\"",
        "'",
        "*",
        ":",
        "(",
        ")",
        "{",
        "}",
        "^",
        "+",
        "-",
        "AND",
        "OR",
        "NOT",
        "NEAR(",
        "dot",
        "message",
        "needle",
        " ",
        "\\",
        "&",
        "|",
        "!",
        "<->",
        "%",
        "_",
        "#1",
        "\0",
        ";--",
        "é",
        "İ",
        "²",
        "ß",
        "नमस्ते",
    ]);
    let typed = prop_oneof![
        prop::collection::vec(syntax, 0..12).prop_map(|parts| parts.concat()),
        "\\PC{0,40}",
    ];
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&typed, |typed| {
        for place in ["dots", "branches", "tags", "commits"] {
            let query = serde_urlencoded::to_string([("in", place), ("q", &typed)]).unwrap();
            let (status, answer) =
                runtime.block_on(api.call("GET", &format!("search?{query}"), Value::Null));
            prop_assert_eq!(status, 200, "{:?}: {}", typed, answer);
            if place != "commits" {
                continue;
            }
            let words = dotmesh_hub_model::search::Words::new(&typed);
            for found in answer["found"].as_array().unwrap() {
                let text = found["text"].as_str().unwrap();
                prop_assert!(words.are_in(text), "{:?} found {}", typed, text);
            }
        }
        Ok(())
    });
    result.unwrap();
    drop(hub);
}
