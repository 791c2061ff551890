//! How pages show the files of databases: folded, as few people need them, and never as pictures.

use std::path::Path;

use crate::browse::seal;
use crate::support::{Made, TestHub, commit, dot, push, root_commit};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0 a picture";

fn write(folder: &Path, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

struct Stage {
    hub: TestHub,
    client: dotmesh_api::HubClient,
    secret: String,
    folder: tempfile::TempDir,
    last: Option<Made>,
}

impl Stage {
    async fn new() -> Self {
        let hub = TestHub::start().await;
        let (client, secret) = hub.user_with_secret("carol").await;
        Self {
            hub,
            client,
            secret,
            folder: tempfile::tempdir().unwrap(),
            last: None,
        }
    }

    /// Pushes a commit of the folder, and returns the commit's id.
    async fn push(&mut self) -> String {
        let files = seal(self.folder.path()).await;
        let made = commit(self.last.as_ref().unwrap_or(&root_commit()), &files);
        let app = dot("carol/app");
        let pushed = push(&self.client, &app, self.last.as_ref(), &made, &files);
        pushed.await.unwrap();
        let id = made.id.to_string();
        self.last = Some(made);
        id
    }

    async fn page(&self, path: &str) -> String {
        let request = reqwest::Client::new().get(format!("{}/carol/app/{path}", self.hub.url));
        let request = request
            .bearer_auth(&self.secret)
            .header("accept", "text/html");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }
}

#[tokio::test]
async fn files_of_a_database_are_one_line_of_a_comparison() {
    let mut stage = Stage::new().await;
    let put = |stage: &Stage, text: &[u8]| {
        let files: &[(&str, &[u8])] = &[
            ("pg/base/5/16384", text),
            ("pg/base/5/notes.txt", text),
            ("pg/global/pg_control", text),
            ("log/appendonlydir/appendonly.aof.manifest", text),
            ("uploads/notes.txt", text),
        ];
        write(stage.folder.path(), files);
    };
    write(stage.folder.path(), &[("pg/PG_VERSION", b"15\n")]);
    put(&stage, b"one\n");
    let first = stage.push().await;
    put(&stage, b"two\n");
    let second = stage.push().await;
    let page = stage.page(&format!("compare/{first}...{second}")).await;
    let folded: Vec<&str> = page.split("<details class=\"card file change\">").collect();
    assert_eq!(folded.len(), 3, "{page}");
    let of = |part: &str| part.split("</details>").next().unwrap().to_owned();
    let (log, pg) = (of(folded[1]), of(folded[2]));
    for (part, name, label, paths) in [
        (
            &pg,
            "pg",
            "PostgreSQL, 3 files",
            &[
                "pg/base/5/16384",
                "pg/base/5/notes.txt",
                "pg/global/pg_control",
            ][..],
        ),
        (
            &log,
            "log",
            "Redis, 1 file",
            &["log/appendonlydir/appendonly.aof.manifest"],
        ),
    ] {
        let (head, list) = part.split_once("</summary>").unwrap();
        assert!(head.contains(&format!(">{name}</bdi>")), "{head}");
        assert!(head.contains(label), "{head}");
        assert_eq!(list.matches("<li>").count(), paths.len(), "{list}");
        for path in paths {
            assert!(list.contains(path), "{path}: {list}");
        }
    }
    // Nothing of a database is among the changes, which show their texts.
    let (_, changes) = page.split_once("<h3 id=\"files\">").unwrap();
    assert!(changes.contains("uploads/notes.txt"), "{changes}");
    assert!(!changes.contains("pg/") && !changes.contains("log/"));
    assert!(changes.contains("two"), "{changes}");
}

#[tokio::test]
async fn a_commit_shows_pictures_that_are_of_no_database() {
    let mut stage = Stage::new().await;
    let files: &[(&str, &[u8])] = &[
        ("pg/PG_VERSION", b"15\n"),
        ("pg/base/5/picture.png", PNG),
        ("uploads/deep/er/other.PNG", PNG),
        ("uploads/fake.png", b"<html><script>alert(1)</script>"),
        ("uploads/flag.png", PNG),
        ("uploads/notes.txt", PNG),
    ];
    write(stage.folder.path(), files);
    let id = stage.push().await;
    let page = stage.page(&format!("commit/{id}")).await;
    let (_, gallery) = page.split_once("<ul class=\"gallery").unwrap();
    let (gallery, rest) = gallery.split_once("</ul>").unwrap();
    assert!(!rest.contains("<ul class=\"gallery"), "{rest}");
    let pictures: Vec<&str> = gallery.split("<img src=\"").skip(1).collect();
    let pictures: Vec<&str> = pictures
        .iter()
        .map(|part| part.split('"').next().unwrap())
        .collect();
    let raw = |path: &str| format!("/carol/app/raw/{id}/{path}");
    assert_eq!(
        pictures,
        [raw("uploads/flag.png"), raw("uploads/deep/er/other.PNG")]
    );
    // Without pictures there is no gallery.
    std::fs::remove_dir_all(stage.folder.path().join("uploads")).unwrap();
    let id = stage.push().await;
    let page = stage.page(&format!("commit/{id}")).await;
    assert!(!page.contains("class=\"gallery"), "{page}");
}
