//! Branches and tags with names as in git: on every page, in every URL, and in the API.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dotmesh_api::hub::BranchUpdate;
use dotmesh_api::page::{self, DotPage};
use dotmesh_api::{ErrorCode, HubClient};
use dotmesh_hub_model::credentials::HashedPassword;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::Api;
use crate::bounds::run;
use crate::pages::{Browser, PASSWORD};
use crate::support::{Made, TestHub, branch, commit, dot, files, finish, push_first, refused};

const NAMES: [&str; 3] = ["feature/login", "v1.2", "größe/50%&<b>$(x)'"];

/// A dot with a branch for each name, each with its own commit.
async fn world() -> (
    TestHub,
    HubClient,
    Api,
    Browser,
    BTreeMap<&'static str, Made>,
) {
    let hub = TestHub::start().await;
    let (client, key) = hub.user_with_secret("alice").await;
    let password = HashedPassword::new(PASSWORD, &[]).unwrap();
    let (user, now) = ("alice".parse().unwrap(), crate::ambient::now());
    let set = hub.hub.database.set_password(&user, &password, now);
    set.await.unwrap();
    let mut browser = Browser::new(&hub);
    browser.log_in("alice", PASSWORD).await;
    let (first, _) = push_first(&client, &dot("alice/app"), b"one").await;
    let mut heads = BTreeMap::new();
    for name in NAMES {
        let files = files(&[("a", name.as_bytes()), ("b", b"the same in all")]);
        let made = commit(&first, &files);
        let app = dot("alice/app");
        let upload = client.begin_upload(&app).await.unwrap();
        let objects = crate::support::pack(&files.objects);
        client.send_pack(&app, &upload, objects).await.unwrap();
        let update = BranchUpdate {
            name: branch(name),
            old: None,
            new: made.id,
            stash: None,
            force: false,
        };
        let finish = finish(&[&made], vec![update]);
        client.finish_upload(&app, &upload, &finish).await.unwrap();
        heads.insert(name, made);
    }
    let api = Api::new(&hub, &key);
    (hub, client, api, browser, heads)
}

