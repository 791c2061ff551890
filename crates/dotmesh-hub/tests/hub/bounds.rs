//! No user's data makes the hub slow for others: every value has a maximum size, every page has a bound. Pages still
//! show larger values from an older hub, shortened.

use std::time::{Duration, Instant};

use dotmesh_api::hub::BranchUpdate;
use dotmesh_api::{ErrorCode, HubClient};
use dotmesh_hub_model::limits;
use dotmesh_model::{CommitRecord, LeftOut, LeftOutItem};
use serde_json::{Value, json};
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _};

use crate::api::Api;
use crate::pages::Browser;
use crate::place::Place;
use crate::support::{
    Files, Made, TestHub, branch, commit, dot, files, finish, pack, push, push_first, refused,
    root_commit, sealed, update,
};

/// The largest page in these tests, in bytes.
const LARGEST: usize = 3 << 20;

/// Connects to a place's database, to write rows as an older hub did.
pub(crate) async fn connection(place: &Place) -> AnyConnection {
    let url = match &place.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}", place.sqlite().unwrap().display()),
    };
    let options: AnyConnectOptions = url.parse().unwrap();
    options.connect().await.unwrap()
}

pub(crate) async fn run(place: &Place, statement: String) {
    let mut connection = connection(place).await;
    let statement = sqlx::query(sqlx::AssertSqlSafe(statement));
    statement.execute(&mut connection).await.unwrap();
}

/// A commit with a changed record.
pub(crate) fn saying(parent: &Made, files: &Files, change: impl FnOnce(&mut CommitRecord)) -> Made {
    let made = commit(parent, files);
    let mut record = CommitRecord::decode(made.sealed.record.as_bytes()).unwrap();
    change(&mut record);
    Made {
        id: made.id,
        sealed: sealed(parent, &record, files.root()),
    }
}

/// Writes commits directly to the database, so no limits apply, as on an older hub.
pub(crate) async fn write_commits(place: &Place, dot: &str, commits: &[(&Made, &Made)]) {
    let mut connection = connection(place).await;
    for (parent, made) in commits {
        let record = CommitRecord::decode(made.sealed.record.as_bytes()).unwrap();
        let statement = sqlx::query(
            "INSERT INTO commits (dot, id, parent, seal, root, record, author, time, message)
             SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM dots WHERE name = $1",
        );
        let written = statement
            .bind(dot.to_owned())
            .bind(made.id.as_bytes().to_vec())
            .bind(parent.id.as_bytes().to_vec())
            .bind(made.sealed.seal.as_bytes().to_vec())
            .bind(made.sealed.root.as_bytes().to_vec())
            .bind(made.sealed.record.clone())
            .bind(record.author)
            .bind(record.time.as_second())
            .bind(record.message)
            .execute(&mut connection)
            .await;
        assert_eq!(written.unwrap().rows_affected(), 1);
    }
    let last = commits.last().unwrap().1.id;
    let statement = sqlx::query(
        "UPDATE branches SET head = $1 WHERE dot = (SELECT id FROM dots WHERE name = $2)",
    );
    let moved = statement
        .bind(last.as_bytes().to_vec())
        .bind(dot.to_owned());
    moved.execute(&mut connection).await.unwrap();
}

/// A chain of commits after a first one, each with a message.
pub(crate) fn line(
    first: &Made,
    files: &Files,
    count: usize,
    message: impl Fn(usize) -> String,
) -> Vec<Made> {
    let mut line: Vec<Made> = Vec::with_capacity(count);
    for n in 0..count {
        let parent = line.last().unwrap_or(first);
        let made = saying(parent, files, |record| record.message = message(n));
        line.push(made);
    }
    line
}

fn pairs<'a>(first: &'a Made, line: &'a [Made]) -> Vec<(&'a Made, &'a Made)> {
    let parents = std::iter::once(first).chain(line);
    parents.zip(line).collect()
}

