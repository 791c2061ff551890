//! A commit's list of left-out files is sent with it, and pages show it.

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use dotmesh_model::{LeftOut, LeftOutItem};
use serde_json::json;

use crate::api::Api;
use crate::pages::Browser;
use crate::support::{TestHub, commit, dot, files, push, refused, root_commit};

fn list(count: u64, items: usize) -> LeftOut {
    let item = |n| LeftOutItem {
        path: format!("app/<dev>/{n:03}"),
        reason: "a device node".to_owned(),
    };
    LeftOut {
        count,
        items: (0..items).map(item).collect(),
    }
}

#[tokio::test]
async fn a_commit_tells_what_it_lacks_and_so_does_its_fork() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    let app = dot("alice/app");
    let files = files(&[("a", b"one")]);
    let mut first = commit(&root_commit(), &files);
    first.sealed.left_out = Some(list(1500, 1000));
    push(&alice, &app, None, &first, &files).await.unwrap();
    let mut second = commit(&first, &files);
    second.sealed.left_out = Some(list(3, 3));
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    let third = commit(&second, &files);
    push(&alice, &app, Some(&second), &third, &files)
        .await
        .unwrap();

    // The requested commit has the whole list, its ancestors only the first items.
    let told = async |head, dot| {
        let commits = alice.commits(dot, head, None).await.unwrap().commits;
        let lists = commits.into_iter().map(|commit| commit.left_out);
        lists.collect::<Vec<_>>()
    };
    let ancestor = Some(list(1500, 10));
    assert_eq!(told(first.id, &app).await, [Some(list(1500, 1000))]);
    assert_eq!(
        told(second.id, &app).await,
        [Some(list(3, 3)), ancestor.clone()]
    );
    api.done("POST", "dots/alice/app/fork", json!({"name": "fork"}))
        .await;
    let fork = dot("alice/fork");
    assert_eq!(
        told(third.id, &fork).await,
        [None, Some(list(3, 3)), ancestor]
    );

    let mut browser = Browser::logged_in(&hub, "bob").await;
    let bob = "bob".parse().unwrap();
    alice.grant(&app, &bob, Access::Read).await.unwrap();
    let mut page = async |id| {
        let answer = browser.get(&format!("/alice/app/commit/{id}")).await;
        answer.body
    };
    let shown = page(second.id).await;
    assert!(shown.contains("Left out: 3 items"), "{shown}");
    assert!(shown.contains("app/&#60;dev&#62;/002"), "{shown}");
    let shown = page(first.id).await;
    assert!(shown.contains("Left out: 1500 items") && shown.contains("and 500 more"));
    assert!(!page(third.id).await.contains("Left out"));
}

#[tokio::test]
async fn a_list_that_is_none_is_refused() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one")]);
    let long = LeftOut {
        count: 1,
        items: vec![LeftOutItem {
            path: "p".repeat(5000),
            reason: "a device node".to_owned(),
        }],
    };
    for bad in [list(2, 3), list(2000, 1001), long] {
        let mut made = commit(&root_commit(), &files);
        made.sealed.left_out = Some(bad);
        let pushed = push(&alice, &app, None, &made, &files).await;
        let error = refused(pushed, ErrorCode::Invalid);
        assert!(error.message.contains("left-out items"), "{error:?}");
    }
}
