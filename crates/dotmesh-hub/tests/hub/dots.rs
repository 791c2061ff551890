//! Actions on a dot: names, owners, branches, tags, notes, the trash.

use std::time::Duration;

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::{Access, BranchUpdate};
use dotmesh_hub_service::operations::delete_dot::GRACE;
use serde_json::{Value, json};

use crate::ambient;
use crate::api::Api;
use crate::support::{TestHub, branch, commit, dot, finish, push, push_first, refused, update};

const APP: &str = "dots/alice/app";

async fn user(hub: &TestHub, name: &str) -> (dotmesh_api::HubClient, Api) {
    let (client, key) = hub.user_with_secret(name).await;
    let api = Api::new(hub, &key);
    (client, api)
}

#[tokio::test]
async fn a_renamed_dot_is_found_by_all_its_names() {
    let hub = TestHub::start().await;
    let (alice, api) = user(&hub, "alice").await;
    let (first, files) = push_first(&alice, &dot("alice/app"), b"one").await;
    let rename = async |from: &str, to: &str| {
        let path = format!("dots/alice/{from}/rename");
        api.call("POST", &path, json!({ "name": to })).await
    };
    let upload = alice.begin_upload(&dot("alice/app")).await.unwrap();
    assert_eq!(rename("app", "second").await, (200, json!("alice/second")));
    assert_eq!(rename("second", "third").await.0, 200);
    // A dot can be renamed by an older name, and back to a name that it had.
    assert_eq!(rename("app", "fourth").await.0, 200);
    assert_eq!(rename("fourth", "second").await.0, 200);
    assert_eq!(rename("second", "-x").await.0, 400);
    for name in ["app", "second", "third", "fourth"] {
        let name = dot(&format!("alice/{name}"));
        let found = alice.dot(&name).await.unwrap().unwrap();
        assert_eq!(found.name, dot("alice/second"), "{name}");
        let commits = alice.commits(&name, first.id, None).await.unwrap();
        assert_eq!(commits.commits.len(), 1);
    }
    assert_eq!(alice.dots().await.unwrap().len(), 1);
    // An open upload continues under the old name, and new pushes can use it, too.
    let second = commit(&first, &files);
    alice
        .finish_upload(
            &dot("alice/app"),
            &upload,
            &finish(&[&second], vec![update(Some(&first), &second)]),
        )
        .await
        .unwrap();
    let third = commit(&second, &files);
    push(&alice, &dot("alice/third"), Some(&second), &third, &files)
        .await
        .unwrap();
    assert_eq!(alice.dots().await.unwrap().len(), 1);
    // Once another dot takes the old name, the name belongs to that dot.
    api.done("POST", "dots/alice/app/fork", json!({"name": "app"}))
        .await;
    assert_eq!(alice.dots().await.unwrap().len(), 2);
    assert_eq!(rename("third", "app").await.0, 409);
    let settings = api.done("GET", "dots/alice/app/settings", Value::Null);
    assert_eq!(settings.await["forked_from"], "alice/second");
}

