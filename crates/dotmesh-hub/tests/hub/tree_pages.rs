//! The pages that browse commits, for browsers and for attackers.

use dotmesh_api::hub::BranchUpdate;
use dotmesh_model::CommitId;
use dotmesh_store::{EntryValue, FileContent, Inode, InodeKind, Kind, Object};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::browse::{entry, rooted, tree};
use crate::pages::Browser;
use crate::support::{Files, Made, TestHub, commit, dot, finish, push, root_commit};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0 a picture";

const HOSTILE: [&[u8]; 9] = [
    b"<script>alert(1)<script>",
    b"\"><img src=x onerror=alert(1)>",
    b"a\nb\rc",
    b"%2e%2e",
    b"..%2fetc",
    b"...",
    "\u{202e}gpj.exe".as_bytes(),
    b"\xff\xfe",
    &[b'l'; 255],
];

/// A tree with one subdot that has these files.
fn subdot(name: &[u8], files: &[(&[u8], &[u8])]) -> Files {
    let mut sorted = files.to_vec();
    sorted.sort();
    let (mut objects, mut entries) = (Vec::new(), Vec::new());
    for (name, bytes) in sorted {
        let chunk = Object::new(Kind::Chunk, bytes.to_vec());
        let kind = InodeKind::File {
            size: bytes.len() as u64,
            content: FileContent::Chunk(chunk.hash()),
        };
        let attributes = dotmesh_store::Attributes {
            mode: 0o640,
            ..Default::default()
        };
        entries.push(entry(name, EntryValue::Inode(Inode { attributes, kind })));
        objects.push(chunk);
    }
    let (folder, pages) = tree(entries);
    objects.extend(pages);
    let inode = Inode {
        attributes: Default::default(),
        kind: InodeKind::Directory { tree: folder },
    };
    let (top, pages) = tree([entry(name, EntryValue::Inode(inode))]);
    objects.extend(pages);
    rooted(top, objects)
}

/// Carol, her key, and a dot of hers.
struct Stage {
    hub: TestHub,
    carol: reqwest::Client,
    secret: String,
    client: dotmesh_api::HubClient,
}

