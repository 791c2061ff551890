//! Webhooks: other servers receive signed events at least once. The hub never connects to forbidden addresses.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_hub_db::events::EventsOf;
use dotmesh_hub_service::settings::Settings;
use dotmesh_hub_service::webhooks::dispatcher::{CLAIM, Dispatcher};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Notify;

use crate::ambient;
use crate::api::Api;
use crate::cli::start;
use crate::pages::Browser;
use crate::place::Place;
use crate::support::{
    Files, Made, TestHub, commit, dot, files, finish, pack, push, push_first, update,
};

/// The receiver's reply to a request. Without one it accepts the request.
#[derive(Clone)]
enum Reply {
    Status(u16),
    Redirect,
    Hang,
    Endless,
}

/// A request that the receiver got.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: String,
}

/// A server that receives events.
#[derive(Clone)]
struct Receiver {
    received: Arc<Mutex<Vec<Received>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    arrived: Arc<Notify>,
    port: u16,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            received: Arc::default(),
            replies: Arc::default(),
            arrived: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?token=in-the-address", self.port)
    }

    fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    /// Takes the requests that arrived since the last call.
    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// Waits for the next request.
    async fn next(&self) -> Received {
        loop {
            let arrived = self.arrived.notified();
            let first = self.received.lock().unwrap().pop();
            match first {
                Some(received) => return received,
                None => arrived.await,
            }
        }
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receiver.received.lock().unwrap().push(Received {
        path: uri.to_string(),
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    receiver.arrived.notify_one();
    let reply = receiver.replies.lock().unwrap().pop_front();
    match reply {
        None => "thanks".into_response(),
        Some(Reply::Status(status)) => {
            (StatusCode::from_u16(status).unwrap(), "no \0 thanks").into_response()
        }
        Some(Reply::Redirect) => {
            (StatusCode::FOUND, [("location", "/elsewhere")], "").into_response()
        }
        Some(Reply::Hang) => std::future::pending().await,
        Some(Reply::Endless) => {
            let parts = futures::stream::repeat_with(|| Ok::<_, std::io::Error>("0123456789"));
            axum::body::Body::from_stream(parts).into_response()
        }
    }
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn id(&self) -> &str {
        self.header("webhook-id")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Verifies the signature as the specification defines it.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let (id, time) = (self.id(), self.header("webhook-timestamp"));
        mac.update(format!("{id}.{time}.{}", self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature") == expected
    }
}

fn to_private() -> Settings {
    Settings {
        webhooks_to_private: true,
        ..Settings::default()
    }
}

/// A hub with a dot `alice/app`, its owner, a receiver, and a dispatcher.
struct Case {
    hub: TestHub,
    alice: dotmesh_api::HubClient,
    api: Api,
    receiver: Receiver,
    dispatcher: Dispatcher,
    first: Made,
}

impl Case {
    async fn start() -> Self {
        Self::start_with(to_private()).await
    }

    async fn start_with(settings: Settings) -> Self {
        let hub = TestHub::start_with(settings).await;
        let (alice, key) = hub.user_with_secret("alice").await;
        let (first, _) = push_first(&alice, &dot("alice/app"), b"one").await;
        Self {
            api: Api::new(&hub, &key),
            alice,
            receiver: Receiver::start().await,
            dispatcher: Dispatcher::new(&hub.hub, Duration::from_secs(60)).unwrap(),
            hub,
            first,
        }
    }

    /// Makes a webhook, and returns its id and secret.
    async fn hook(&self, topics: &[&str]) -> (String, String) {
        let body = json!({ "url": self.receiver.url(), "topics": topics });
        let made = self.api.done("POST", "dots/alice/app/webhooks", body).await;
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    /// Delivers all that is due, and returns the requests that arrived.
    async fn deliver(&self, now: Timestamp) -> Vec<Received> {
        while self.dispatcher.round(now).await.unwrap() > 0 {}
        self.receiver.take()
    }

    async fn log(&self, id: &str) -> Value {
        let path = format!("dots/alice/app/webhooks/{id}/deliveries");
        self.api.done("GET", &path, Value::Null).await
    }

    async fn tag(&self, name: &str) {
        let path = format!("dots/alice/app/tags/{name}");
        self.api.done("PUT", &path, json!({ "at": "master" })).await;
    }

    async fn state(&self, id: &str) -> String {
        let path = format!("dots/alice/app/webhooks/{id}");
        let webhook = self.api.done("GET", &path, Value::Null).await;
        webhook["state"].as_str().unwrap().to_owned()
    }
}

/// A push event is sent when the data of an older commit arrives.
#[tokio::test]
async fn data_that_comes_later_is_told() {
    let case = Case::start().await;
    case.hook(&["push"]).await;
    let app = dot("alice/app");
    let (old, new) = (files(&[("a", b"old")]), files(&[("a", b"new")]));
    let mut bare = commit(&case.first, &old);
    bare.sealed.without_data = true;
    let head = commit(&bare, &new);
    let send = async |files: &Files, commits: &[&Made], branches| {
        let upload = case.alice.begin_upload(&app).await.unwrap();
        let pack = pack(&files.objects);
        case.alice.send_pack(&app, &upload, pack).await.unwrap();
        let request = finish(commits, branches);
        case.alice
            .finish_upload(&app, &upload, &request)
            .await
            .unwrap();
    };
    send(
        &new,
        &[&bare, &head],
        vec![update(Some(&case.first), &head)],
    )
    .await;
    bare.sealed.without_data = false;
    send(&old, &[&bare], Vec::new()).await;
    let arrived = case.deliver(ambient::now()).await;
    let told = arrived.iter().map(|received| {
        let data = &received.json()["data"];
        let branches = data["branches"].as_array().unwrap().len();
        (data["commits"].clone(), data["filled"].clone(), branches)
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [(json!(2), json!(0), 1), (json!(0), json!(1), 0)]);
}

#[tokio::test]
async fn what_happens_is_told_in_order_and_signed() {
    let case = Case::start().await;
    let (_, secret) = case.hook(&["push", "branch", "tag", "access"]).await;
    let (_, other) = case.hook(&["tag"]).await;
    let two = files(&[("a", b"two")]);
    let second = commit(&case.first, &two);
    let app = dot("alice/app");
    push(&case.alice, &app, Some(&case.first), &second, &two)
        .await
        .unwrap();
    case.hub.user("bob").await;
    let at = json!({ "at": "master" });
    let steps = [
        ("PUT", "branches/try", at.clone()),
        ("PUT", "protected/try", Value::Null),
        ("DELETE", "protected/try", Value::Null),
        ("DELETE", "branches/try", Value::Null),
        ("PUT", "tags/v1", at),
        ("DELETE", "tags/v1", Value::Null),
        ("PUT", "collaborators/bob", json!({ "access": "read" })),
        ("DELETE", "collaborators/bob", Value::Null),
        ("PATCH", "settings", json!({ "visibility": "public" })),
        ("PATCH", "settings", json!({ "description": "is not told" })),
        ("POST", "rename", json!({ "name": "shop" })),
    ];
    for (method, path, body) in steps {
        case.api
            .done(method, &format!("dots/alice/app/{path}"), body)
            .await;
    }

    let arrived = case.deliver(ambient::now()).await;
    let (of_tags, of_all): (Vec<_>, Vec<_>) = arrived
        .into_iter()
        .partition(|received| received.is_signed_with(&other));
    let kinds: Vec<_> = of_all.iter().map(Received::kind).collect();
    assert_eq!(
        kinds,
        [
            "push",
            "branch.created",
            "branch.protected",
            "branch.unprotected",
            "branch.deleted",
            "tag.created",
            "tag.deleted",
            "access.granted",
            "access.revoked",
            "dot.published",
            "dot.renamed",
        ]
    );
    let kinds: Vec<_> = of_tags.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["tag.created", "tag.deleted"]);
    assert!(
        of_all
            .iter()
            .all(|received| received.is_signed_with(&secret))
    );
    let ids: BTreeSet<_> = of_all.iter().chain(&of_tags).map(Received::id).collect();
    assert_eq!(ids.len(), 13);

    let (url, head) = (&case.hub.url, second.id.to_string());
    let told = of_all[0].json();
    let time = told["timestamp"].as_str().unwrap();
    assert!(time.parse::<Timestamp>().is_ok(), "{time}");
    assert_eq!(
        told["data"],
        json!({
            "actor": "alice",
            "dot": { "name": "alice/app", "url": format!("{url}/alice/app") },
            "commits": 1,
            "filled": 0,
            "branches": [{
                "name": "master",
                "head": head,
                "is_new": false,
                "replaced": null,
                "url": format!("{url}/alice/app/commit/{head}"),
            }],
        })
    );
    assert_eq!(of_all[7].json()["data"]["access"], "read");
    let renamed = of_all[10].json();
    assert_eq!(renamed["data"]["dot"]["name"], "alice/shop");
    assert_eq!(renamed["data"]["from"], "alice/app");
    // A delivered event is not sent again.
    let later = ambient::now() + SignedDuration::from_hours(48);
    assert!(case.deliver(later).await.is_empty());
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_as_it_was() {
    let case = Case::start().await;
    let (id, secret) = case.hook(&["tag"]).await;
    case.tag("v1").await;
    case.receiver
        .then([Reply::Status(500), Reply::Hang, Reply::Redirect]);
    let start = ambient::now();
    let mut now = start;
    let mut arrived = Vec::new();
    let impatient = Dispatcher::new(&case.hub.hub, Duration::from_secs(1)).unwrap();
    for (dispatcher, status, words) in [
        (&case.dispatcher, json!(500), "answered 500"),
        (&impatient, Value::Null, "no answer within 1 seconds"),
        (&case.dispatcher, json!(302), "redirects are not followed"),
    ] {
        assert_eq!(dispatcher.round(now).await.unwrap(), 1);
        arrived.extend(case.receiver.take());
        // The dispatcher does not retry early.
        assert!(case.deliver(now).await.is_empty());
        let log = case.log(&id).await;
        let log = &log[0];
        assert_eq!(log["state"], "pending", "{log}");
        assert_eq!(log["status"], status, "{log}");
        assert!(log["error"].as_str().unwrap().contains(words), "{log}");
        now = Timestamp::from_second(log["due"].as_i64().unwrap()).unwrap();
    }
    arrived.extend(case.deliver(now).await);
    assert_eq!(arrived.len(), 4);
    for received in &arrived {
        assert!(received.path.starts_with("/hook?"), "{}", received.path);
        assert!(received.is_signed_with(&secret));
        assert_eq!(received.id(), arrived[0].id());
        assert_eq!(received.body, arrived[0].body);
    }
    let log = case.log(&id).await;
    assert_eq!(log[0]["state"], "delivered");
    assert_eq!(log[0]["attempts"], 4);
    assert_eq!(log[0]["response"], "thanks");
    assert_eq!(log[0]["error"], Value::Null);
    assert_eq!(log[0]["due"], Value::Null);
    assert!(now.duration_since(start) < SignedDuration::from_mins(10));

    // Redelivery by hand keeps the id.
    let delivery = log[0]["id"].as_str().unwrap();
    let path = format!("dots/alice/app/webhooks/{id}/deliveries/{delivery}/redeliver");
    case.api.done("POST", &path, Value::Null).await;
    let again = case.deliver(ambient::now()).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].id(), arrived[0].id());

    // The hub keeps the start of an endless answer.
    case.receiver.then([Reply::Endless]);
    case.api.done("POST", &path, Value::Null).await;
    case.deliver(ambient::now()).await;
    let log = case.log(&id).await;
    assert_eq!(log[0]["state"], "delivered");
    assert_eq!(log[0]["response"].as_str().unwrap().len(), 4096);
}

#[tokio::test]
async fn what_fails_for_days_is_given_up_and_switched_off() {
    let case = Case::start().await;
    let (id, _) = case.hook(&["tag"]).await;
    case.receiver.then(vec![Reply::Status(503); 16]);
    let mut now = ambient::now();
    // The second event is not delivered either, days after the first.
    for (tag, state) in [("v1", "on"), ("v2", "failed")] {
        let start = now;
        case.tag(tag).await;
        let mut attempts = 0;
        loop {
            attempts += case.deliver(now).await.len();
            match case.log(&id).await[0]["due"].as_i64() {
                Some(due) => now = Timestamp::from_second(due).unwrap(),
                None => break,
            }
        }
        assert_eq!(attempts, 8);
        let took = now.duration_since(start);
        assert!(took > SignedDuration::from_hours(20), "{took}");
        assert!(took < SignedDuration::from_hours(30), "{took}");
        assert_eq!(case.state(&id).await, state);
        now += SignedDuration::from_hours(30);
    }
    // The webhook receives nothing until it is switched on, and then only new events.
    case.tag("silent").await;
    assert!(case.deliver(now).await.is_empty());
    let path = format!("dots/alice/app/webhooks/{id}");
    let ping = format!("{path}/ping");
    assert_eq!(
        case.api.refused("POST", &ping, Value::Null).await,
        "invalid"
    );
    case.api.done("PATCH", &path, json!({ "on": true })).await;
    case.tag("heard").await;
    let arrived = case.deliver(now).await;
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].json()["data"]["tag"], "heard");

    // Status 410 switches the webhook off.
    case.receiver.then([Reply::Status(410)]);
    case.tag("gone").await;
    assert_eq!(case.deliver(now).await.len(), 1);
    assert_eq!(case.state(&id).await, "failed");
}

#[tokio::test]
async fn what_fails_does_not_hold_up_what_comes_after() {
    let case = Case::start().await;
    let (id, _) = case.hook(&["tag"]).await;
    case.receiver.then([Reply::Status(500)]);
    case.tag("v1").await;
    case.tag("v2").await;
    let arrived = case.deliver(ambient::now()).await;
    assert_eq!(arrived.len(), 2);
    // Switching a webhook off drops its pending deliveries.
    let path = format!("dots/alice/app/webhooks/{id}");
    case.api.done("PATCH", &path, json!({ "on": false })).await;
    let later = ambient::now() + SignedDuration::from_hours(1);
    assert!(case.deliver(later).await.is_empty());
    let log = case.log(&id).await;
    assert_eq!(log[1]["state"], "failed");
    let error = log[1]["error"].as_str().unwrap();
    assert!(error.contains("switched off"), "{error}");
}

#[tokio::test]
async fn the_hubs_own_network_is_closed() {
    let case = Case::start_with(Settings::default()).await;
    let path = "dots/alice/app/webhooks";
    for url in [
        "http://127.0.0.1:1/",
        "http://[::1]/",
        "http://0x7f000001/",
        "http://169.254.169.254/latest/meta-data",
        "http://user:pass@example.com/",
        "ftp://example.com/",
        "nonsense",
    ] {
        let body = json!({ "url": url, "topics": ["tag"] });
        let refused = case.api.refused("POST", path, body).await;
        assert_eq!(refused, "invalid", "{url}");
    }
    let nothing = json!({ "url": "https://example.com", "topics": [] });
    assert_eq!(case.api.refused("POST", path, nothing).await, "invalid");
    // A host name is checked at delivery.
    let url = format!("http://localhost:{}/", case.receiver.port);
    let body = json!({ "url": url, "topics": ["tag"] });
    let made = case.api.done("POST", path, body).await;
    let id = made["id"].as_str().unwrap();
    case.tag("v1").await;
    assert!(case.deliver(ambient::now()).await.is_empty());
    let log = case.log(id).await;
    let error = log[0]["error"].as_str().unwrap();
    assert!(error.contains("leads to no public address"), "{error}");
    assert!(
        !error.contains("127.0.0.1") && !error.contains("::1"),
        "{error}"
    );
    let change = json!({ "url": "http://10.0.0.1/" });
    let path = format!("{path}/{id}");
    assert_eq!(case.api.refused("PATCH", &path, change).await, "invalid");
}

#[tokio::test]
async fn several_processes_deliver_each_once() {
    let case = Case::start().await;
    for _ in 0..4 {
        case.hook(&["tag"]).await;
    }
    for number in 0..10 {
        case.tag(&format!("v{number}")).await;
    }
    let beside = case.hub.beside().await;
    let other = Dispatcher::new(&beside, Duration::from_secs(5)).unwrap();
    let now = ambient::now();
    let work = |dispatcher: Dispatcher| async move {
        for _ in 0..40 {
            dispatcher.round(now).await.unwrap();
        }
    };
    tokio::join!(work(case.dispatcher.clone()), work(other));
    let arrived = case.receiver.take();
    let ids: BTreeSet<_> = arrived.iter().map(Received::id).collect();
    assert_eq!((arrived.len(), ids.len()), (40, 40));
    beside.database.close().await;
}

#[tokio::test]
async fn who_is_killed_before_writing_down_has_another_repeat_it() {
    let case = Case::start().await;
    let (id, _) = case.hook(&["tag"]).await;
    case.tag("v1").await;
    let now = ambient::now();
    case.receiver.then([Reply::Hang]);
    let patient = Dispatcher::new(&case.hub.hub, Duration::from_secs(60)).unwrap();
    let attempt = tokio::spawn(async move { patient.round(now).await });
    let first = case.receiver.next().await;
    attempt.abort();
    assert!(attempt.await.unwrap_err().is_cancelled());
    // The first attempt could still be in flight, so the hub waits. Later events do not overtake it.
    case.tag("v2").await;
    assert!(case.deliver(now).await.is_empty());
    let arrived = case.deliver(now + CLAIM).await;
    assert_eq!(arrived.len(), 2);
    assert_eq!(arrived[0].id(), first.id());
    assert_eq!(arrived[0].body, first.body);
    assert_eq!(case.log(&id).await[1]["attempts"], 2);
}

#[tokio::test]
async fn a_deleted_dot_is_silent_and_a_new_owner_begins_anew() {
    let case = Case::start().await;
    let (id, _) = case.hook(&["push", "branch", "tag", "access"]).await;
    case.tag("v1").await;
    case.api.done("DELETE", "dots/alice/app", Value::Null).await;
    assert!(case.deliver(ambient::now()).await.is_empty());
    let trash = case.api.done("GET", "trash", Value::Null).await;
    let path = format!("trash/{}/restore", trash[0]["id"].as_str().unwrap());
    case.api.done("POST", &path, Value::Null).await;
    let arrived = case.deliver(ambient::now()).await;
    let kinds: Vec<_> = arrived.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["tag.created", "dot.restored"]);

    let (_, key) = case.hub.user_with_secret("bob").await;
    let bob = Api::new(&case.hub, &key);
    case.api
        .done("PUT", "dots/alice/app/offer", json!({ "user": "bob" }))
        .await;
    assert_eq!(case.deliver(ambient::now()).await.len(), 1);
    let offers = bob.done("GET", "offers", Value::Null).await;
    let path = format!("offers/{}", offers[0]["id"].as_str().unwrap());
    bob.done("POST", &path, json!({ "name": "app" })).await;
    let hook = bob
        .done("GET", &format!("dots/bob/app/webhooks/{id}"), Value::Null)
        .await;
    assert_eq!(hook["state"], "off");
    assert!(case.deliver(ambient::now()).await.is_empty());
    // The former owner is a maintainer now, and maintainers cannot make webhooks.
    let path = format!("dots/bob/app/webhooks/{id}");
    assert_eq!(
        case.api.refused("GET", &path, Value::Null).await,
        "forbidden"
    );
}

#[tokio::test]
async fn secrets_are_shown_once_and_addresses_to_the_owner() {
    let case = Case::start().await;
    let (id, secret) = case.hook(&["tag"]).await;
    let path = format!("dots/alice/app/webhooks/{id}");
    let renewed = case
        .api
        .done("POST", &format!("{path}/secret"), Value::Null)
        .await;
    let renewed = renewed["secret"].as_str().unwrap().to_owned();
    assert_ne!(renewed, secret);
    case.tag("v1").await;
    case.api
        .done("POST", &format!("{path}/ping"), Value::Null)
        .await;
    let arrived = case.deliver(ambient::now()).await;
    assert_eq!(arrived.len(), 2);
    assert!(arrived.iter().all(|one| one.is_signed_with(&renewed)));
    assert_eq!(arrived[1].kind(), "ping");
    let mut told = Vec::new();
    for path in [
        "dots/alice/app/webhooks",
        &path,
        &format!("{path}/deliveries"),
    ] {
        told.push(case.api.done("GET", path, Value::Null).await.to_string());
    }
    case.api
        .done(
            "PATCH",
            "dots/alice/app/settings",
            json!({ "visibility": "public" }),
        )
        .await;
    let mut anybody = Browser::new(&case.hub);
    let activity = anybody.get("/alice/app/activity").await.body;
    assert!(!activity.contains("webhook"), "{activity}");
    let events = case.hub.hub.database.events(EventsOf::Hub, None, 100).await;
    let events = format!("{:?}", events.unwrap());
    for secret in [&secret, &renewed] {
        let bare = secret.strip_prefix("whsec_").unwrap();
        for text in told.iter().chain([&activity, &events]) {
            assert!(!text.contains(bare), "{text}");
        }
    }
    for public in [&activity, &events] {
        assert!(!public.contains("in-the-address"), "{public}");
    }
    case.api.done("DELETE", &path, Value::Null).await;
    assert_eq!(
        case.api.refused("GET", &path, Value::Null).await,
        "not_found"
    );
}

#[tokio::test]
async fn webhooks_are_looked_after_on_pages() {
    let case = Case::start().await;
    let mut bob = Browser::logged_in(&case.hub, "bob").await;
    case.api
        .done("PUT", "dots/alice/app/offer", json!({ "user": "bob" }))
        .await;
    bob.submit("/-/offers/take", &[("dot", "1"), ("name", "app")])
        .await;
    let list = "/bob/app/settings/webhooks";
    assert!(
        bob.get(list)
            .await
            .body
            .contains("This dot has no webhooks")
    );
    let url = case.receiver.url();
    let made = bob
        .submit(list, &[("url", &url), ("tag", "on"), ("push", "on")])
        .await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let start = made.body.find("whsec_").unwrap();
    let secret = made.body[start..].split('<').next().unwrap().to_owned();
    let start = made.body.find("/bob/app/settings/webhooks/").unwrap();
    let page = made.body[start..].split('"').next().unwrap().to_owned();
    let ping = bob.submit(&format!("{page}/ping"), &[]).await;
    assert_eq!(ping.location.as_deref(), Some(page.as_str()));
    case.receiver.then([Reply::Status(418)]);
    let arrived = case.deliver(ambient::now()).await;
    assert_eq!(arrived.len(), 1);
    assert!(arrived[0].is_signed_with(&secret.replace("&#61;", "=").replace("&#x3D;", "=")));
    let shown = bob.get(&page).await.body;
    for words in [
        "ping",
        "answered 418",
        "Deliver now",
        "no \u{fffd} thanks",
        "bob/app",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("whsec_"), "{shown}");
    bob.submit(&format!("{page}/switch"), &[("on", "0")]).await;
    assert!(bob.get(&page).await.body.contains("Switch it on"));
    let renewed = bob.submit(&format!("{page}/secret"), &[]).await;
    assert!(renewed.body.contains("whsec_") && !renewed.body.contains(&secret));
    bob.submit(
        &page,
        &[("url", "https://example.com/other"), ("access", "on")],
    )
    .await;
    assert!(
        bob.get(list)
            .await
            .body
            .contains("https://example.com/other")
    );
    let gone = bob.submit(&format!("{page}/delete"), &[]).await;
    assert_eq!(gone.location.as_deref(), Some(list));
    assert_eq!(bob.get(&page).await.status, StatusCode::NOT_FOUND);
}

/// The running program delivers at once. The example in the manual verifies the signature.
#[tokio::test]
async fn a_serving_hub_delivers_at_once_and_the_manual_checks_it() {
    let place = Place::new().await;
    let key = &place.hub_with_user("alice").await;
    let serving = start(place.dothub(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--webhooks-to-private",
        "--url",
        "https://hub.example.com/",
    ]));
    let alice = serving.client("alice", key);
    push_first(&alice, &dot("alice/app"), b"one").await;
    let api = Api::at(&format!("http://{}", serving.address()), key);
    let receiver = Receiver::start().await;
    let body = json!({ "url": receiver.url(), "topics": ["tag"] });
    let made = api.done("POST", "dots/alice/app/webhooks", body).await;
    let secret = made["secret"].as_str().unwrap();
    let tag = json!({ "at": "master" });
    api.done("PUT", "dots/alice/app/tags/v1", tag).await;
    let received = tokio::time::timeout(Duration::from_secs(60), receiver.next());
    let received = received.await.unwrap();
    let url = received.json()["data"]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://hub.example.com/alice/app/commit/"));

    let manual = include_str!("../../../../docs/hub.md");
    let example = manual.split("```python\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let check = |body: &str| {
        let call = format!(
            "{example}\nheaders = {{'webhook-id': {:?}, 'webhook-timestamp': {:?}, 'webhook-signature': {:?}}}\n\
             raise SystemExit(0 if is_genuine({secret:?}, headers, {body:?}.encode()) else 9)",
            received.id(),
            received.header("webhook-timestamp"),
            received.header("webhook-signature"),
        );
        let run = std::process::Command::new("python3")
            .args(["-c", &call])
            .status();
        run.ok().and_then(|status| status.code())
    };
    // Skip the check if Python is not installed.
    if let Some(code) = check(&received.body) {
        assert_eq!(code, 0);
        assert_eq!(check(&received.body.replace("v1", "v2")), Some(9));
    }
}
