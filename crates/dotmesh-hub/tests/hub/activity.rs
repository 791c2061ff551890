//! The events of a dot that each user can see.

use dotmesh_api::hub::Access;
use jiff::Timestamp;
use serde_json::json;

use crate::ambient;
use crate::api::Api;
use crate::pages::{Browser, PASSWORD};
use crate::support::{TestHub, dot, push_first};

/// A user with a key and a browser.
async fn user(hub: &TestHub, name: &str) -> (Api, Browser) {
    let browser = Browser::logged_in(hub, name).await;
    let key = dotmesh_hub_model::credentials::ApiKey::generate(&ambient::random());
    let name = name.parse().unwrap();
    let id = hub.hub.database.user(&name).await.unwrap().unwrap();
    let new = dotmesh_hub_db::keys::NewKey::first(key.digest());
    let making = hub
        .hub
        .database
        .create_key(id, &name, &new, crate::ambient::now());
    making.await.unwrap();
    (Api::new(hub, key.reveal()), browser)
}

/// Returns the texts of the events on a page, and the number of the last one.
async fn told(browser: &mut Browser, dot: &str) -> (Vec<String>, String) {
    let page = browser.get(&format!("/{dot}/activity")).await.body;
    let since = page.split("data-since=\"").nth(1).unwrap();
    let since = since.split('"').next().unwrap().to_owned();
    let list = page
        .split("<ol class=\"rows card events\">")
        .nth(1)
        .unwrap();
    let items = list.split("</li>").filter(|item| item.contains("<strong>"));
    let texts = items.map(|item| {
        let text = item.split("<strong>").nth(1).unwrap();
        let text = text.split("</div>").next().unwrap();
        let parts = text
            .split('<')
            .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        let words: Vec<String> = parts
            .flat_map(|part| part.split_whitespace().map(str::to_owned))
            .collect();
        words.join(" ")
    });
    (texts.collect(), since)
}

#[tokio::test]
async fn a_public_dot_tells_each_viewer_what_they_may_know() {
    let hub = TestHub::start().await;
    let (alice, mut owner) = user(&hub, "alice").await;
    let (_, mut writer) = user(&hub, "bob").await;
    let (_, mut maintainer) = user(&hub, "carol").await;
    let (erin, _) = user(&hub, "erin").await;
    let mut anybody = Browser::new(&hub);
    let (client, _) = hub.user_with_secret("dave").await;
    push_first(&client, &dot("dave/customer-x"), b"one").await;
    client
        .grant(
            &dot("dave/customer-x"),
            &"alice".parse().unwrap(),
            Access::Write,
        )
        .await
        .unwrap();

    alice
        .done(
            "POST",
            "dots/dave/customer-x/fork",
            json!({"name": "customer-x"}),
        )
        .await;
    alice
        .done(
            "POST",
            "dots/alice/customer-x/rename",
            json!({"name": "app"}),
        )
        .await;
    let app = "dots/alice/app";
    for (user, access) in [("bob", "write"), ("carol", "maintain")] {
        let path = format!("{app}/collaborators/{user}");
        alice.done("PUT", &path, json!({"access": access})).await;
    }
    let public = json!({"visibility": "public"});
    alice
        .done("PATCH", &format!("{app}/settings"), public)
        .await;
    let tag = json!({"at": "master", "message": "shown"});
    alice.done("PUT", &format!("{app}/tags/v1"), tag).await;
    let hook = json!({"url": "https://example.com/", "topics": ["push"]});
    alice.done("POST", &format!("{app}/webhooks"), hook).await;
    alice
        .done("PUT", &format!("{app}/offer"), json!({"user": "erin"}))
        .await;

    let content = ["alice created the tag v1", "alice made it public"].map(str::to_owned);
    let nameless = ["alice renamed it", "alice forked it from another dot"].map(str::to_owned);
    let renamed = "alice renamed it from alice/customer-x".to_owned();
    let forked = "alice forked it from dave/customer-x".to_owned();
    let seen_by_all = [&content[..], &nameless].concat();
    let (texts, since) = told(&mut anybody, "alice/app").await;
    assert_eq!(texts, seen_by_all);
    let (texts, since_writer) = told(&mut writer, "alice/app").await;
    assert_eq!(texts, seen_by_all);
    let (texts, _) = told(&mut maintainer, "alice/app").await;
    let by_maintainer = [&content[..], std::slice::from_ref(&renamed), &nameless[1..]].concat();
    assert_eq!(texts, by_maintainer);
    let (texts, since_owner) = told(&mut owner, "alice/app").await;
    let all = [
        "alice offered it to erin".to_owned(),
        "alice created the webhook 1".to_owned(),
        content[0].clone(),
        content[1].clone(),
        "alice gave carol maintain access".to_owned(),
        "alice gave bob write access".to_owned(),
        renamed.clone(),
        forked.clone(),
    ];
    assert_eq!(texts, all);
    // The number on a page does not reveal a hidden event either.
    assert_eq!(since, since_writer);
    let number = |text: &str| text.parse::<i64>().unwrap();
    assert_eq!(number(&since) + 2, number(&since_owner));
    let page = anybody.get("/alice/app/activity").await.body;
    for hidden in ["customer-x", "bob", "carol", "dave", "erin", "webhook"] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }

    let (database, app) = (&hub.hub.database, dot("alice/app"));
    let id = database
        .dot_facts(&app, None, None)
        .await
        .unwrap()
        .dot
        .unwrap();
    let count = async |access| {
        let weeks = database
            .events_by_week(id, access, Timestamp::UNIX_EPOCH)
            .await;
        weeks.unwrap().iter().map(|(_, count)| count).sum::<u64>()
    };
    assert_eq!(
        (count(Access::Read).await, count(Access::Owner).await),
        (4, 8)
    );

    // Only maintainers see whose dot it was.
    let offers = erin.done("GET", "offers", serde_json::Value::Null).await;
    let path = format!("offers/{}", offers[0]["id"].as_str().unwrap());
    erin.done("POST", &path, json!({"name": "mine"})).await;
    let (texts, _) = told(&mut anybody, "erin/mine").await;
    assert_eq!(texts[0], "erin took it over");
    let mut erin = Browser::new(&hub);
    erin.log_in("erin", PASSWORD).await;
    let (texts, _) = told(&mut erin, "erin/mine").await;
    assert_eq!(texts[0], "erin took it over from alice/app");
    assert_eq!(*texts.last().unwrap(), nameless[1]);
    // The former owner is a maintainer, and still sees the origin.
    let (texts, _) = told(&mut owner, "erin/mine").await;
    assert_eq!(
        (&texts[0], texts.last().unwrap()),
        (&"erin took it over from alice/app".to_owned(), &forked)
    );
}
