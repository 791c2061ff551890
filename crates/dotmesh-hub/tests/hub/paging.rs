//! Long lists in pages. Together the pages are the whole list, for every page size.

use reqwest::header::LINK;
use serde_json::{Value, json};

use crate::api::Api;
use crate::openapi;
use crate::support::{TestHub, dot, push_first};

struct Lists {
    hub: TestHub,
    key: String,
}

impl Lists {
    /// A page of a list, and the URL of the next page.
    async fn page(&self, path: &str) -> (Vec<Value>, Option<String>) {
        let answer = reqwest::Client::new()
            .get(format!("{}{path}", self.hub.url))
            .bearer_auth(&self.key)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let link = answer.headers().get(LINK).cloned();
        let text = answer.text().await.unwrap();
        let checked = openapi::check("GET", path, status, Some("application/json"), &text);
        assert_eq!((status, checked), (200, Ok(())), "{path}: {text}");
        let next = link.map(|link| {
            let link = link.to_str().unwrap();
            let next = link.strip_prefix('<').unwrap();
            next.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
        (serde_json::from_str(&text).unwrap(), next)
    }

    /// All pages of a given size, one after the other.
    async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut next = Some(format!("/api/v1/{path}{sign}limit={limit}"));
        let mut all = Vec::new();
        while let Some(path) = next {
            let (page, following) = self.page(&path).await;
            assert!(page.len() == limit || following.is_none());
            assert!(!page.is_empty() || all.is_empty(), "{path}");
            all.extend(page);
            next = following;
        }
        all
    }
}

#[tokio::test]
async fn pages_are_the_list() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    push_first(&alice, &dot("alice/app"), b"one").await;
    for n in 0..7 {
        let fork = json!({"name": format!("fork{n}")});
        api.done("POST", "dots/alice/app/fork", fork).await;
        let at = json!({"at": "master"});
        // A page may end at a name with a slash and a dot.
        let tag = format!("dots/alice/app/tags/tag~2f1~2e{n}");
        api.done("PUT", &tag, at).await;
        let note = json!({"branch": "master", "body": format!("note {n}")});
        api.done("POST", "dots/alice/app/notes", note).await;
    }
    let lists = Lists { hub, key };
    for (path, length) in [
        ("dots", 8),
        ("dots/alice/app/forks", 7),
        ("dots/alice/app/tags", 7),
        ("dots/alice/app/notes?branch=master", 7),
    ] {
        let (whole, next) = lists.page(&format!("/api/v1/{path}")).await;
        assert_eq!((whole.len(), next), (length, None), "{path}");
        for limit in 1..=9 {
            assert_eq!(lists.all(path, limit).await, whole, "{path} by {limit}");
        }
    }
    // The next page works although the last item of this page was deleted.
    let (page, next) = lists.page("/api/v1/dots?limit=3").await;
    alice.delete_dot(&dot("alice/fork1")).await.unwrap();
    assert_eq!(page[2]["name"], "alice/fork1");
    let (page, _) = lists.page(&next.unwrap()).await;
    assert_eq!(page[0]["name"], "alice/fork2");
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=%20"] {
        let path = format!("dots?{wrong}");
        let (status, problem) = api.call("GET", &path, Value::Null).await;
        assert_eq!(status, 400, "{wrong}: {problem}");
    }
}