/// The hub's paths that a page links to.
fn links(body: &str) -> BTreeSet<String> {
    let targets = ["href=\"", "src=\""].into_iter().flat_map(|attribute| {
        let parts = body.split(attribute).skip(1);
        parts.filter_map(|part| part.split('"').next())
    });
    let unescaped = targets.map(|target| target.replace("&#38;", "&").replace("&#39;", "'"));
    let local = unescaped.filter(|target| target.starts_with('/'));
    local
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

/// Follows all links within a dot's pages, and returns the paths.
async fn crawl(browser: &mut Browser, start: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([start.to_owned()]);
    let mut waiting = VecDeque::from([start.to_owned()]);
    while let Some(path) = waiting.pop_front() {
        assert!(seen.len() < 500, "{seen:?}");
        let answer = browser.get(&path).await;
        let mut next = match answer.location {
            Some(to) => BTreeSet::from([to]),
            None => {
                assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
                links(&answer.body)
            }
        };
        next.retain(|to| to.starts_with(start));
        for to in next {
            assert!(to.is_ascii(), "{path} leads to {to}");
            if seen.insert(to.clone()) {
                waiting.push_back(to);
            }
        }
    }
    seen
}

#[tokio::test]
async fn every_link_leads_to_its_branch_and_can_be_cloned() {
    let (hub, client, api, mut alice, heads) = world().await;
    let app = dot("alice/app");
    for (path, body) in [
        ("tags/v1.2~rc", json!({"at": "v1.2"})),
        (
            "tags/release%2F1.0",
            json!({"at": "feature/login", "message": "m"}),
        ),
        (
            "notes",
            json!({"branch": "feature/login", "body": "[a](data/a)"}),
        ),
        ("protected/v1~2e2", Value::Null),
    ] {
        let method = if path == "notes" { "POST" } else { "PUT" };
        let path = format!("dots/alice/app/{path}");
        if path.ends_with("~rc") {
            assert_eq!(api.refused(method, &path, body).await, "invalid");
        } else {
            api.done(method, &path, body).await;
        }
    }
    let settings = json!({"default_branch": "feature/login", "description": "[a](data/a)"});
    api.done("PATCH", "dots/alice/app/settings", settings).await;

    let seen = crawl(&mut alice, "/alice/app").await;
    for name in NAMES {
        let spelling = branch(name).spelling().into_owned();
        for place in ["commits", "tree", "raw", "archive"] {
            let begins = format!("/alice/app/{place}/{spelling}");
            let found = seen.iter().any(|path| path.starts_with(&begins));
            // The raw files are linked from the files' pages, which the crawl has visited.
            assert!(found, "{begins}: {seen:#?}");
        }
    }
    assert!(
        seen.contains("/alice/app/tree/feature~2flogin/data/a"),
        "{seen:#?}"
    );
    let answer = alice.get("/-/search?q=login&in=branches").await;
    assert!(
        links(&answer.body).contains("/alice/app/commits/feature~2flogin"),
        "{}",
        answer.body
    );
    let answer = alice.get("/alice/app/commits").await;
    assert!(
        answer
            .body
            .contains("Commits of <span class=\"branch\">feature/login<"),
        "{}",
        answer.body
    );

    // Users copy these URLs from the address bar.
    let mut pasted = BTreeMap::new();
    for path in &seen {
        let Ok(page) = DotPage::parse(&format!("{}{path}", hub.url)) else {
            continue;
        };
        if let Some(reference) = page.reference {
            let resolved = client.resolve(&app, &reference).await.unwrap();
            if let Some(made) = heads.get(reference.as_str()) {
                assert_eq!(resolved.commit, made.id, "{path}");
                assert_eq!(resolved.heads, [branch(reference.as_str())]);
                *pasted.entry(reference.to_string()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(pasted.len(), NAMES.len(), "{pasted:?}");
    for (name, made) in &heads {
        let page = page::of_branch(client.address(), &app, &branch(name));
        let path = page.strip_prefix(&hub.url).unwrap();
        let answer = alice.get(path).await;
        assert!(
            answer.body.contains(&made.id.to_string()),
            "{path}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_name_may_be_written_as_it_is() {
    let (_hub, client, api, mut alice, heads) = world().await;
    let id = heads["feature/login"].id.to_string();
    for path in [
        "commits/feature~2flogin",
        "commits/feature%2Flogin",
        "commits/feature/login",
        "commits/gr%C3%B6%C3%9Fe%2F50%25%26%3Cb%3E%24(x)'",
        "tree/feature%2flogin/data",
        "tree/v1.2/data/a",
        "raw/v1.2/data/a",
        "compare/feature~2flogin...v1~2e2",
        "compare/feature%2Flogin...v1.2",
    ] {
        let answer = alice.get(&format!("/alice/app/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    }
    let mut leads = async |path: &str| {
        let answer = alice.get(&format!("/alice/app/{path}")).await;
        answer.location.unwrap_or_else(|| answer.status.to_string())
    };
    for (path, to) in [
        ("commit/feature%2Flogin", format!("/alice/app/commit/{id}")),
        ("commit/feature~2flogin", format!("/alice/app/commit/{id}")),
        (
            "compare?from=feature%2Flogin&to=v1.2",
            "/alice/app/compare/feature~2flogin...v1~2e2".to_owned(),
        ),
        ("commits/feature~2Flogin", "400 Bad Request".to_owned()),
        ("commits/~66eature", "400 Bad Request".to_owned()),
        ("commits/feature", "404 Not Found".to_owned()),
        ("commits/a..b", "400 Bad Request".to_owned()),
        ("tree/feature/login", "404 Not Found".to_owned()),
        ("tree/a%20b", "404 Not Found".to_owned()),
        ("tree/%ff", "404 Not Found".to_owned()),
        ("compare/a%20b...v1.2", "404 Not Found".to_owned()),
    ] {
        assert_eq!(leads(path).await, to, "{path}");
    }

    let reference = |text: &str| text.parse::<page::Reference>().unwrap();
    for text in ["feature/login", "feature~2flogin", id.as_str()] {
        let resolved = client.resolve(&dot("alice/app"), &reference(text)).await;
        assert_eq!(resolved.unwrap().commit.to_string(), id, "{text}");
    }
    refused(
        client
            .resolve(&dot("alice/app"), &reference("feature"))
            .await,
        ErrorCode::NotFound,
    );
    for (method, path, status) in [
        ("PUT", "branches/fix%2F1", 201),
        ("PUT", "branches/fix~2f1", 409),
        ("PUT", "branches/fix~2f2", 201),
        ("PUT", "branches/fix", 201),
        ("PUT", "branches/HEAD", 400),
        ("PUT", "tags/HEAD", 400),
        ("PUT", "branches/fix%2F.3", 400),
        ("PUT", "branches/fix%2F", 400),
        ("PUT", "protected/fix%2F1", 204),
        ("DELETE", "branches/fix~2f1", 403),
        ("DELETE", "protected/fix~2f1", 204),
        ("DELETE", "branches/fix~2f1", 204),
        ("DELETE", "branches/fix%2F1", 404),
        ("DELETE", "branches/fix%2F2", 204),
        ("PUT", "tags/1.0%2Frc", 201),
        ("DELETE", "tags/1~2e0~2frc", 204),
        ("GET", "notes?branch=feature%2Flogin", 200),
        ("GET", "refs/feature%2Flogin", 200),
        ("GET", "refs/a%20b", 404),
    ] {
        let body = json!({"at": "feature/login"});
        let path = format!("dots/alice/app/{path}");
        let (answered, _) = api.call(method, &path, body).await;
        assert_eq!(answered, status, "{method} {path}");
    }
    let names: Vec<String> = client
        .dot(&dot("alice/app"))
        .await
        .unwrap()
        .unwrap()
        .branches
        .into_iter()
        .map(|branch| branch.name.into())
        .collect();
    assert_eq!(
        names,
        [
            "feature/login",
            "fix",
            "größe/50%&<b>$(x)'",
            "master",
            "v1.2"
        ]
    );
}

#[tokio::test]
async fn forms_take_any_name() {
    let (_hub, _, _, mut alice, _) = world().await;
    for (form, fields, to) in [
        (
            "branches",
            [("name", " ü/1.0 "), ("at", "feature/login")],
            "/alice/app/commits/~c3~bc~2f1~2e0",
        ),
        (
            "notes",
            [("branch", "ü/1.0"), ("body", "see")],
            "/alice/app/commits/~c3~bc~2f1~2e0#notes",
        ),
        (
            "settings/protect",
            [("branch", "ü/1.0"), ("", "")],
            "/alice/app/settings",
        ),
        (
            "settings/unprotect",
            [("branch", "ü/1.0"), ("", "")],
            "/alice/app/settings",
        ),
        (
            "settings",
            [("default_branch", "v1.2"), ("description", "")],
            "/alice/app/settings",
        ),
        (
            "branches/delete",
            [("name", "ü/1.0"), ("", "")],
            "/alice/app",
        ),
        ("tags", [("name", "1.0/ü"), ("at", "v1.2")], "/alice/app"),
        ("tags/delete", [("name", "1.0/ü"), ("", "")], "/alice/app"),
    ] {
        let answer = alice.submit(&format!("/alice/app/{form}"), &fields).await;
        assert_eq!(
            answer.location.as_deref(),
            Some(to),
            "{form}: {}",
            answer.body
        );
    }
    let answer = alice
        .submit("/alice/app/branches", &[("name", "a b"), ("at", "v1.2")])
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("it has a space"), "{}", answer.body);
    let answer = alice.get("/alice/app/tree").await;
    assert_eq!(answer.location.as_deref(), Some("/alice/app/tree/v1~2e2"));
}

#[tokio::test]
async fn no_name_takes_the_address_of_a_commit() {
    let (hub, client, api, mut alice, heads) = world().await;
    let app = dot("alice/app");
    let id = heads["v1.2"].id.to_string();
    let other = heads["feature/login"].id;
    // A new branch or tag cannot have a name that looks like a commit id.
    for name in [id.clone(), id.to_uppercase(), "f".repeat(32)] {
        for kind in ["branches", "tags"] {
            let path = format!("dots/alice/app/{kind}/{name}");
            let (status, problem) = api.call("PUT", &path, json!({"at": "master"})).await;
            let detail = problem["detail"].as_str().unwrap();
            assert_eq!(status, 400, "{path}");
            assert!(detail.contains("the commit with that id"), "{detail}");
        }
        for (form, at) in [("branches", "master"), ("tags", "v1.2")] {
            let fields = [("name", name.as_str()), ("at", at)];
            let answer = alice.submit(&format!("/alice/app/{form}"), &fields).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
        }
        let stash = BranchUpdate {
            name: branch("feature/login"),
            old: Some(other),
            new: heads["v1.2"].id,
            stash: Some(branch(&name)),
            force: false,
        };
        let new = BranchUpdate {
            name: branch(&name),
            old: None,
            new: other,
            stash: None,
            force: false,
        };
        for update in [stash, new] {
            let upload = client.begin_upload(&app).await.unwrap();
            let finish = finish(&[], vec![update]);
            let finished = client.finish_upload(&app, &upload, &finish).await;
            let problem = refused(finished, ErrorCode::Invalid);
            assert!(
                problem.message.contains("the commit with that id"),
                "{problem:?}"
            );
        }
    }

    // Branches and tags of an older hub may have such names. They must not be mistaken for commits.
    let none = "f".repeat(32);
    for name in [&id, &none] {
        let head = other.to_string();
        for statement in [
            format!("INSERT INTO branches (dot, name, head) SELECT id, '{name}', X FROM dots"),
            format!(
                "INSERT INTO tags (dot, name, commit_id, message, author, created)
                 SELECT id, '{name}', X, '', 'alice', 0 FROM dots"
            ),
        ] {
            let bytes = match hub.place().database_url {
                Some(_) => format!("'\\x{head}'::bytea"),
                None => format!("x'{head}'"),
            };
            run(hub.place(), statement.replace('X', &bytes)).await;
        }
    }
    for text in [id.clone(), id.to_uppercase()] {
        let resolved = client.resolve(&app, &text.parse().unwrap()).await.unwrap();
        assert_eq!(resolved.commit, heads["v1.2"].id);
        let answer = alice.get(&format!("/alice/app/raw/{text}/data/a")).await;
        assert_eq!(answer.body, "v1.2", "{text}");
    }
    let answer = alice.get(&format!("/alice/app/commit/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    api.done("PUT", "dots/alice/app/tags/here", json!({"at": &id}))
        .await;
    let here = client
        .resolve(&app, &"here".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(here.commit, heads["v1.2"].id);
    // If no commit has that id, the name means the old branch.
    let resolved = client.resolve(&app, &none.parse().unwrap()).await.unwrap();
    assert_eq!(resolved.commit, other);
    for name in [&id, &none] {
        let answer = alice.get(&format!("/alice/app/commits/{name}")).await;
        assert!(answer.body.contains(&other.to_string()), "{}", answer.body);
    }
    // These branches take pushes, and can be deleted.
    let files = files(&[("a", b"more")]);
    let next = commit(&heads["feature/login"], &files);
    let upload = client.begin_upload(&app).await.unwrap();
    let objects = crate::support::pack(&files.objects);
    client.send_pack(&app, &upload, objects).await.unwrap();
    let update = BranchUpdate {
        name: branch(&none),
        old: Some(other),
        new: next.id,
        stash: None,
        force: false,
    };
    let finish = finish(&[&next], vec![update]);
    client.finish_upload(&app, &upload, &finish).await.unwrap();
    let path = format!("dots/alice/app/branches/{none}");
    api.done("DELETE", &path, Value::Null).await;
}