#[tokio::test]
async fn a_dot_is_another_users_when_they_take_it() {
    let hub = TestHub::start().await;
    let (alice, api) = user(&hub, "alice").await;
    let (bob, bobs) = user(&hub, "bob").await;
    let (_, carols) = user(&hub, "carol").await;
    let (first, files) = push_first(&alice, &dot("alice/app"), b"one").await;
    let (_, kept) = push_first(&alice, &dot("alice/other"), b"hers").await;
    push_first(&bob, &dot("bob/app"), b"his").await;

    let offer = json!({"user": "bob"});
    assert_eq!(
        bobs.refused("PUT", "dots/alice/app/offer", offer.clone())
            .await,
        "not_found"
    );
    api.done("PUT", "dots/alice/app/offer", json!({"user": "carol"}))
        .await;
    api.done("PUT", "dots/alice/app/offer", offer).await;
    assert_eq!(carols.done("GET", "offers", Value::Null).await, json!([]));
    let offers = bobs.done("GET", "offers", Value::Null).await;
    assert_eq!(offers[0]["name"], "alice/app");
    let take = format!("offers/{}", offers[0]["id"].as_str().unwrap());
    // The offer gives Bob no access, and no other user can take it.
    assert!(bob.dot(&dot("alice/app")).await.unwrap().is_none());
    let name = json!({"name": "app"});
    assert_eq!(
        carols.refused("POST", &take, name.clone()).await,
        "not_found"
    );
    assert_eq!(bobs.refused("POST", &take, name).await, "exists");
    let taken = bobs.done("POST", &take, json!({"name": "taken"})).await;
    assert_eq!(taken, "bob/taken");

    // The old name works, too. The former owner is a maintainer.
    for name in ["bob/taken", "alice/app"] {
        let found = alice.dot(&dot(name)).await.unwrap().unwrap();
        assert_eq!(
            (found.name, found.access),
            (dot("bob/taken"), Access::Maintain)
        );
        bob.objects(&dot(name), &files.hashes()).await.unwrap();
    }
    // None of her other objects came along.
    refused(
        bob.objects(&dot("bob/taken"), &[kept.chunk().hash()]).await,
        ErrorCode::NotFound,
    );
    let second = commit(&first, &files);
    push(&bob, &dot("alice/app"), Some(&first), &second, &files)
        .await
        .unwrap();
    // Without access she can use the old name for a new dot, and it reveals nothing.
    bobs.done("DELETE", "dots/bob/taken/collaborators/alice", Value::Null)
        .await;
    assert!(alice.dot(&dot("alice/app")).await.unwrap().is_none());
    push_first(&alice, &dot("alice/app"), b"anew").await;
    let hers = alice.dot(&dot("alice/app")).await.unwrap().unwrap();
    assert_eq!((hers.name, hers.access), (dot("alice/app"), Access::Owner));
    assert!(bob.dot(&dot("alice/app")).await.unwrap().is_none());

    // An offer can be declined and withdrawn.
    for end in ["DELETE offers", "DELETE dots/alice/other/offer"] {
        api.done("PUT", "dots/alice/other/offer", json!({"user": "bob"}))
            .await;
        let offers = bobs.done("GET", "offers", Value::Null).await;
        let id = offers[0]["id"].as_str().unwrap();
        match end {
            "DELETE offers" => {
                bobs.done("DELETE", &format!("offers/{id}"), Value::Null)
                    .await
            }
            _ => {
                api.done("DELETE", "dots/alice/other/offer", Value::Null)
                    .await
            }
        };
        assert_eq!(bobs.done("GET", "offers", Value::Null).await, json!([]));
        let gone = format!("offers/{id}");
        let gone = bobs.refused("POST", &gone, json!({"name": "x"})).await;
        assert_eq!(gone, "not_found");
    }
}

#[tokio::test]
async fn a_deleted_dot_is_nowhere_and_can_be_had_back() {
    let hub = TestHub::start().await;
    let (alice, api) = user(&hub, "alice").await;
    let (bob, bobs) = user(&hub, "bob").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Maintain)
        .await
        .unwrap();
    api.done("POST", "dots/alice/app/rename", json!({"name": "renamed"}))
        .await;
    let app = dot("alice/renamed");
    assert_eq!(
        bobs.refused("DELETE", "dots/alice/renamed", Value::Null)
            .await,
        "forbidden"
    );
    alice.delete_dot(&app).await.unwrap();
    for client in [&alice, &bob] {
        assert!(client.dot(&app).await.unwrap().is_none());
        assert!(client.dot(&dot("alice/app")).await.unwrap().is_none());
        assert!(client.dots().await.unwrap().is_empty());
    }
    // A push gets nothing from a deleted dot either.
    let upload = bob.begin_upload(&dot("bob/new")).await.unwrap();
    let missing = bob.missing(&dot("bob/new"), &upload, &files.hashes()).await;
    assert_eq!(missing.unwrap(), files.hashes());

    let trash = api.done("GET", "trash", Value::Null).await;
    assert_eq!(trash[0]["name"], "alice/renamed");
    let restore = format!("trash/{}/restore", trash[0]["id"].as_str().unwrap());
    assert_eq!(
        bobs.refused("POST", &restore, Value::Null).await,
        "not_found"
    );
    push_first(&alice, &app, b"another").await;
    assert_eq!(api.refused("POST", &restore, Value::Null).await, "exists");
    api.done(
        "POST",
        "dots/alice/renamed/rename",
        json!({"name": "other"}),
    )
    .await;
    assert_eq!(
        api.done("POST", &restore, Value::Null).await,
        "alice/renamed"
    );
    assert_eq!(
        api.refused("POST", &restore, Value::Null).await,
        "not_found"
    );
    let back = bob.dot(&dot("alice/app")).await.unwrap().unwrap();
    assert_eq!((back.name, back.access), (app.clone(), Access::Maintain));
    bob.objects(&app, &files.hashes()).await.unwrap();
    alice.commits(&app, first.id, None).await.unwrap();

    // After its grace period a deleted dot is purged, and the others stay.
    alice.delete_dot(&app).await.unwrap();
    let purge = async |deadline| hub.hub.database.purge_dots(deadline).await.unwrap();
    let now = ambient::now();
    assert_eq!(purge(now - GRACE).await, 0);
    assert_eq!(purge(now + Duration::from_secs(2)).await, 1);
    assert_eq!(api.done("GET", "trash", Value::Null).await, json!([]));
    assert_eq!(alice.dots().await.unwrap().len(), 1);
}