impl Stage {
    async fn new() -> Self {
        let hub = TestHub::start().await;
        let (client, secret) = hub.user_with_secret("carol").await;
        let carol = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            hub,
            carol,
            secret,
            client,
        }
    }

    async fn push(&self, old: Option<&Made>, files: &Files) -> Made {
        let made = commit(old.unwrap_or(&root_commit()), files);
        push(&self.client, &dot("carol/app"), old, &made, files)
            .await
            .unwrap();
        made
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        let request = self.carol.get(format!("{}{path}", self.hub.url));
        request
            .bearer_auth(&self.secret)
            .header("accept", "text/html")
    }

    async fn page(&self, path: &str) -> String {
        let response = self.request(path).send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// The status for a path that is sent without normalisation.
    async fn status(&self, path: &str) -> u16 {
        let host = self.hub.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            self.secret
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

fn encoded(name: &[u8]) -> String {
    name.iter().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn folders_and_files_are_shown() {
    let stage = Stage::new().await;
    let first = subdot(
        b"uploads",
        &[
            (
                b"README.md",
                b"# Pirates\n\n![a](flag.png) <script>alert(1)</script>",
            ),
            (b"app.js", b"const a = '<b>';\n"),
            (b"flag.png", PNG),
            (b"data", b"\0\x01\x02<script>"),
        ],
    );
    let made = stage.push(None, &first).await;
    let redirect = stage.request("/carol/app/tree").send().await.unwrap();
    assert_eq!(redirect.status(), StatusCode::SEE_OTHER);
    assert_eq!(redirect.headers()["location"], "/carol/app/tree/master");
    for reference in ["master", &made.id.to_string(), &made.id.to_string()[..8]] {
        let page = stage.page(&format!("/carol/app/tree/{reference}")).await;
        assert!(page.contains(&format!("href=\"/carol/app/tree/{reference}/uploads\"")));
        assert!(page.contains(&format!("href=\"/carol/app/archive/{reference}\"")));
    }
    let page = stage.page("/carol/app/tree/master/uploads").await;
    assert!(page.contains("<h1>Pirates</h1>") && page.contains("&lt;script&gt;"));
    assert!(!page.contains("<script>alert"));
    assert!(page.contains("rw-r-----") && page.contains("17 B"));
    assert!(page.contains("<img src=\"/carol/app/raw/master/uploads/flag.png\""));
    let page = stage.page("/carol/app/tree/master/uploads/app.js").await;
    assert!(page.contains("<span class=\"hl-k\">const</span>"));
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
    let page = stage.page("/carol/app/tree/master/uploads/flag.png").await;
    assert!(page.contains("<img src=\"/carol/app/raw/master/uploads/flag.png\""));
    let permalink = format!("href=\"/carol/app/tree/{}/uploads/flag.png\"", made.id);
    assert!(page.contains(&permalink));
    let page = stage.page("/carol/app/tree/master/uploads/data").await;
    assert!(page.contains("00000000  00 01 02 3c") && !page.contains("<script>\n"));
    for missing in [
        "/carol/app/tree/none",
        "/carol/app/tree/master/none",
        "/carol/app/tree/master/uploads/app.js/x",
        "/carol/app/raw/master/uploads",
        "/carol/app/raw/master/uploads/none",
        "/carol/app/archive/master/none",
        "/carol/app/compare/master...none",
        "/carol/app/compare/master",
        "/carol/none/tree/master",
    ] {
        let answer = stage.request(missing).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{missing}");
    }
}

#[tokio::test]
async fn names_do_no_harm() {
    let stage = Stage::new().await;
    let files: Vec<(&[u8], &[u8])> = HOSTILE.iter().map(|name| (*name, &b"text"[..])).collect();
    let old = subdot(b"<i>sub", &files[..1]);
    let first = stage.push(None, &old).await;
    let new = subdot(b"<i>sub", &files);
    let second = stage.push(Some(&first), &new).await;
    let sub = encoded(b"<i>sub");
    let compare = format!("/carol/app/compare/{}...{}", first.id, second.id);
    let mut pages = vec![
        stage.page("/carol/app/tree/master").await,
        stage.page(&format!("/carol/app/tree/master/{sub}")).await,
        stage.page(&compare).await,
    ];
    for name in HOSTILE {
        let path = format!("master/{sub}/{}", encoded(name));
        pages.push(stage.page(&format!("/carol/app/tree/{path}")).await);
        let raw = stage.request(&format!("/carol/app/raw/{path}?download=1"));
        let raw = raw.send().await.unwrap();
        assert_eq!(raw.status(), StatusCode::OK, "{path}");
        let disposition = raw.headers()["content-disposition"].to_str().unwrap();
        assert!(disposition.starts_with("attachment; filename*=UTF-8''"));
        assert!(!disposition.contains(['"', '<', '\n', '/']));
        assert_eq!(raw.bytes().await.unwrap(), &b"text"[..]);
        let archive = stage.request(&format!("/carol/app/archive/{path}"));
        assert_eq!(archive.send().await.unwrap().status(), StatusCode::OK);
    }
    for page in pages {
        for active in [
            "<script>alert",
            "<img src=x",
            "<i>",
            "\u{202e}",
            "..%2fetc\"",
            "onerror=alert(1)\">",
        ] {
            assert!(!page.contains(active), "{active}: {page}");
        }
    }
    let listing = stage.page(&format!("/carol/app/tree/master/{sub}")).await;
    assert!(listing.contains("\\u{202e}gpj.exe") && listing.contains("a\\nb"));
    assert!(listing.contains("%252e%252e\"") && listing.contains("%FF%FE\""));
}

#[tokio::test]
async fn no_path_leads_out() {
    let stage = Stage::new().await;
    stage.push(None, &subdot(b"a", &[(b"b", b"text")])).await;
    assert_eq!(stage.status("/carol/app/raw/master/a/b").await, 200);
    assert_eq!(stage.status("/carol/app/raw/master/%61/%62").await, 200);
    for path in [
        "..",
        "a/../a/b",
        "%2e%2e",
        "a/%2e%2e/a/b",
        "a/%2E./b",
        ".",
        "a/./b",
        "a%2fb",
        "a%2Fb",
        "a//b",
        "/a/b",
        "a/b/",
        "a/b%00",
        "a/b%",
        "a/b%2",
        "a\\b",
        "%c0%ae%c0%ae/etc/passwd",
        "..%5c..%5cetc",
        "../../../../etc/passwd",
    ] {
        for kind in ["tree", "raw", "archive"] {
            let status = stage
                .status(&format!("/carol/app/{kind}/master/{path}"))
                .await;
            assert_eq!(status, 404, "{kind} {path}");
        }
    }
    let deep = ["a"; 300].join("/");
    assert_eq!(
        stage
            .status(&format!("/carol/app/tree/master/{deep}"))
            .await,
        404
    );
}

#[tokio::test]
async fn raw_files_are_never_active() {
    let stage = Stage::new().await;
    let files: [(&[u8], &[u8]); 7] = [
        (b"page.html", b"<script>alert(1)</script>"),
        (
            b"picture.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        ),
        (b"picture.png", PNG),
        (b"html.png", b"<html><script>alert(1)</script>"),
        (b"a.js", b"alert(1)"),
        (b"a.pdf", b"%PDF-1.7\0"),
        (b"x.xhtml", b"<html xmlns='http://www.w3.org/1999/xhtml'/>"),
    ];
    stage.push(None, &subdot(b"www", &files)).await;
    for (name, (content_type, disposition)) in files.iter().map(|(name, _)| *name).zip([
        ("text/plain; charset=utf-8", "inline"),
        ("image/svg+xml", "inline"),
        ("image/png", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("application/octet-stream", "attachment"),
        ("text/plain; charset=utf-8", "inline"),
    ]) {
        let path = format!(
            "/carol/app/raw/master/www/{}",
            String::from_utf8_lossy(name)
        );
        let answer = stage.request(&path).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), content_type, "{path}");
        assert!(
            header("content-disposition").starts_with(disposition),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("sandbox; default-src 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("allow-"), "{policy}");
    }
}

#[tokio::test]
async fn ranges_and_tags_of_raw_files() {
    let stage = Stage::new().await;
    stage
        .push(None, &subdot(b"a", &[(b"digits", b"0123456789")]))
        .await;
    let ask = async |name: &'static str, value: &str| {
        let request = stage.request("/carol/app/raw/master/a/digits");
        let answer = request.header(name, value).send().await.unwrap();
        let range = answer.headers().get("content-range").cloned();
        let range = range.map(|range| range.to_str().unwrap().to_owned());
        (
            answer.status().as_u16(),
            range,
            answer.text().await.unwrap(),
        )
    };
    let whole = (200, None, "0123456789".to_owned());
    let some = |range: &str, text: &str| (206, Some(format!("bytes {range}/10")), text.to_owned());
    assert_eq!(ask("range", "bytes=2-4").await, some("2-4", "234"));
    assert_eq!(ask("range", "bytes=0-2").await, some("0-2", "012"));
    assert_eq!(ask("range", "bytes=7-").await, some("7-9", "789"));
    assert_eq!(ask("range", "bytes=-1").await, some("9-9", "9"));
    assert_eq!(ask("range", "bytes=0-1,4-5").await, whole);
    assert_eq!(
        ask("range", "bytes=10-").await,
        (416, Some("bytes */10".to_owned()), String::new())
    );
    let answer = stage
        .request("/carol/app/raw/master/a/digits")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-length"], "10");
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(ask("if-none-match", &tag).await.0, 304);
    assert_eq!(ask("if-none-match", "\"other\"").await, whole);
    let ranged = |known: &str| {
        let request = stage.request("/carol/app/raw/master/a/digits");
        request
            .header("range", "bytes=2-4")
            .header("if-range", known)
            .send()
    };
    assert_eq!(
        ranged(&tag).await.unwrap().status(),
        StatusCode::PARTIAL_CONTENT
    );
    assert_eq!(ranged("\"other\"").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_branch_without_commits_says_what_to_do() {
    let stage = Stage::new().await;
    let app = dot("carol/app");
    let empty = BranchUpdate {
        name: "empty".parse().unwrap(),
        old: None,
        new: CommitId::ROOT,
        stash: None,
        force: false,
    };
    let upload = stage.client.begin_upload(&app).await.unwrap();
    let request = finish(&[], vec![empty]);
    stage
        .client
        .finish_upload(&app, &upload, &request)
        .await
        .unwrap();
    for page in ["", "/commits/empty", "/graph", "/activity"] {
        stage.page(&format!("/carol/app{page}")).await;
    }
    for page in ["tree/empty", "archive/empty", "compare/empty...empty"] {
        let path = format!("/carol/app/{page}");
        let answer = stage.request(&path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let body = answer.text().await.unwrap();
        assert!(body.contains("has no commits yet"), "{body}");
        assert!(body.contains("dm push"), "{body}");
    }
}

#[tokio::test]
async fn commits_are_compared() {
    let stage = Stage::new().await;
    let old = subdot(
        b"uploads",
        &[
            (b"a.txt", b"one\ntwo words\nthree\n"),
            (b"b.png", PNG),
            (b"gone", b"x"),
            (b"moved", b"the same bytes"),
        ],
    );
    let first = stage.push(None, &old).await;
    let new = subdot(
        b"uploads",
        &[
            (b"a.txt", b"one\ntwo <words>\nthree\n"),
            (b"b.png", b"\x89PNG\r\n\x1a\n\0\0 another"),
            (b"new.svg", b"<svg><script>alert(1)</script></svg>"),
            (b"there", b"the same bytes"),
        ],
    );
    let second = stage.push(Some(&first), &new).await;
    let (a, b) = (first.id, second.id);
    let page = stage
        .page(&format!("/carol/app/compare/{a}...master"))
        .await;
    assert!(page.contains("two <mark>&#60;words&#62;</mark>"), "{page}");
    assert!(!page.contains("<svg><script>"));
    for address in [
        format!("src=\"/carol/app/raw/{a}/uploads/b.png\""),
        format!("src=\"/carol/app/raw/{b}/uploads/b.png\""),
        format!("src=\"/carol/app/raw/{b}/uploads/new.svg\""),
        format!("href=\"/carol/app/tree/{a}/uploads/gone\""),
        "<span class=\"badge renamed\">renamed".to_owned(),
        format!("href=\"/carol/app/tree/{a}/uploads/moved\""),
        format!("href=\"/carol/app/tree/{b}/uploads/there\""),
        format!("href=\"/carol/app/compare/master...{a}\""),
    ] {
        assert!(page.contains(&address), "{address}: {page}");
    }
    let page = stage.page("/carol/app/compare").await;
    assert!(page.contains("<option selected>master</option>"));
    let chosen = stage.request(&format!("/carol/app/compare?from={a}&to=+master"));
    let chosen = chosen.send().await.unwrap();
    assert_eq!(
        chosen.headers()["location"],
        format!("/carol/app/compare/{a}...master")
    );
    for bad in ["from=a%0d%0ab&to=master", "from=%2F%2Fevil&to=master"] {
        let chosen = stage
            .request(&format!("/carol/app/compare?{bad}"))
            .send()
            .await
            .unwrap();
        assert_eq!(chosen.status(), StatusCode::NOT_FOUND);
    }
    let page = stage
        .page("/carol/app/compare?from=%22%3E%3Cscript%3E")
        .await;
    assert!(!page.contains("\"><script>"));
}

#[tokio::test]
async fn a_long_folder_has_pages() {
    let stage = Stage::new().await;
    let names: Vec<String> = (0..1201).map(|n| format!("file-{n:04}")).collect();
    let files: Vec<(&[u8], &[u8])> = names
        .iter()
        .map(|name| (name.as_bytes(), &b"x"[..]))
        .collect();
    stage.push(None, &subdot(b"a", &files)).await;
    let page = stage.page("/carol/app/tree/master/a").await;
    assert!(page.contains("file-0499<") && !page.contains("file-0500<"));
    assert!(page.contains("1 to 500 of 1201") && page.contains("?from=500\""));
    let page = stage.page("/carol/app/tree/master/a?from=1000").await;
    assert!(page.contains("file-1200<") && !page.contains("file-0999<"));
    assert!(page.contains("?from=500\"") && !page.contains("Later names"));
    let page = stage
        .page("/carol/app/tree/master/a?from=18446744073709551615")
        .await;
    assert!(page.contains("no more entries"));
}

#[tokio::test]
async fn strangers_see_nothing_and_everyone_what_is_public() {
    let stage = Stage::new().await;
    let first = stage.push(None, &subdot(b"a", &[(b"b", b"text")])).await;
    let paths = [
        "/carol/app/tree".to_owned(),
        "/carol/app/tree/master".to_owned(),
        "/carol/app/tree/master/a/b".to_owned(),
        "/carol/app/raw/master/a/b".to_owned(),
        "/carol/app/archive/master".to_owned(),
        "/carol/app/archive/master/a".to_owned(),
        "/carol/app/compare".to_owned(),
        format!("/carol/app/compare/{}...master", first.id),
    ];
    let mut stranger = Browser::logged_in(&stage.hub, "mallory").await;
    for path in &paths {
        assert!(
            stage.request(path).send().await.unwrap().status().as_u16() < 400,
            "{path}"
        );
        let real = stranger.get(path).await;
        let none = stranger
            .get(&path.replace("/app/", "/none/").replace("/app", "/none"))
            .await;
        assert_eq!(real.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            real.body.replace("app", "none"),
            none.body.replace("app", "none")
        );
        let answer = Browser::new(&stage.hub).get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.location.unwrap().starts_with("/-/login"));
    }
}
