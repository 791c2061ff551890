//! What people read on the main pages, as snapshots.

use std::sync::atomic::{AtomicI64, Ordering};

use dotmesh_api::HubClient;
use dotmesh_hub_service::settings::{Settings, SignUp};
use dotmesh_model::ambient::Clock;
use jiff::Timestamp;
use reqwest::StatusCode;

use crate::dot_pages::user;
use crate::pages::{Browser, PASSWORD};
use crate::support::{Made, TestHub, commit, dot, files, push, root_commit};
use crate::visible_text::{of_bar, of_page};

/// A hub with Alice's dot `alice/app`, which has two commits, a branch, a tag and a note, and Bob, who may read it.
struct Stage {
    hub: TestHub,
    alice: Browser,
    bob: Browser,
    commits: [Made; 2],
    client: HubClient,
}

impl Stage {
    async fn new() -> Self {
        let hub = TestHub::start_at(noon()).await;
        let (client, mut alice) = user(&hub, "alice").await;
        let (_, bob) = user(&hub, "bob").await;
        let app = dot("alice/app");
        let old = files(&[("a.txt", b"one\ntwo words\nthree\n"), ("gone", b"x")]);
        let first = commit(&root_commit(), &old);
        push(&client, &app, None, &first, &old).await.unwrap();
        let new = files(&[("a.txt", b"one\ntwo <words>\nthree\n"), ("new", b"y")]);
        let second = commit(&first, &new);
        push(&client, &app, Some(&first), &second, &new)
            .await
            .unwrap();
        let at = first.id.to_string();
        for (path, fields) in [
            ("branches", &[("name", "try"), ("at", &at)][..]),
            (
                "tags",
                &[
                    ("name", "v1"),
                    ("at", "try"),
                    ("message", "It <b>works</b>"),
                ],
            ),
            ("notes", &[("commit", &at), ("body", "see *this* <script>")]),
            (
                "settings",
                &[
                    ("description", "# The shop\n\nAll of it"),
                    ("default_branch", "master"),
                ],
            ),
            ("settings/protect", &[("branch", "master")]),
            ("settings/grant", &[("user", "bob"), ("access", "read")]),
        ] {
            alice.done(&format!("/alice/app/{path}"), fields).await;
        }
        Self {
            hub,
            alice,
            bob,
            commits: [first, second],
            client,
        }
    }
}

/// A clock that goes on by a second each time it is read. So the weeks of the activity page are always the same.
fn noon() -> Clock {
    let start: Timestamp = "2026-02-02T12:00:00Z".parse().unwrap();
    let second = AtomicI64::new(start.as_second());
    Clock::new(move || Timestamp::from_second(second.fetch_add(1, Ordering::Relaxed)).unwrap())
}

/// Returns the text of a page that is answered with this status.
async fn text(browser: &mut Browser, path: &str, status: StatusCode) -> String {
    let answer = browser.get(path).await;
    assert_eq!(answer.status, status, "{path}: {}", answer.body);
    assert!(!answer.body.contains("<script>"), "{path}: {}", answer.body);
    of_page(&answer.body)
}

async fn shown(browser: &mut Browser, path: &str) -> String {
    text(browser, path, StatusCode::OK).await
}

#[tokio::test]
async fn pages_of_a_dot() {
    let mut stage = Stage::new().await;
    let [first, second] = stage.commits.clone().map(|made| made.id.to_string());
    let alice = &mut stage.alice;
    insta::assert_snapshot!("dot", shown(alice, "/alice/app").await);
    insta::assert_snapshot!(
        "commit",
        shown(alice, &format!("/alice/app/commit/{first}")).await
    );
    insta::assert_snapshot!("commits", shown(alice, "/alice/app/commits/master").await);
    insta::assert_snapshot!(
        "compare",
        shown(alice, &format!("/alice/app/compare/{first}...{second}")).await
    );
    insta::assert_snapshot!(
        "compare_same",
        shown(alice, &format!("/alice/app/compare/{first}...{first}")).await
    );
    insta::assert_snapshot!("branches", shown(alice, "/alice/app/branches").await);
    insta::assert_snapshot!("folder", shown(alice, "/alice/app/tree/master/data").await);
    insta::assert_snapshot!("activity", shown(alice, "/alice/app/activity").await);
    insta::assert_snapshot!("settings", shown(alice, "/alice/app/settings").await);
    // Who may only read it sees no forms that change it.
    insta::assert_snapshot!("dot_of_reader", shown(&mut stage.bob, "/alice/app").await);
}

#[tokio::test]
async fn settings_of_a_maintainer() {
    let mut stage = Stage::new().await;
    let grant = [("user", "bob"), ("access", "maintain")];
    stage.alice.done("/alice/app/settings/grant", &grant).await;
    insta::assert_snapshot!(
        "settings_of_maintainer",
        shown(&mut stage.bob, "/alice/app/settings").await
    );
}

#[tokio::test]
async fn pages_of_an_account() {
    let mut stage = Stage::new().await;
    let alice = &mut stage.alice;
    insta::assert_snapshot!("bar", of_bar(&alice.get("/").await.body));
    insta::assert_snapshot!("home", shown(alice, "/").await);
    insta::assert_snapshot!("keys", shown(alice, "/-/settings/keys").await);
    insta::assert_snapshot!("search_empty", shown(alice, "/-/search").await);
    insta::assert_snapshot!("search", shown(alice, "/-/search?q=shop").await);
    insta::assert_snapshot!(
        "search_commits",
        shown(alice, "/-/search?q=message&in=commits").await
    );
    insta::assert_snapshot!("search_nothing", shown(alice, "/-/search?q=nothing").await);
}

