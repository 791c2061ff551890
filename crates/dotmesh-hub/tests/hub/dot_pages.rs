//! Actions on the pages of a dot.

use std::time::Duration;

use dotmesh_hub_db::keys::NewKey;
use dotmesh_hub_model::credentials::{ApiKey, HashedPassword};
use dotmesh_model::commit::ComposeUse;
use dotmesh_model::{CodeVersion, CommitRecord, ImageUse};
use futures::StreamExt as _;
use reqwest::StatusCode;
use serde_json::json;

use crate::ambient;
use crate::api::Api;
use crate::pages::Browser;
use crate::support::{TestHub, commit, dot, files, push, push_first, root_commit, sealed};

const PASSWORD: &str = "correct horse";

/// A user with a key and a session.
pub(crate) async fn user(hub: &TestHub, name: &str) -> (dotmesh_api::HubClient, Browser) {
    let client = hub.user(name).await;
    let password = HashedPassword::new(PASSWORD, &[]).unwrap();
    let account = name.parse().unwrap();
    hub.hub
        .database
        .set_password(&account, &password, crate::ambient::now())
        .await
        .unwrap();
    let mut browser = Browser::new(hub);
    browser.log_in(name, PASSWORD).await;
    (client, browser)
}

impl Browser {
    /// Submits a form that must succeed, and returns the target of its redirect.
    pub(crate) async fn done(&mut self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.submit(path, fields).await;
        assert_eq!(
            answer.status,
            StatusCode::SEE_OTHER,
            "{path}: {}",
            answer.body
        );
        answer.location.unwrap()
    }

    async fn shows(&mut self, path: &str, text: &str) -> bool {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body.contains(text)
    }

    async fn status(&mut self, path: &str) -> u16 {
        self.get(path).await.status.as_u16()
    }
}

