//! Database summaries: who may send and read them, what is refused, and where they stay.

use dotmesh_api::ErrorCode;
use dotmesh_hub_model::limits::SUMMARY;
use dotmesh_hub_service::backup::{BackupFolder, take};
use dotmesh_hub_service::settings::Settings;
use dotmesh_rows::model::DatabaseSummary;
use serde_json::{Value, json};

use crate::ambient;
use crate::api::Api;
use crate::backup::restore_into;
use crate::place::Place;
use crate::support::{TestHub, commit, dot, files, push, push_first, refused, root_commit};

/// The example of the format.
pub(crate) fn example() -> Value {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/v1/hub/databases.json"
    );
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn parsed(summary: &Value) -> DatabaseSummary {
    serde_json::from_value(summary.clone()).unwrap()
}

#[tokio::test]
async fn the_first_summary_of_a_commit_stays_until_it_is_deleted() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    let app = dot("alice/app");
    let (made, _) = push_first(&alice, &app, b"one").await;
    assert!(alice.version().await.unwrap().databases);
    assert_eq!(alice.databases(&app, made.id).await.unwrap(), None);

    let summary = parsed(&example());
    for _ in 0..2 {
        alice.send_databases(&app, made.id, &summary).await.unwrap();
    }
    assert_eq!(
        alice.databases(&app, made.id).await.unwrap(),
        Some(summary.clone())
    );
    let mut other = summary.clone();
    other.is_cut = true;
    let sent = alice.send_databases(&app, made.id, &other).await;
    refused(sent, ErrorCode::Exists);

    let path = format!("dots/alice/app/commits/{}/databases", made.id);
    // A newer client may say more.
    let mut more = example();
    more["mood"] = json!("good");
    api.done("PUT", &path, more).await;
    let missing = path.replace(&made.id.to_string(), &"1".repeat(31));
    assert_eq!(api.refused("PUT", &missing, example()).await, "invalid");
    let missing = path.replace(&made.id.to_string(), &"1".repeat(32));
    assert_eq!(api.refused("PUT", &missing, example()).await, "not_found");

    api.done("DELETE", &path, Value::Null).await;
    assert_eq!(api.refused("DELETE", &path, Value::Null).await, "not_found");
    alice.send_databases(&app, made.id, &other).await.unwrap();
    assert_eq!(
        alice.databases(&app, made.id).await.unwrap(),
        Some(other.clone())
    );
}

#[tokio::test]
async fn what_is_malformed_or_too_large_is_refused() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    let app = dot("alice/app");
    let (made, _) = push_first(&alice, &app, b"one").await;
    let path = format!("dots/alice/app/commits/{}/databases", made.id);
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let changed = |pointer: &str, value: Value| {
        let mut summary = example();
        *summary.pointer_mut(pointer).unwrap() = value;
        summary
    };
    for (bad, code) in [
        (json!({"tables": []}), "invalid"),
        (json!({"version": 2, "tables": []}), "invalid"),
        (changed("/tables/0/store/kind", json!("dbase")), "invalid"),
        (changed("/tables/0/rows", json!(-1)), "invalid"),
        (changed("/changes/1/row/after", json!([1])), "invalid"),
        (changed("/changes/1/row/after/1", deep), "invalid"),
        (changed("/changes/1/row/after/1", json!(1.5)), "invalid"),
        (
            changed("/changes/1/row/after/1", json!("x".repeat(70_000))),
            "too_large",
        ),
        (
            changed("/tables/0/name/table", json!("x".repeat(5000))),
            "too_large",
        ),
        (changed("/problems", json!(vec!["x"; 10_001])), "too_large"),
        (
            changed("/problems", json!(vec!["x".repeat(60_000); 40])),
            "too_large",
        ),
    ] {
        let refused = api.refused("PUT", &path, bad.clone()).await;
        let text = bad.to_string();
        assert_eq!(refused, code, "{}", &text[..text.len().min(400)]);
    }
    assert!(SUMMARY.most < 40 * 60_000);
    assert_eq!(alice.databases(&app, made.id).await.unwrap(), None);
}

#[tokio::test]
async fn it_goes_with_forks_and_backups_and_counts_in_the_quota() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    let app = dot("alice/app");
    let (made, _) = push_first(&alice, &app, b"one").await;
    let database = &hub.hub.database;
    let owner = database.user(&"alice".parse().unwrap()).await;
    let owner = owner.unwrap().unwrap();
    let used = async || database.usage(owner, None).await.unwrap().used;
    let before = used().await;
    let summary = parsed(&example());
    alice.send_databases(&app, made.id, &summary).await.unwrap();
    let length = used().await - before;
    assert!(length > 100, "{length}");
    alice.send_databases(&app, made.id, &summary).await.unwrap();
    assert_eq!(used().await - before, length);

    api.done("POST", "dots/alice/app/fork", json!({"name": "fork"}))
        .await;
    let fork = dot("alice/fork");
    assert_eq!(
        alice.databases(&fork, made.id).await.unwrap(),
        Some(summary.clone())
    );
    let path = format!("dots/alice/app/commits/{}/databases", made.id);
    let with_both = used().await;
    api.done("DELETE", &path, Value::Null).await;
    assert_eq!(used().await, with_both - length);

    let folder = tempfile::tempdir().unwrap();
    let to = BackupFolder::create(folder.path()).unwrap();
    let packs = &hub.hub.packs;
    take(database, packs, &to, &ambient::clock(), &ambient::random())
        .await
        .unwrap();
    let place = Place::new().await;
    restore_into(&place, folder.path()).await.unwrap();
    let restored = TestHub::start_in(place).await;
    let alice = restored.client("alice", &key);
    assert_eq!(
        alice.databases(&fork, made.id).await.unwrap(),
        Some(summary)
    );
    assert_eq!(alice.databases(&app, made.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_summary_over_the_quota_is_refused() {
    let hub = TestHub::start_with(Settings {
        quota: Some(6_000),
        ..Settings::default()
    })
    .await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let (made, _) = push_first(&alice, &app, b"one").await;
    let mut summary = parsed(&example());
    // Text that does not compress.
    let mut number = 1_u64;
    summary.problems = std::iter::repeat_with(|| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{number:x}")
    })
    .take(2000)
    .collect();
    let sent = alice.send_databases(&app, made.id, &summary).await;
    refused(sent, ErrorCode::NoSpace);
    assert_eq!(alice.databases(&app, made.id).await.unwrap(), None);
}

#[tokio::test]
async fn the_search_finds_tables_of_dots_that_one_may_see() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let (_, other) = hub.user_with_secret("bob").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one")]);
    let first = commit(&root_commit(), &files);
    push(&alice, &app, None, &first, &files).await.unwrap();
    let summary = parsed(&example());
    alice
        .send_databases(&app, first.id, &summary)
        .await
        .unwrap();
    let found = async |key: &str, words: &str| {
        let path = format!("search?q={words}&in=tables");
        let found = Api::new(&hub, key).done("GET", &path, Value::Null).await;
        found["found"].clone()
    };
    let hit = json!([{"dot": "alice/app", "commit": first.id, "text": "users"}]);
    assert_eq!(found(&key, "user").await, hit);
    assert_eq!(found(&key, "sess").await[0]["text"], "session:*");
    // Other words are no names of tables.
    for words in ["alice", "user+session", "app", "%25"] {
        assert_eq!(found(&key, words).await, json!([]), "{words}");
    }
    assert_eq!(found(&other, "user").await, json!([]));
}
