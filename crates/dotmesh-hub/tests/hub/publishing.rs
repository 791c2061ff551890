//! Publishing a dot: files that look like secrets stop it, unless the owner insists.

use dotmesh_hub_db::keys::NewKey;
use dotmesh_hub_model::credentials::ApiKey;
use dotmesh_model::CommitId;
use reqwest::StatusCode;
use serde_json::json;

use crate::ambient;
use crate::api::Api;
use crate::cuts::push as push_files;
use crate::dot_pages::user;
use crate::support::{TestHub, dot};

const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_with_secrets_is_published_only_on_purpose() {
    let hub = TestHub::start().await;
    let (alice, mut browser) = user(&hub, "alice").await;
    let (database, name) = (&hub.hub.database, "alice".parse().unwrap());
    let id = database.user(&name).await.unwrap().unwrap();
    let key = ApiKey::generate(&ambient::random());
    let new = NewKey::first(key.digest());
    let made = database.create_key(id, &name, &new, ambient::now());
    made.await.unwrap();
    let api = Api::new(&hub, key.reveal());
    for (name, files, secrets) in [
        (
            "plain",
            vec![
                ("app/env", "x"),
                ("app/server.pem", "no key"),
                (".env.example", ""),
            ],
            vec![],
        ),
        (
            "env",
            vec![("app/.env", "KEY=1"), ("app/web/.pgpass", "x")],
            vec!["app/.env", "app/web/.pgpass"],
        ),
        ("key", vec![("tls/server.key", KEY)], vec!["tls/server.key"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let full = format!("alice/{name}");
        let commit = CommitId::from_bytes([7; 16]);
        push_files(&alice, &dot(&full), folder.path(), commit)
            .await
            .unwrap();
        let path = format!("dots/{full}/settings");
        let publish = json!({ "visibility": "public" });
        if secrets.is_empty() {
            api.done("PATCH", &path, publish).await;
            continue;
        }
        let (status, answer) = api.call("PATCH", &path, publish.clone()).await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (403, Some("forbidden")),
            "{answer}"
        );
        for secret in &secrets {
            assert!(answer.to_string().contains(secret), "{answer}");
        }
        let now = api.done("GET", &path, json!(null)).await;
        assert_eq!(now["visibility"], "private");

        // The page says the same, and its box insists.
        let form = format!("/{full}/settings/visibility");
        let refused = browser.submit(&form, &[("visibility", "public")]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(
            refused.body.contains(secrets[0]) && refused.body.contains("tick the box"),
            "{}",
            refused.body
        );
        let fields = [("visibility", "public"), ("allow_secrets", "true")];
        browser.done(&form, &fields).await;
        let now = api.done("GET", &path, json!(null)).await;
        assert_eq!(now["visibility"], "public");
        // What is public already is not searched again.
        api.done("PATCH", &path, publish).await;
    }
}