#[tokio::test]
async fn a_dot_is_looked_after_on_its_pages() {
    let hub = TestHub::start().await;
    let (client, mut alice) = user(&hub, "alice").await;
    let (_, mut bob) = user(&hub, "bob").await;
    let (first, files) = push_first(&client, &dot("alice/app"), b"one").await;
    let second = commit(&first, &files);
    push(&client, &dot("alice/app"), Some(&first), &second, &files)
        .await
        .unwrap();
    let at = first.id.to_string();
    let app = "/alice/app";
    let settings = "/alice/app/settings";

    alice
        .done("/alice/app/branches", &[("name", "try"), ("at", &at)])
        .await;
    alice
        .done(
            "/alice/app/tags",
            &[
                ("name", "v1"),
                ("at", "try"),
                ("message", "It <b>works</b>"),
            ],
        )
        .await;
    let to = alice
        .done(
            "/alice/app/notes",
            &[("commit", &at), ("body", "see *this* <script>")],
        )
        .await;
    assert_eq!(to, format!("/alice/app/commit/{at}#notes"));
    let page = alice.get(&format!("/alice/app/commit/{at}")).await.body;
    assert!(
        page.contains("see <em>this</em>") && !page.contains("<script>"),
        "{page}"
    );
    alice
        .done(
            "/alice/app/notes",
            &[("branch", "try"), ("body", "on the branch")],
        )
        .await;
    assert!(alice.shows("/alice/app/commits/try", "on the branch").await);
    alice
        .done(
            settings,
            &[
                ("description", "# The shop\n\nAll of it"),
                ("default_branch", "try"),
            ],
        )
        .await;
    alice
        .done("/alice/app/settings/protect", &[("branch", "master")])
        .await;
    let refused = alice
        .submit("/alice/app/branches/delete", &[("name", "master")])
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    alice
        .done("/alice/app/settings/unprotect", &[("branch", "master")])
        .await;
    alice
        .done("/alice/app/tags/delete", &[("name", "v1")])
        .await;

    // A maintainer sees only some of the settings.
    assert_eq!(bob.status(settings).await, 404);
    alice
        .done(
            "/alice/app/settings/grant",
            &[("user", "bob "), ("access", "read")],
        )
        .await;
    assert_eq!(bob.status(app).await, 200);
    assert_eq!(bob.status(settings).await, 403);
    alice
        .done(
            "/alice/app/settings/grant",
            &[("user", "bob"), ("access", "maintain")],
        )
        .await;
    for (form, field) in [
        ("visibility", ("visibility", "public")),
        ("revoke", ("user", "bob")),
        ("rename", ("name", "mine")),
        ("offer", ("user", "bob")),
        ("delete", ("name", "app")),
    ] {
        let answer = bob.submit(&format!("{settings}/{form}"), &[field]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{form}");
    }
    bob.done("/alice/app/branches/delete", &[("name", "master")])
        .await;

    // Old URLs redirect to the new ones, and keep path and query.
    assert_eq!(
        alice
            .done("/alice/app/settings/rename", &[("name", "shop")])
            .await,
        "/alice/shop/settings"
    );
    let moved = bob.get(&format!("/alice/app/commits/try?from={at}")).await;
    assert_eq!(moved.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(
        moved.location.unwrap(),
        format!("/alice/shop/commits/try?from={at}")
    );
    assert!(
        moved.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("no-cache")
    );
    let (_, mut carol) = user(&hub, "carol").await;
    assert_eq!(carol.status(app).await, 404);

    // Fork and transfer.
    assert_eq!(
        bob.done("/alice/shop/fork", &[("name", "fork")]).await,
        "/bob/fork"
    );
    assert!(
        bob.shows("/bob/fork", "forked from <a href=\"/alice/shop\"")
            .await
    );
    assert!(bob.shows("/alice/shop/fork", "/bob/fork").await);
    assert!(!alice.shows("/alice/shop/fork", "/bob/fork").await);
    alice
        .done("/alice/shop/settings/offer", &[("user", "bob")])
        .await;
    assert!(
        alice
            .shows("/alice/shop/settings", "It is offered to")
            .await
    );
    assert!(bob.shows("/", "1 dot is offered to you").await);
    let page = bob.get("/-/offers").await.body;
    let id = page
        .split("name=\"dot\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(
        bob.done("/-/offers/take", &[("dot", &id), ("name", "shop")])
            .await,
        "/bob/shop"
    );
    assert_eq!(alice.get(app).await.location.unwrap(), "/bob/shop");

    // Delete and restore.
    let wrong = bob
        .submit("/bob/shop/settings/delete", &[("name", "shp")])
        .await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    bob.done("/bob/shop/settings/delete", &[("name", "shop")])
        .await;
    assert_eq!(bob.status("/bob/shop").await, 404);
    assert_eq!(alice.status(app).await, 404);
    assert!(bob.shows("/-/trash", "bob/shop").await);
    assert_eq!(
        bob.done("/-/trash/restore", &[("dot", &id)]).await,
        "/bob/shop"
    );
    assert_eq!(alice.status("/bob/shop").await, 200);
}

#[tokio::test]
async fn a_search_shows_what_it_found() {
    let hub = TestHub::start().await;
    let (client, mut alice) = user(&hub, "alice").await;
    let (_, mut bob) = user(&hub, "bob").await;
    push_first(&client, &dot("alice/app"), b"one").await;
    assert!(
        alice
            .shows("/-/search?q=APP", "alice/<mark>app</mark>")
            .await
    );
    assert!(
        alice
            .shows("/-/search?q=message&in=commits", "a <mark>message</mark>")
            .await
    );
    assert!(
        alice
            .shows(
                "/-/search?q=master&in=branches",
                "/alice/app/commits/master"
            )
            .await
    );
    assert!(!bob.shows("/-/search?q=app", "alice").await);
    let page = alice.get("/-/search?q=%3Cscript%3E%22").await.body;
    assert!(!page.contains("<script>"), "{page}");
    assert_eq!(alice.status("/-/search?in=nowhere").await, 400);
}

/// The next event that a live page receives.
async fn told(
    parts: &mut (impl futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
) -> Option<String> {
    let part = tokio::time::timeout(Duration::from_secs(60), parts.next());
    let part = part.await.unwrap()?.unwrap();
    Some(String::from_utf8(part.to_vec()).unwrap())
}

#[tokio::test]
async fn a_page_is_told_what_happens_to_its_dot_and_no_more() {
    let hub = TestHub::start().await;
    let (alice, alice_key) = hub.user_with_secret("alice").await;
    let (_, bob_key) = hub.user_with_secret("bob").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let listen = async |key: &str| {
        let request = reqwest::Client::new().get(format!("{}/alice/app/live", hub.url));
        request.bearer_auth(key).send().await.unwrap()
    };
    assert_eq!(listen(&bob_key).await.status(), StatusCode::NOT_FOUND);
    let bob = "bob".parse().unwrap();
    alice
        .grant(&app, &bob, dotmesh_api::hub::Access::Read)
        .await
        .unwrap();
    let mut hers = listen(&alice_key).await.bytes_stream();
    let mut his = listen(&bob_key).await.bytes_stream();
    let begin = told(&mut hers).await.unwrap();
    assert!(begin.starts_with("data: "), "{begin}");
    // Only the owner sees the event that gave him access.
    let his_begin = told(&mut his).await.unwrap();
    assert!(his_begin < begin, "{his_begin} {begin}");
    push_first(&alice, &dot("alice/other"), b"other").await;
    let second = commit(&first, &files);
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    let next = told(&mut hers).await.unwrap();
    assert!(next.starts_with("data: ") && next != begin, "{next}");
    assert_eq!(told(&mut his).await, Some(next));
    // A user who has lost access receives no further events.
    alice.revoke(&app, &bob).await.unwrap();
    assert_eq!(told(&mut his).await, None);
    assert!(told(&mut hers).await.is_some());
    // An open live page does not keep the hub from stopping.
    let stopped = tokio::time::timeout(Duration::from_secs(20), hub.stop());
    stopped.await.unwrap();
    assert_eq!(told(&mut hers).await, None);
}

/// The chart agrees with the pages of the commits, also for commits that were not counted before.
#[tokio::test]
async fn how_a_dot_grew() {
    let hub = TestHub::start().await;
    let (client, mut alice) = user(&hub, "alice").await;
    let app = dot("alice/app");
    let (first, _) = push_first(&client, &app, b"1").await;
    assert!(!alice.shows("/alice/app/activity", "Size and change").await);
    let mut last = first;
    for size in [1000, 16_000, 16_000, 2_000] {
        let files = files(&[("a", &vec![b'x'; size])]);
        let next = commit(&last, &files);
        push(&client, &app, Some(&last), &next, &files)
            .await
            .unwrap();
        last = next;
    }
    // Counts that take longer than a page may wait appear later.
    let mut page = alice.get("/alice/app/activity").await.body;
    while page.contains("Not counted yet:") {
        page = alice.get("/alice/app/activity").await.body;
    }
    let numbers: Vec<&str> = page
        .split("<td class=\"number\">")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    assert_eq!(
        numbers,
        [
            "16 B", "16 B", "1.0 kB", "1.0 kB", "16 kB", "16 kB", "16 kB", "0 B", "2.0 kB",
            "2.0 kB"
        ]
    );
    assert_eq!(page.matches("<g>").count(), 2 * 5 + 52);
    assert!(alice.shows("/alice/app/activity?before=1", "Nothing").await);
}

/// The text of the code block with an id, as the reader sees it.
fn block(page: &str, id: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("id=\"{id}\" data-copy><code>"))
        .unwrap();
    let text = rest.split_once("</code>").unwrap().0;
    text.replace("&#34;", "\"").replace("&#39;", "'")
}

#[tokio::test]
async fn commands_name_what_the_app_knows_its_dot_by() {
    let hub = TestHub::start().await;
    let (client, mut alice) = user(&hub, "alice").await;
    let files = files(&[("a", b"one")]);
    let mut made = commit(&root_commit(), &files);
    let record = CommitRecord {
        dot: Some("shop_app".parse().unwrap()),
        code: Some(CodeVersion {
            remote: Some("git@example.com:team/shop.git".to_owned()),
            branch: None,
            commit: "cafe".to_owned(),
            dirty: false,
            work_tree: Some("/home/alice/shop".to_owned()),
        }),
        images: vec![ImageUse {
            compose: Some(ComposeUse {
                project: "shop".to_owned(),
                service: "db".to_owned(),
                working_dir: "/home/alice/shop/deploy".to_owned(),
                config_files: vec!["/home/alice/shop/deploy/test.yml".to_owned()],
            }),
            ..ImageUse::default()
        }],
        ..CommitRecord::decode(made.sealed.record.as_bytes()).unwrap()
    };
    made.sealed = sealed(&root_commit(), &record, files.root());
    let remote = &hub.url;
    for (name, option, switch, push_option) in [
        ("alice/shop_app", "", "shop_app", ""),
        (
            "alice/library",
            " --local-name shop_app",
            "shop_app",
            " --remote-name alice/library",
        ),
    ] {
        push(&client, &dot(name), None, &made, &files)
            .await
            .unwrap();
        for (page, at) in [
            (format!("/{name}"), String::new()),
            (
                format!("/{name}/commit/{}", made.id),
                format!("/commit/{}", made.id),
            ),
        ] {
            let shown = alice.get(&page).await.body;
            let expected = format!(
                "git clone git@example.com:team/shop.git\ncd shop\ngit checkout cafe\ncd deploy\n\
                 dm clone {}/{name}{at}{option}\ndocker compose -p shop -f test.yml up -d\n",
                hub.url
            );
            assert_eq!(block(&shown, "commands-run"), expected);
        }
        let shown = alice.get(&format!("/{name}")).await.body;
        assert_eq!(
            block(&shown, "commands-push"),
            format!(
                "dm switch {switch}\ndm commit -m \"What it shows\"\ndm push {remote}{push_option}\n"
            )
        );
    }
    // A commit without a Compose project does not say how it was started. The page must not invent commands.
    push_first(&client, &dot("alice/plain"), b"two").await;
    let shown = alice.get("/alice/plain").await.body;
    assert_eq!(
        block(&shown, "commands-run"),
        format!("dm clone {}/alice/plain\n", hub.url)
    );
    assert!(shown.contains("in the folder of the app"), "{shown}");
    assert!(shown.contains("No Compose project used the dot"), "{shown}");
}

#[tokio::test]
async fn a_live_page_ends_with_its_session_or_key() {
    let hub = TestHub::start().await;
    let (alice, mut browser) = user(&hub, "alice").await;
    let app = dot("alice/app");
    let (mut last, files) = push_first(&alice, &app, b"one").await;
    let public = json!({"visibility": "public"});
    let (database, name) = (&hub.hub.database, "alice".parse().unwrap());
    let id = database.user(&name).await.unwrap().unwrap();
    let key = ApiKey::generate(&ambient::random());
    let new = NewKey::first(key.digest());
    database
        .create_key(id, &name, &new, ambient::now())
        .await
        .unwrap();
    Api::new(&hub, key.reveal())
        .done("PATCH", "dots/alice/app/settings", public)
        .await;
    let url = format!("{}/alice/app/live", hub.url);
    let http = reqwest::Client::new();
    let anybody = http.get(&url);
    let by_session = http
        .get(&url)
        .header("cookie", browser.cookie.as_ref().unwrap());
    let by_key = http.get(&url).bearer_auth(key.reveal());
    let mut streams = Vec::new();
    for request in [by_session, by_key, anybody] {
        let mut stream = request.send().await.unwrap().bytes_stream();
        assert!(told(&mut stream).await.is_some());
        streams.push(stream);
    }
    browser.submit("/-/logout", &[]).await;
    let keys = database.keys(id).await.unwrap();
    database
        .revoke_key(id, &name, keys[0].id, ambient::now())
        .await
        .unwrap();
    let next = commit(&last, &files);
    push(&alice, &app, Some(&last), &next, &files)
        .await
        .unwrap();
    last = next;
    let mut told_last = Vec::new();
    for stream in &mut streams {
        told_last.push(told(stream).await.is_some());
    }
    // A visitor without an account still sees the public dot.
    assert_eq!(told_last, [false, false, true], "{}", last.id);
}