struct Scene {
    hub: TestHub,
    alice: HubClient,
    api: Api,
    first: Made,
    files: Files,
}

impl Scene {
    /// Starts a hub with a public dot.
    async fn new() -> Self {
        let hub = TestHub::start().await;
        let (alice, key) = hub.user_with_secret("alice").await;
        let api = Api::new(&hub, &key);
        let (first, files) = push_first(&alice, &dot("alice/app"), b"one").await;
        let public = json!({"visibility": "public"});
        api.done("PATCH", "dots/alice/app/settings", public).await;
        Self {
            hub,
            alice,
            api,
            first,
            files,
        }
    }

    /// Loads pages as a stranger. Each must come quickly and be small.
    async fn look(&self, paths: &[&str]) {
        let mut stranger = Browser::new(&self.hub);
        for path in paths {
            let started = Instant::now();
            let answer = stranger.get(path).await;
            let (took, length) = (started.elapsed(), answer.body.len());
            assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
            assert!(length < LARGEST, "{path} has {length} bytes");
            assert!(took < Duration::from_secs(10), "{path} took {took:?}");
        }
    }
}

#[tokio::test]
async fn pages_show_long_messages_of_an_older_hub_cut() {
    let scene = Scene::new().await;
    // The worst case for a search: the start of the word matches at almost every position of one long line.
    let long = |n: usize| format!("needle{n} {}", "a".repeat((1 << 20) - 2048));
    let line = line(&scene.first, &scene.files, 120, long);
    let pairs = pairs(&scene.first, &line);
    write_commits(scene.hub.place(), "app", &pairs).await;
    let word = format!("{}b", "a".repeat(63));
    let words = [word.as_str(); 7].join("+");
    let head = line.last().unwrap().id;
    scene
        .look(&[
            "/alice/app",
            "/alice/app/graph",
            "/alice/app/activity",
            "/alice/app/commits",
            &format!("/alice/app/commit/{head}"),
            "/alice/app/tree/master",
            &format!("/alice/app/compare/{}...master", scene.first.id),
            "/-/search?in=commits&q=needle1",
            &format!("/-/search?in=commits&q=needle1+{words}"),
            "/-/search?in=commits&q=needle",
        ])
        .await;
    // A clone gets every record as it was sealed.
    let commits = scene
        .alice
        .commits(&dot("alice/app"), head, Some(scene.first.id))
        .await
        .unwrap()
        .commits;
    assert_eq!(commits.len(), 120);
    assert_eq!(commits[0], line.last().unwrap().sealed);
}