#[tokio::test]
async fn branches_are_made_deleted_and_protected() {
    let hub = TestHub::start().await;
    let (alice, api) = user(&hub, "alice").await;
    let (bob, bobs) = user(&hub, "bob").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let second = commit(&first, &files);
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();

    let path = |name: &str| format!("{APP}/branches/{name}");
    let at = |at: &str| json!({ "at": at });
    bobs.done("PUT", &path("try"), at(&first.id.to_string()))
        .await;
    bobs.done("PUT", &path("again"), at("try")).await;
    assert_eq!(
        bobs.refused("PUT", &path("try"), at("master")).await,
        "exists"
    );
    assert_eq!(
        bobs.refused("PUT", &path("more"), at("none")).await,
        "not_found"
    );
    assert_eq!(
        bobs.refused("PUT", &path("-m"), at("master")).await,
        "invalid"
    );
    let heads = async || -> Vec<String> {
        let found = alice.dot(&app).await.unwrap().unwrap().branches;
        found
            .into_iter()
            .map(|branch| branch.name.to_string())
            .collect()
    };
    assert_eq!(heads().await, ["again", "master", "try"]);

    // Only maintainers delete branches. The default branch and protected branches cannot be deleted.
    let delete =
        async |api: &Api, name: &str| api.refused("DELETE", &path(name), Value::Null).await;
    assert_eq!(delete(&bobs, "try").await, "forbidden");
    api.done("DELETE", &path("try"), Value::Null).await;
    assert_eq!(delete(&api, "try").await, "not_found");
    assert_eq!(delete(&api, "master").await, "forbidden");
    let default = json!({"default_branch": "again"});
    assert_eq!(
        bobs.refused("PATCH", &format!("{APP}/settings"), default.clone())
            .await,
        "forbidden"
    );
    api.done("PATCH", &format!("{APP}/settings"), default).await;
    let none = json!({"default_branch": "none", "description": "not set"});
    assert_eq!(
        api.refused("PATCH", &format!("{APP}/settings"), none).await,
        "not_found"
    );
    let protect = format!("{APP}/protected/master");
    assert_eq!(
        bobs.refused("PUT", &protect, Value::Null).await,
        "forbidden"
    );
    for _ in 0..2 {
        api.done("PUT", &protect, Value::Null).await;
    }
    assert_eq!(delete(&api, "master").await, "forbidden");
    assert_eq!(
        bobs.done("GET", &format!("{APP}/settings"), Value::Null)
            .await,
        json!({"description": "", "default_branch": "again", "visibility": "private",
               "forks": "writers", "protected": ["master"], "forked_from": null})
    );

    // A push can only fast-forward a protected branch. That also holds for the owner's push.
    let beside = commit(&first, &files);
    let stash = BranchUpdate {
        stash: Some(branch("old-line")),
        ..update(Some(&second), &beside)
    };
    let force = BranchUpdate {
        force: true,
        ..update(Some(&second), &beside)
    };
    for (client, left) in [(&alice, &stash), (&bob, &stash), (&alice, &force)] {
        let upload = client.begin_upload(&app).await.unwrap();
        let request = finish(&[&beside], vec![left.clone()]);
        let answer = client.finish_upload(&app, &upload, &request).await;
        let body = refused(answer, ErrorCode::Forbidden);
        assert!(body.message.contains("protected"), "{body}");
    }
    let third = commit(&second, &files);
    push(&bob, &app, Some(&second), &third, &files)
        .await
        .unwrap();
    api.done("DELETE", &protect, Value::Null).await;
    api.done("DELETE", &path("master"), Value::Null).await;
    assert_eq!(heads().await, ["again"]);
    // The commits stay.
    alice.commits(&app, third.id, None).await.unwrap();
}

#[tokio::test]
async fn tags_stay_where_they_are() {
    let hub = TestHub::start().await;
    let (alice, api) = user(&hub, "alice").await;
    let (_, bobs) = user(&hub, "bob").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    let path = format!("{APP}/tags/v1");
    bobs.done(
        "PUT",
        &path,
        json!({"at": "master", "message": " It \0 works\n"}),
    )
    .await;
    let second = commit(&first, &files);
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    assert_eq!(
        api.refused("PUT", &path, json!({"at": "master"})).await,
        "exists"
    );
    let tags = api.done("GET", &format!("{APP}/tags"), Value::Null).await;
    assert_eq!(tags[0]["commit"], first.id.to_string());
    assert_eq!(tags[0]["author"], "bob");
    assert_eq!(
        bobs.refused("DELETE", &path, Value::Null).await,
        "forbidden"
    );
    api.done("DELETE", &path, Value::Null).await;
    assert_eq!(api.refused("DELETE", &path, Value::Null).await, "not_found");
    let long = json!({"at": "master", "message": "x".repeat(5000)});
    assert_eq!(api.refused("PUT", &path, long).await, "too_large");
}