#[tokio::test]
async fn pages_of_a_visitor() {
    let hub = TestHub::start().await;
    let mut visitor = Browser::new(&hub);
    insta::assert_snapshot!("visitor_bar", of_bar(&visitor.get("/").await.body));
    insta::assert_snapshot!("visitor_home", shown(&mut visitor, "/").await);
    insta::assert_snapshot!("login", shown(&mut visitor, "/-/login").await);
    let wrong = visitor.log_in("alice", "wrong password").await;
    insta::assert_snapshot!("login_wrong", of_page(&wrong.body));
    insta::assert_snapshot!(
        "signup_refused",
        text(&mut visitor, "/-/signup", StatusCode::FORBIDDEN).await
    );
}

#[tokio::test]
async fn pages_of_a_newcomer() {
    let settings = Settings {
        sign_up: SignUp::Open,
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    let mut newcomer = Browser::new(&hub);
    insta::assert_snapshot!("open_bar", of_bar(&newcomer.get("/").await.body));
    insta::assert_snapshot!("signup", shown(&mut newcomer, "/-/signup").await);
    let fields = [("user", "api"), ("password", PASSWORD)];
    let taken = newcomer.submit("/-/signup", &fields).await;
    insta::assert_snapshot!("signup_taken", of_page(&taken.body));
    let fields = [("user", "alice"), ("password", PASSWORD)];
    newcomer.done("/-/signup", &fields).await;
    insta::assert_snapshot!("newcomer_home", shown(&mut newcomer, "/").await);
}

#[tokio::test]
async fn pages_of_errors() {
    let mut stage = Stage::new().await;
    let alice = &mut stage.alice;
    let missing = StatusCode::NOT_FOUND;
    insta::assert_snapshot!("no_such_dot", text(alice, "/alice/none", missing).await);
    insta::assert_snapshot!("no_such_address", text(alice, "/-/none", missing).await);
    insta::assert_snapshot!(
        "no_such_ref",
        text(alice, "/alice/app/commit/none", missing).await
    );
    insta::assert_snapshot!(
        "maintainers_only",
        text(&mut stage.bob, "/alice/app/settings", StatusCode::FORBIDDEN).await
    );
    let deleted = [("name", "master")];
    let refused = stage
        .alice
        .submit("/alice/app/branches/delete", &deleted)
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    insta::assert_snapshot!("protected_branch", of_page(&refused.body));
    let mistake = text(
        &mut stage.alice,
        "/alice/app/activity?before=x",
        StatusCode::BAD_REQUEST,
    );
    insta::assert_snapshot!("mistaken_address", mistake.await);
    // The page leads back to the form, and not to a page of others.
    let settings = "/alice/app/settings";
    let form = "/alice/app/settings/rename";
    let wrong = [("name", "a b")];
    let refused = stage.alice.submit_on(settings, form, &wrong).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    insta::assert_snapshot!("wrong_form", of_page(&refused.body));
    assert!(
        refused
            .body
            .contains("href=\"/alice/app/settings\">Go back")
    );
    let foreign = stage.alice.submit_on(".example.com/", form, &wrong).await;
    assert!(!foreign.body.contains("Go back"), "{}", foreign.body);
    drop(stage.hub);
}

/// A summary of a commit: 10 or 11 users, one of whom is named like a script.
fn summary(rows: u64, changes: serde_json::Value) -> dotmesh_rows::model::DatabaseSummary {
    let mut summary = crate::databases::example();
    summary["tables"][1]["rows"] = rows.into();
    summary["tables"][1]["columns"][1]["type"] = "text<script>".into();
    summary["changes"] = changes;
    serde_json::from_value(summary).unwrap()
}

#[tokio::test]
async fn pages_of_databases() {
    let mut stage = Stage::new().await;
    let [first, second] = stage.commits.clone().map(|made| made.id);
    let client = stage.client;
    let app = dot("alice/app");
    let mut changes = crate::databases::example()["changes"].clone();
    changes[1]["row"]["after"][1] = "<script>fred</script>".into();
    let before = summary(10, serde_json::json!([]));
    client.send_databases(&app, first, &before).await.unwrap();
    let alice = &mut stage.alice;
    let compare = format!("/alice/app/compare/{first}...{second}");
    insta::assert_snapshot!("databases_unknown", shown(alice, &compare).await);
    let after = summary(11, changes);
    client.send_databases(&app, second, &after).await.unwrap();
    let commit = format!("/alice/app/commit/{second}");
    insta::assert_snapshot!("databases_of_commit", shown(alice, &commit).await);
    insta::assert_snapshot!("databases_of_dot", shown(alice, "/alice/app").await);
    insta::assert_snapshot!("databases_compared", shown(alice, &compare).await);
    let swapped = format!("/alice/app/compare/{second}...{first}");
    insta::assert_snapshot!("databases_swapped", shown(alice, &swapped).await);
    insta::assert_snapshot!(
        "search_tables",
        shown(alice, "/-/search?q=user&in=tables").await
    );
}
