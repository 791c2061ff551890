//! Keys for a single dot, and the longest lifetime of a key. `roles.rs` tests the routes that such a key may not use.

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use dotmesh_hub_model::access::Scope;
use dotmesh_hub_service::settings::Settings;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::api::Api;
use crate::pages::Browser;
use crate::roles::key_for;
use crate::support::{
    TestHub, commit, dot, files, finish, pack, push, push_first, refused, root_commit,
};

#[tokio::test]
async fn a_key_for_one_dot_pulls_and_pushes_there() {
    let hub = TestHub::start().await;
    let (alice, owner_key) = hub.user_with_secret("alice").await;
    let owner = Api::new(&hub, &owner_key);
    let app = dot("alice/app");
    let (first, had) = push_first(&alice, &app, b"one").await;
    let key = key_for(&hub, &"alice".parse().unwrap(), &app, Scope::Write).await;
    let program = hub.client("alice", &key);

    assert_eq!(program.current_user().await.unwrap().name.as_str(), "alice");
    program.objects(&app, &had.hashes()).await.unwrap();
    let changed = files(&[("a", b"two")]);
    let second = commit(&first, &changed);
    push(&program, &app, Some(&first), &second, &changed)
        .await
        .unwrap();

    // The key stays valid after a rename of its dot, and ends with the dot.
    let api = Api::new(&hub, &key);
    let rename = json!({ "name": "renamed" });
    owner.done("POST", "dots/alice/app/rename", rename).await;
    api.done("GET", "dots/alice/renamed", Value::Null).await;
    refused(
        program.begin_upload(&dot("alice/app2")).await,
        ErrorCode::Forbidden,
    );
    alice.delete_dot(&dot("alice/renamed")).await.unwrap();
    assert_eq!(api.call("GET", "user", Value::Null).await.0, 401);
}

/// Otherwise the holder of the key could push a hash from another dot of the owner, and then read the object.
#[tokio::test]
async fn its_pushes_refer_to_nothing_of_other_dots() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (_, secret) = push_first(&alice, &dot("alice/secret"), b"the secret").await;
    let app = dot("alice/app");
    push_first(&alice, &app, b"nothing").await;
    let key = key_for(&hub, &"alice".parse().unwrap(), &app, Scope::Write).await;
    let program = hub.client("alice", &key);

    let upload = program.begin_upload(&app).await.unwrap();
    let hashes = [secret.root(), secret.chunk().hash()];
    let missing = program.missing(&app, &upload, &hashes).await.unwrap();
    assert_eq!(missing, hashes);
    let made = commit(&root_commit(), &secret);
    let claim = finish(&[&made], vec![]);
    let answer = program.finish_upload(&app, &upload, &claim).await;
    refused(answer, ErrorCode::Incomplete);
    // They cannot refer to objects of the owner's other uploads either.
    let other = alice.begin_upload(&dot("alice/other")).await.unwrap();
    let fresh = files(&[("b", b"another secret")]);
    alice
        .send_pack(&dot("alice/other"), &other, pack(&fresh.objects))
        .await
        .unwrap();
    let hashes = [fresh.root()];
    assert_eq!(
        program.missing(&app, &upload, &hashes).await.unwrap(),
        hashes
    );
    // The owner's other keys can.
    let upload = alice.begin_upload(&app).await.unwrap();
    let missing = alice
        .missing(&app, &upload, &[secret.root()])
        .await
        .unwrap();
    assert_eq!(missing, []);
}

#[tokio::test]
async fn such_a_key_is_made_on_the_page() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let (bob, _) = hub.user_with_secret("bob").await;
    push_first(&bob, &dot("bob/hidden"), b"one").await;
    let form = |scope, dot| {
        [
            ("name", "laptop"),
            ("scope", scope),
            ("dot", dot),
            ("days", "30"),
        ]
    };
    for (scope, dot, says) in [
        ("admin", "alice/app", "has the scope read or write"),
        ("write", "alice/none", "There is no dot alice/none"),
        ("write", "bob/hidden", "There is no dot bob/hidden"),
    ] {
        let answer = alice.submit("/-/settings/keys", &form(scope, dot)).await;
        assert_eq!(answer.status.as_u16(), 422, "{}", answer.body);
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    let (hidden, name) = (dot("bob/hidden"), "alice".parse().unwrap());
    bob.grant(&hidden, &name, Access::Read).await.unwrap();
    let answer = alice
        .submit("/-/settings/keys", &form("read", "bob/hidden"))
        .await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert!(answer.body.contains("only bob/hidden"), "{}", answer.body);
    let key = answer.body.split("<code>dmk_").nth(1).unwrap();
    let key = format!("dmk_{}", key.split('<').next().unwrap());
    let program = Api::new(&hub, &key);
    program.done("GET", "dots/bob/hidden", Value::Null).await;
    program.refused("GET", "dots", Value::Null).await;
}

#[tokio::test]
async fn no_key_works_longer_than_the_administrator_allows() {
    let settings = Settings {
        longest_key: Some(SignedDuration::from_hours(24 * 45)),
        ..Settings::default()
    };
    assert_eq!(settings.login_key_days(), Some(45));
    let hub = TestHub::start_with(settings).await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let page = alice.get("/-/settings/keys").await.body;
    for (days, is_offered) in [(0, false), (30, true), (45, true), (90, false)] {
        let option = format!(r#"<option value="{days}">"#);
        assert_eq!(page.contains(&option), is_offered, "{days}: {page}");
        let days = days.to_string();
        let fields = [
            ("name", "k"),
            ("scope", "read"),
            ("dot", ""),
            ("days", &days),
        ];
        let status = alice.submit("/-/settings/keys", &fields).await.status;
        assert_eq!(status.is_success(), is_offered, "{days}");
    }
    // A key without an expiry that was made long ago.
    let (_, key) = hub.user_with_secret("bob").await;
    let bob = Api::new(&hub, &key);
    bob.done("GET", "user", json!(null)).await;
    let database = hub.place().database().await;
    let long_ago = crate::ambient::now() - SignedDuration::from_hours(24 * 46);
    assert!(
        database
            .add_key(
                &"bob".parse().unwrap(),
                &dotmesh_hub_model::credentials::KeyDigest::of("dmk_old"),
                dotmesh_hub_db::users::OldKeys::Keep,
                long_ago,
            )
            .await
            .unwrap()
    );
    assert_eq!(
        Api::new(&hub, "dmk_old")
            .call("GET", "user", json!(null))
            .await
            .0,
        401
    );
}