#[tokio::test]
async fn who_reads_a_dot_may_say_something_of_it() {
    let hub = TestHub::start().await;
    let (alice, api) = user(&hub, "alice").await;
    let (_, bobs) = user(&hub, "bob").await;
    let (_, carols) = user(&hub, "carol").await;
    let app = dot("alice/app");
    let (first, _) = push_first(&alice, &app, b"one").await;
    let notes = format!("{APP}/notes");
    let id = first.id.to_string();
    let on_commit = json!({"commit": id, "body": "see *this*"});
    let on_branch = json!({"branch": "master", "body": "and this"});
    assert_eq!(
        bobs.refused("POST", &notes, on_commit.clone()).await,
        "not_found"
    );
    api.done(
        "PATCH",
        &format!("{APP}/settings"),
        json!({"visibility": "public"}),
    )
    .await;
    let bobs_note = bobs.done("POST", &notes, on_commit.clone()).await;
    let other = carols.done("POST", &notes, on_commit).await;
    api.done("POST", &notes, on_branch).await;
    for bad in [
        json!({"body": "on nothing"}),
        json!({"branch": "master", "commit": id, "body": "on both"}),
        json!({"branch": "master", "body": " \n"}),
    ] {
        assert_eq!(bobs.refused("POST", &notes, bad).await, "invalid");
    }
    let missing = json!({"branch": "none", "body": "x"});
    assert_eq!(bobs.refused("POST", &notes, missing).await, "not_found");
    let long = json!({"branch": "master", "body": "x".repeat(70_000)});
    assert_eq!(bobs.refused("POST", &notes, long).await, "too_large");
    let listed = bobs
        .done("GET", &format!("{notes}?commit={id}"), Value::Null)
        .await;
    let authors: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|note| &note["author"])
        .collect();
    assert_eq!(authors, ["bob", "carol"]);

    let path = |note: &Value| format!("{notes}/{}", note["id"].as_str().unwrap());
    assert_eq!(
        bobs.refused("DELETE", &path(&other), Value::Null).await,
        "forbidden"
    );
    bobs.done("DELETE", &path(&bobs_note), Value::Null).await;
    assert_eq!(
        bobs.refused("DELETE", &path(&bobs_note), Value::Null).await,
        "not_found"
    );
    api.done("DELETE", &path(&other), Value::Null).await;
    let on_branch = bobs
        .done("GET", &format!("{notes}?branch=master"), Value::Null)
        .await;
    assert_eq!(on_branch.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn names_of_users_are_completed_from_two_letters_on() {
    let hub = TestHub::start().await;
    let (_, api) = user(&hub, "alice").await;
    for name in ["Albert", "alan", "bob"] {
        hub.user(name).await;
    }
    for (prefix, names) in [
        ("al", json!(["Albert", "alan", "alice"])),
        ("ALB", json!(["Albert"])),
        ("a", json!([])),
        ("", json!([])),
        ("%25%25", json!([])),
        ("a_", json!([])),
        ("%00%00", json!([])),
    ] {
        let found = api
            .done("GET", &format!("users?prefix={prefix}"), Value::Null)
            .await;
        assert_eq!(found, names, "{prefix}");
    }
}

#[tokio::test]
async fn a_misspelled_request_changes_nothing_and_is_told() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    let api = Api::new(&hub, &key);
    let settings = "dots/alice/app/settings";
    let public = json!({"visibility": "public"});
    api.done("PATCH", settings, public).await;
    for (method, path, request, said) in [
        (
            "PATCH",
            settings,
            json!({"visibilty": "private", "description": "new"}),
            "'visibility'",
        ),
        (
            "PUT",
            "dots/alice/app/tags/v1",
            json!({"at": "master", "mesage": "m"}),
            "'message'",
        ),
        (
            "POST",
            "dots/alice/app/fork",
            json!({"name": "fork", "visibility": "private"}),
            "'name'",
        ),
        (
            "POST",
            "dots/alice/app/notes",
            json!({"Branch": "master", "body": "n"}),
            "'branch'",
        ),
        (
            "POST",
            "dots/alice/app/webhooks",
            json!({"url": "https://example.com/", "topic": ["push"]}),
            "'topics'",
        ),
    ] {
        let (status, problem) = api.call(method, path, request).await;
        assert_eq!(status, 400, "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("did you mean {said}?")),
            "{detail}"
        );
    }
    let now = api.done("GET", settings, Value::Null).await;
    assert_eq!(
        (&now["visibility"], &now["description"]),
        (&json!("public"), &json!(""))
    );
    assert_eq!(
        api.done("GET", "dots/alice/app/tags", Value::Null).await,
        json!([])
    );
}