#[tokio::test]
async fn thousands_of_branches_are_pages() {
    const COUNT: usize = 30_000;
    let scene = Scene::new().await;
    let place = scene.hub.place();
    for block in 0..COUNT.div_ceil(8000) {
        let statement = format!(
            "INSERT INTO branches (dot, name, head)
             SELECT b.dot, 'old/branch-' || (n.n + {}), b.head FROM numbers n, branches b
             WHERE n.n < 8000 AND n.n + {} < {COUNT} AND b.name = 'master'",
            block * 8000,
            block * 8000,
        );
        run(place, statement).await;
        let statement = format!(
            "INSERT INTO tags (dot, name, commit_id, message, author, created)
             SELECT b.dot, 'old/tag-' || (n.n + {}), b.head, 'm', 'alice', n.n FROM numbers n, branches b
             WHERE n.n < 8000 AND n.n + {} < {COUNT} AND b.name = 'master'",
            block * 8000,
            block * 8000,
        );
        run(place, statement).await;
    }
    let id = scene.first.id;
    scene
        .look(&[
            "/alice/app",
            "/alice/app/graph",
            "/alice/app/commits",
            "/alice/app/branches",
            "/alice/app/tags",
            "/alice/app/compare",
            "/alice/app/tree/master",
            "/alice/app/tree/old~2fbranch-29999",
            &format!("/alice/app/commit/{id}"),
            "/-/search?in=branches&q=branch",
            "/-/search?in=tags&q=tag",
        ])
        .await;
    // The page lists all branches, page by page, and finds one by a part of its name.
    let mut browser = Browser::new(&scene.hub);
    let mut next = Some("/alice/app/branches?q=RANCH-1".to_owned());
    let (mut seen, mut pages) = (0, 0);
    while let Some(path) = next {
        let answer = browser.get(&path).await;
        seen += answer.body.matches("/commits/old~2fbranch-1").count();
        pages += 1;
        let link = answer.body.split("class=\"button\" href=\"").nth(1);
        let link = link.filter(|link| link.contains("after="));
        next = link.map(|link| link.split('"').next().unwrap().replace("&#38;", "&"));
    }
    assert_eq!((seen, pages), (11_111, 112));
    let page = browser.get("/alice/app/branches?q=branch-2777").await.body;
    assert!(page.contains("old/branch-27770") && !page.contains("old/branch-27780"));

    // Neither a push nor a page adds another branch. The existing ones keep working.
    let code = scene.api.refused(
        "PUT",
        "dots/alice/app/branches/one-more",
        json!({"at": "master"}),
    );
    assert_eq!(code.await, "too_large");
    let code = scene.api.refused(
        "PUT",
        "dots/alice/app/tags/one-more",
        json!({"at": "master"}),
    );
    assert_eq!(code.await, "too_large");
    let app = dot("alice/app");
    let next = commit(&scene.first, &scene.files);
    let new = BranchUpdate {
        name: branch("one-more"),
        ..update(None, &next)
    };
    let upload = scene.alice.begin_upload(&app).await.unwrap();
    let request = finish(&[&next], vec![new]);
    let refusal = scene.alice.finish_upload(&app, &upload, &request).await;
    let body = refused(refusal, ErrorCode::TooLarge);
    assert!(body.message.contains("branches of a dot"), "{body:?}");
    assert!(body.hint.unwrap().contains("delete branches"));
    push(&scene.alice, &app, Some(&scene.first), &next, &scene.files)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stranger_s_notes_are_no_burden() {
    let scene = Scene::new().await;
    let (_, key) = scene.hub.user_with_secret("bob").await;
    let bobs = Api::new(&scene.hub, &key);
    let note = |body: &str| json!({"branch": "master", "body": body});
    // The characters that become the longest HTML.
    let body = ">".repeat(limits::NOTE.most);
    let mut written = 0;
    let problem = loop {
        let (status, answer) = bobs.call("POST", "dots/alice/app/notes", note(&body)).await;
        if status != 201 {
            break answer;
        }
        written += 1;
    };
    assert_eq!(written, limits::NOTE_BYTES_OF_ONE.most / limits::NOTE.most);
    assert_eq!(problem["code"], "too_large", "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("delete some"));
    let long = format!("{body}>");
    let code = scene
        .api
        .refused("POST", "dots/alice/app/notes", note(&long));
    assert_eq!(code.await, "too_large");
    // Write more notes than the hub takes now, as an older hub did.
    let statement = "INSERT INTO notes (dot, branch, author, created, body)
         SELECT n.dot, n.branch, n.author, n.created, n.body FROM notes n, numbers x WHERE x.n < 1";
    run(scene.hub.place(), statement.to_owned()).await;
    scene.look(&["/alice/app/commits/master"]).await;
    // All notes are there, page by page.
    let mut browser = Browser::new(&scene.hub);
    let (mut path, mut seen) = ("/alice/app/commits/master".to_owned(), 0);
    loop {
        let page = browser.get(&path).await.body;
        seen += page.matches("<article class=\"card pad\">").count();
        match page.split("?notes_before=").nth(1) {
            Some(rest) => {
                let note = rest.split('#').next().unwrap();
                path = format!("/alice/app/commits/master?notes_before={note}");
            }
            None => break,
        }
    }
    assert_eq!(seen, 2 * written);
    let answer = bobs
        .done(
            "GET",
            "dots/alice/app/notes?branch=master&limit=1000",
            Value::Null,
        )
        .await;
    assert_eq!(answer.as_array().unwrap().len(), 100);
}

/// Many requests highlight a line that is slow for some patterns. The hub must still answer health checks.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hard_to_highlight_delays_nobody_else() {
    let scene = Scene::new().await;
    let line = hard_line();
    let source = format!("{line}\n").repeat(20);
    let files = files(&[("hard.cs", source.as_bytes())]);
    let made = commit(&scene.first, &files);
    push(
        &scene.alice,
        &dot("alice/app"),
        Some(&scene.first),
        &made,
        &files,
    )
    .await
    .unwrap();
    let http = reqwest::Client::new();
    let address = format!("{}/alice/app/tree/master/data/hard.cs", scene.hub.url);
    let mut greedy = tokio::task::JoinSet::new();
    // Each takes a slot until its deadline.
    for _ in 0..20 {
        let (http, address) = (http.clone(), address.clone());
        greedy.spawn(async move { http.get(address).send().await.unwrap().status().as_u16() });
    }
    let mut slowest = Duration::ZERO;
    let mut answers = Vec::new();
    while !greedy.is_empty() {
        let started = Instant::now();
        let alive = http.get(format!("{}/healthz", scene.hub.url)).send().await;
        assert_eq!(alive.unwrap().status().as_u16(), 200);
        slowest = slowest.max(started.elapsed());
        while let Some(answer) = greedy.try_join_next() {
            answers.push(answer.unwrap());
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(
        answers.iter().all(|status| [200, 429].contains(status)),
        "{answers:?}"
    );
    assert!(answers.contains(&200));
}

/// A line of C# on which the patterns of its grammar backtrack.
fn hard_line() -> String {
    format!("{} {}", "_".repeat(148), "1e".repeat(74))
}

#[tokio::test]
async fn commits_that_say_too_much_are_refused() {
    let scene = Scene::new().await;
    let app = dot("alice/app");
    type Change = fn(&mut CommitRecord);
    let cases: [(&str, Change); 6] = [
        ("the message", |record| {
            record.message = "m".repeat(limits::MESSAGE.most + 1);
        }),
        ("the author", |record| {
            record.author = "a".repeat(limits::AUTHOR.most + 1);
        }),
        ("the metadata has", |record| {
            let values = (0..=limits::METADATA.most).map(|n| (format!("k{n}"), String::new()));
            record.metadata = values.collect();
        }),
        ("the metadata's name", |record| {
            let name = "n".repeat(limits::METADATA_NAME.most + 1);
            record.metadata.insert(name, String::new());
        }),
        ("the metadata 'k'", |record| {
            let value = "v".repeat(limits::METADATA_VALUE.most + 1);
            record.metadata.insert("k".to_owned(), value);
        }),
        ("the record", |record| {
            let value = "v".repeat(limits::METADATA_VALUE.most);
            let values = (0..20).map(|n| (format!("k{n}"), value.clone()));
            record.metadata = values.collect();
        }),
    ];
    for (what, change) in cases {
        let made = saying(&scene.first, &scene.files, change);
        let pushed = push(&scene.alice, &app, Some(&scene.first), &made, &scene.files).await;
        let body = refused(pushed, ErrorCode::TooLarge);
        assert!(body.message.contains(what), "{body:?}");
        assert!(body.hint.unwrap().contains("commit the same state"));
    }
    // The longest texts are taken. The hub shortens a list of left-out files.
    let mut made = saying(&scene.first, &scene.files, |record| {
        record.message = "m".repeat(limits::MESSAGE.most);
        record.author = "a".repeat(limits::AUTHOR.most);
    });
    let item = LeftOutItem {
        path: "p".repeat(4000),
        reason: "r".repeat(96),
    };
    made.sealed.left_out = Some(LeftOut {
        count: 900,
        items: vec![item; 900],
    });
    push(&scene.alice, &app, Some(&scene.first), &made, &scene.files)
        .await
        .unwrap();
    let commits = scene
        .alice
        .commits(&app, made.id, Some(scene.first.id))
        .await;
    let list = commits.unwrap().commits.remove(0).left_out.unwrap();
    assert_eq!((list.count, list.items.len()), (900, 16));
    scene
        .look(&[&format!("/alice/app/commit/{}", made.id)])
        .await;
}

#[tokio::test]
async fn every_text_and_every_count_has_an_end() {
    let scene = Scene::new().await;
    let api = &scene.api;
    let too_long = |limit: &limits::Limit| "x".repeat(limit.most + 1);
    for (method, path, body) in [
        (
            "PATCH",
            "dots/alice/app/settings",
            json!({"description": too_long(&limits::DESCRIPTION)}),
        ),
        (
            "PUT",
            "dots/alice/app/tags/long",
            json!({"at": "master", "message": too_long(&limits::TAG_MESSAGE)}),
        ),
    ] {
        assert_eq!(api.refused(method, path, body).await, "too_large", "{path}");
    }
    let long = "x".repeat(limits::BRANCH_NAME.most + 1);
    let path = format!("dots/alice/app/branches/{long}");
    let code = api.refused("PUT", &path, json!({"at": "master"})).await;
    assert_eq!(code, "invalid");

    // Fill each table to its limit. One more row is then refused.
    let fill = |table: &str, columns: &str, values: &str, count: usize| {
        format!(
            "INSERT INTO {table} ({columns}) SELECT {values} FROM numbers n, dots d
             WHERE n.n < {count} AND d.name = 'app'"
        )
    };
    let place = scene.hub.place();
    let most = limits::PROTECTED_PER_DOT.most;
    run(
        place,
        fill("protected_branches", "dot, name", "d.id, 'p' || n.n", most),
    )
    .await;
    let code = api.refused("PUT", "dots/alice/app/protected/master", Value::Null);
    assert_eq!(code.await, "too_large");

    let users = limits::COLLABORATORS_PER_DOT.most;
    let values = "'user' || n.n, d.created";
    run(place, fill("users", "name, created", values, users)).await;
    let all = "INSERT INTO collaborators (dot, \"user\", access)
         SELECT d.id, u.id, 'read' FROM users u, dots d WHERE u.name LIKE 'user%' AND d.name = 'app'";
    run(place, all.to_owned()).await;
    scene.hub.user("bob").await;
    let path = "dots/alice/app/collaborators/bob";
    let code = api.refused("PUT", path, json!({"access": "read"}));
    assert_eq!(code.await, "too_large");
    // A user who has access may get another role.
    let path = "dots/alice/app/collaborators/user7";
    api.done("PUT", path, json!({"access": "write"})).await;

    let dots = limits::DOTS_PER_USER.most - 1;
    let values = "d.owner, 'dot' || n.n, d.created";
    run(place, fill("dots", "owner, name, created", values, dots)).await;
    let code = api.refused("POST", "dots/alice/app/fork", json!({"name": "more"}));
    assert_eq!(code.await, "too_large");
    let more = dot("alice/more");
    let made = commit(&root_commit(), &scene.files);
    let pushed = push(&scene.alice, &more, None, &made, &scene.files).await;
    let body = refused(pushed, ErrorCode::TooLarge);
    assert!(body.message.contains("dots of a user"), "{body:?}");
    let mut browser = Browser::logged_in(&scene.hub, "carol").await;
    let page = browser.get("/alice").await.body;
    assert_eq!(page.matches("class=\"strong\" href=\"/alice/").count(), 1);
    // The client reads only the first page.
    let own = scene.alice.dots().await.unwrap();
    assert_eq!(own.len(), 100);
    drop(pack(&scene.files.objects));
}
