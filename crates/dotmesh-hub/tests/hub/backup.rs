//! Backups of a running hub, and hubs restored from them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use dotmesh_api::HubClient;
use dotmesh_hub_db::dump::DumpLine;
use dotmesh_hub_db::{Database, Opening};
use dotmesh_hub_model::limits;
use dotmesh_hub_service::backup::{
    BackupError, BackupFolder, FolderError, RestoreError, VerifyError, restore, take, verify,
};
use dotmesh_hub_service::operations::collect_garbage::own_store;
use dotmesh_model::DotIdentity;
use dotmesh_store::{Object, PackReader};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Executor as _};

use crate::api::Api;
use crate::bounds;
use crate::place::Place;
use crate::support::{
    Files, Made, TestHub, commit, dot, files, push, push_first, refused, root_commit,
};

/// A hub with some of everything, and what a restore must bring back.
struct Scene {
    hub: TestHub,
    alice: HubClient,
    secret: String,
    made: Made,
    files: Files,
    identity: Option<DotIdentity>,
}

impl Scene {
    async fn new(place: Place) -> Self {
        let hub = TestHub::start_in(place).await;
        let (alice, secret) = hub.user_with_secret("alice").await;
        let (_, bobs) = hub.user_with_secret("bob").await;
        let (made, files) = push_first(&alice, &dot("alice/app"), b"one").await;
        push_first(&alice, &dot("alice/gone"), b"gone").await;
        let api = Api::new(&hub, &secret);
        let bob = Api::new(&hub, &bobs);
        let at = json!({"at": made.id.to_string(), "message": "a\u{1f3f4} tag"});
        for (method, path, body) in [
            (
                "PATCH",
                "dots/alice/app/settings",
                json!({"visibility": "public", "description": "# All"}),
            ),
            ("PUT", "dots/alice/app/tags/v1", at),
            (
                "POST",
                "dots/alice/app/notes",
                json!({"branch": "master", "body": "a note"}),
            ),
            (
                "PUT",
                "dots/alice/app/collaborators/bob",
                json!({"access": "maintain"}),
            ),
            ("PUT", "dots/alice/app/protected/master", Value::Null),
            ("POST", "dots/alice/app/rename", json!({"name": "shop"})),
            ("DELETE", "dots/alice/gone", Value::Null),
        ] {
            let (status, answer) = api.call(method, path, body).await;
            assert!(status < 300, "{method} {path}: {answer}");
        }
        let fork = json!({"name": "fork"});
        bob.done("POST", "dots/alice/shop/fork", fork).await;
        let shop = alice.dot(&dot("alice/shop")).await.unwrap().unwrap();
        Self {
            hub,
            alice,
            secret,
            made,
            files,
            identity: shop.identity,
        }
    }

    /// The bytes of a user's packs.
    async fn stored_packs(&self, name: &str) -> i64 {
        let mut connection = bounds::connection(self.hub.place()).await;
        let packs = sqlx::query_scalar(
            "SELECT CAST(sum(p.length) AS BIGINT) FROM packs p JOIN users u ON u.id = p.owner WHERE u.name = $1",
        );
        packs
            .bind(name.to_owned())
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    async fn take(&self, folder: &Path) -> Result<dotmesh_hub_service::backup::Taken, BackupError> {
        let folder = BackupFolder::create(folder)?;
        let hub = &self.hub.hub;
        take(&hub.database, &hub.packs, &folder, &hub.clock, &hub.random).await
    }

    /// Whether the dot has its former identity, by which older clones recognise it.
    async fn has_identity(&self, hub: &TestHub) -> bool {
        let alice = hub.client("alice", &self.secret);
        let shop = alice.dot(&dot("alice/shop")).await.unwrap().unwrap();
        assert!(shop.identity.is_some());
        shop.identity == self.identity
    }

    /// Checks that a restored hub has everything, and works.
    async fn check(&self, hub: &TestHub) {
        let alice = hub.client("alice", &self.secret);
        let shop = dot("alice/shop");
        let there = alice.dot(&shop).await.unwrap().unwrap();
        assert_eq!(there.branches[0].head, self.made.id);
        has(&alice, "alice/shop", &self.files).await;
        let api = Api::new(hub, &self.secret);
        let found = api
            .done("GET", "search?q=message&in=commits", Value::Null)
            .await;
        assert!(found.to_string().contains("alice/shop"), "{found}");
        let tags = api.done("GET", "dots/alice/shop/tags", Value::Null).await;
        assert!(tags.to_string().contains("a\u{1f3f4} tag"), "{tags}");
        let notes = api.done("GET", "dots/alice/shop/notes?branch=master", Value::Null);
        assert!(notes.await.to_string().contains("a note"));
        let trash = api.done("GET", "trash", Value::Null).await;
        assert!(trash.to_string().contains("alice/gone"), "{trash}");
        // The dot is found by its former name.
        let old = alice.dot(&dot("alice/app")).await.unwrap().unwrap();
        assert_eq!(old.name, shop);

        // New rows get unused ids.
        let carol = hub.user("carol").await;
        push_first(&carol, &dot("carol/new"), b"of the new hub").await;
        let next = commit(&self.made, &files(&[("a", b"two")]));
        let next_files = files(&[("a", b"two")]);
        push(&alice, &shop, Some(&self.made), &next, &next_files)
            .await
            .unwrap();
        has(&alice, "alice/shop", &self.files).await;
        has(&alice, "alice/shop", &next_files).await;
    }
}

/// Asserts that the dot serves these objects, byte for byte.
pub(crate) async fn has(client: &HubClient, name: &str, files: &Files) {
    let pack = client.objects(&dot(name), &files.hashes()).await.unwrap();
    let served: Vec<Object> = PackReader::new(pack)
        .unwrap()
        .map(|frame| frame.unwrap().object().unwrap())
        .collect();
    assert_eq!(served, files.objects);
}

pub(crate) async fn restore_into(place: &Place, folder: &Path) -> Result<(), RestoreError> {
    let folder = BackupFolder::at(folder);
    let manifest = folder.manifest()?;
    let database = place.database_opened(Opening::NewAt(manifest.schema)).await;
    let restored = restore(&folder, &manifest, &database, &place.packs()).await;
    database.close().await;
    restored
}

/// Backs up from one kind of place and restores to another, while someone pushes.
async fn moves(from: Place, to: Place) {
    let scene = Scene::new(from).await;
    let busy = dot("alice/busy");
    let over = AtomicBool::new(false);
    let pushing = async {
        let mut pushed: Vec<(Made, Files)> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let content = pushed.len().to_be_bytes();
            let files = files(&[("a", &content)]);
            let last = pushed.last().map(|(made, _)| made.clone());
            let next = commit(last.as_ref().unwrap_or(&root_commit()), &files);
            push(&scene.alice, &busy, last.as_ref(), &next, &files)
                .await
                .unwrap();
            pushed.push((next, files));
        }
        pushed
    };
    let folder = tempfile::tempdir().unwrap();
    let taking = async {
        for _ in 0..3 {
            scene.take(folder.path()).await.unwrap();
        }
        over.store(true, Ordering::Relaxed);
    };
    let (pushed, ()) = tokio::join!(pushing, taking);

    restore_into(&to, folder.path()).await.unwrap();
    let again = restore_into(&to, folder.path()).await;
    assert!(matches!(again, Err(RestoreError::NotEmpty)));
    let hub = TestHub::start_in(to).await;
    assert!(scene.has_identity(&hub).await);
    scene.check(&hub).await;
    // Each concurrent push that the backup has is complete.
    let alice = hub.client("alice", &scene.secret);
    if let Some(busy) = alice.dot(&busy).await.unwrap() {
        let head = busy.branches[0].head;
        let at = pushed.iter().position(|(made, _)| made.id == head);
        for (_, files) in &pushed[..=at.unwrap()] {
            has(&alice, "alice/busy", files).await;
        }
    }
}

#[tokio::test]
async fn from_a_folder_to_servers() {
    let folder = Place::folder(tempfile::tempdir().unwrap());
    moves(folder, Place::shared().await).await;
}

#[tokio::test]
async fn from_servers_to_a_folder() {
    let folder = Place::folder(tempfile::tempdir().unwrap());
    moves(Place::shared().await, folder).await;
}

/// Returns the result of a future that is dropped after `polls` polls.
pub(crate) async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(done) = futures::poll!(future.as_mut()) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A backup is cut at every await point. Either the old backup or the new one is then complete.
#[tokio::test]
async fn a_cut_backup_leaves_the_one_before() {
    let scene = Scene::new(Place::folder(tempfile::tempdir().unwrap())).await;
    let folder = tempfile::tempdir().unwrap();
    scene.take(folder.path()).await.unwrap();
    let before = BackupFolder::at(folder.path()).manifest().unwrap();
    let (_, pushed) = push_first(&scene.alice, &dot("alice/later"), b"later").await;
    let mut polls = 0;
    loop {
        let cut = polled(scene.take(folder.path()), polls).await;
        match cut {
            Some(Ok(_)) => break,
            // A cut backup may still hold its lease.
            Some(Err(BackupError::Busy)) => {}
            Some(Err(error)) => panic!("{error:?}"),
            None => polls += 1,
        }
        if polls.is_multiple_of(8) {
            let to = Place::folder(tempfile::tempdir().unwrap());
            restore_into(&to, folder.path()).await.unwrap();
        }
        // The new backup counts from one instant on, even if files of the old one are still there.
        if BackupFolder::at(folder.path()).manifest().unwrap() != before {
            break;
        }
        // The lease would also expire with time.
        let database = scene.hub.place().sqlite().unwrap();
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(database)
            .connect()
            .await
            .unwrap();
        connection.execute("DELETE FROM leases").await.unwrap();
    }
    let to = Place::new().await;
    restore_into(&to, folder.path()).await.unwrap();
    let hub = TestHub::start_in(to).await;
    scene.check(&hub).await;
    let alice = hub.client("alice", &scene.secret);
    has(&alice, "alice/later", &pushed).await;
}

#[tokio::test]
async fn one_at_a_time_and_only_what_is_new() {
    let scene = Scene::new(Place::new().await).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let place = scene.hub.place();
    let line = |output: std::process::Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        line(place.run(&["backup", path])),
        "Backed up 2 users, 3 dots, 3 commits and 2 packs (2 of them new, 828 B)\n"
    );
    assert_eq!(
        line(place.run(&["backup", path])),
        "Backed up 2 users, 3 dots, 3 commits and 2 packs (0 of them new, 0 B)\n"
    );
    // Only the owner of the files can read them.
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o77, 0);
        }
    }
    let now = crate::ambient::now();
    let until = now + std::time::Duration::from_secs(60);
    let database = &scene.hub.hub.database;
    assert!(
        database
            .lease("backup", "another", now, until)
            .await
            .unwrap()
    );
    let refused = place.run(&["backup", path]);
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("another backup of this hub is being taken"),
        "{said}"
    );

    let to = Place::new().await;
    let said = line(to.run(&["restore", path]));
    assert!(
        said.starts_with("Restored 2 users, 3 dots and 3 commits, as of "),
        "{said}"
    );
    let none = tempfile::tempdir().unwrap();
    let output = to.run(&["restore", none.path().to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no finished backup in"), "{said}");
    let output = to.run(&["restore", path]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("already contains a hub"), "{said}");
}

/// Changes the first file in a folder whose path contains a name.
fn change(folder: &Path, name: &str, change: impl Fn(&mut Vec<u8>)) {
    for entry in walk(folder) {
        if entry.to_string_lossy().contains(name) {
            let mut bytes = std::fs::read(&entry).unwrap();
            change(&mut bytes);
            std::fs::write(&entry, bytes).unwrap();
            return;
        }
    }
    panic!("there is no {name}");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn damage_is_refused_and_nothing_is_restored() {
    let scene = Scene::new(Place::new().await).await;
    let folder = tempfile::tempdir().unwrap();
    // The target may have served before.
    let to = Place::new().await;
    let database = to.database().await;
    own_store(&database, &to.packs()).await.unwrap();
    database.close().await;
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    scene.take(folder.path()).await.unwrap();
    change(folder.path(), "records-", flip);
    let damaged = restore_into(&to, folder.path()).await;
    let is_damaged = matches!(damaged, Err(RestoreError::Folder(FolderError::Damaged(_))));
    assert!(is_damaged, "{damaged:?}");

    scene.take(folder.path()).await.unwrap();
    change(folder.path(), "/packs/", flip);
    let damaged = restore_into(&to, folder.path()).await;
    assert!(matches!(damaged, Err(RestoreError::Pack(_))), "{damaged:?}");

    // A pack of another name is there, as a cut backup may leave it.
    let packs = walk(&folder.path().join("packs"));
    std::fs::rename(&packs[0], packs[0].with_file_name("a".repeat(64))).unwrap();
    let damaged = restore_into(&to, folder.path()).await;
    assert!(
        matches!(damaged, Err(RestoreError::Missing(1))),
        "{damaged:?}"
    );

    // The next backup copies the missing packs again. The failed restores leave nothing that prevents the next one.
    std::fs::remove_dir_all(folder.path().join("packs")).unwrap();
    scene.take(folder.path()).await.unwrap();
    let newer = |bytes: &mut Vec<u8>| {
        let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
        manifest["schema"] = json!(9999);
        *bytes = manifest.to_string().into_bytes();
    };
    let good = std::fs::read(folder.path().join("manifest.json")).unwrap();
    change(folder.path(), "manifest.json", newer);
    let newer = restore_into(&to, folder.path()).await;
    let is_newer = matches!(newer, Err(RestoreError::Folder(FolderError::Newer(_))));
    assert!(is_newer, "{newer:?}");
    std::fs::write(folder.path().join("manifest.json"), good).unwrap();
    restore_into(&to, folder.path()).await.unwrap();

    // A second copy needs a pack store of its own.
    let place = Place::new().await;
    let copy = place.database().await;
    let folder = BackupFolder::at(folder.path());
    let manifest = folder.manifest().unwrap();
    let refused = restore(&folder, &manifest, &copy, &to.packs()).await;
    let others = matches!(refused, Err(RestoreError::OthersStore));
    assert!(others, "{refused:?}");
    scene.check(&TestHub::start_in(to).await).await;
}

/// If the hub has lost a pack, the backup lacks that pack only.
#[tokio::test]
async fn what_the_hub_has_lost_is_said() {
    let scene = Scene::new(Place::new().await).await;
    let lost = scene.hub.hub.packs.list().await.unwrap()[0].0;
    scene.hub.hub.packs.delete(lost).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let to = Place::new().await;
    for (place, command) in [(scene.hub.place(), "backup"), (&to, "restore")] {
        let output = place.run(&[command, path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("1 packs are lost"), "{said}");
    }
    let hub = TestHub::start_in(to).await;
    let alice = hub.client("alice", &scene.secret);
    alice.dot(&dot("alice/shop")).await.unwrap().unwrap();
    refused(
        alice
            .objects(&dot("alice/gone"), &scene.files.hashes())
            .await,
        dotmesh_api::ErrorCode::NotFound,
    );
}

/// A restore upgrades a backup of an older schema.
#[tokio::test]
async fn an_older_backup_is_brought_forward() {
    // Schema 4 had no lengths of packs and texts, no identities of dots, and no offers of dots. It had no webhooks,
    // quotas, access log or repacks.
    //
    // A commit had no list of what is left out, and always had its data.
    const SCHEMA: i64 = 4;
    let scene = Scene::new(Place::new().await).await;
    let folder = tempfile::tempdir().unwrap();
    let taken = scene.take(folder.path()).await.unwrap();
    assert_eq!(taken.manifest.schema, Database::newest_schema());

    let mut manifest = taken.manifest;
    let path = folder.path().join(&manifest.records);
    let present = zstd::Decoder::new(std::fs::File::open(&path).unwrap()).unwrap();
    let mut older = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut table = String::new();
    for line in BufReader::new(present).lines() {
        let mut line: DumpLine = serde_json::from_str(&line.unwrap()).unwrap();
        if let DumpLine::Table { table: name, .. } = &line {
            table.clone_from(name);
        }
        let newer_columns = match table.as_str() {
            "transfers" | "webhooks" | "access_log" | "pack_bases" => continue,
            "commits" => 2,
            "dots" => 4,
            "users" => 2,
            "packs" => 3,
            "api_keys" => 1,
            _ => 0,
        };
        match &mut line {
            DumpLine::Table { columns, .. } => columns.truncate(columns.len() - newer_columns),
            DumpLine::Row(values) => values.truncate(values.len() - newer_columns),
        }
        serde_json::to_writer(&mut older, &line).unwrap();
        older.write_all(b"\n").unwrap();
    }
    let older = older.finish().unwrap();
    manifest.schema = SCHEMA;
    manifest.sha256 = hex::encode(Sha256::digest(&older));
    std::fs::write(&path, older).unwrap();
    let text = serde_json::to_vec(&manifest).unwrap();
    std::fs::write(folder.path().join("manifest.json"), text).unwrap();

    let to = Place::new().await;
    restore_into(&to, folder.path()).await.unwrap();
    let restored = TestHub::start_in(to).await;
    assert!(!scene.has_identity(&restored).await);
    // Texts that were there already count. Packs count only if they have lengths.
    let used = scene.hub.usage("alice").await.used;
    let packs: i64 = scene.stored_packs("alice").await;
    let restored_used = restored.usage("alice").await.used;
    assert_eq!(restored_used + u64::try_from(packs).unwrap(), used);
    scene.check(&restored).await;
}

/// An unused place with the other kind of database.
async fn other(place: &Place) -> Place {
    match place.database_url {
        Some(_) => Place::folder(tempfile::tempdir().unwrap()),
        None => Place::shared().await,
    }
}

/// Text of words that no two messages share: the most work for a full-text index.
fn words(n: usize, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut state = n as u64 + 1;
    while text.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x} ", state >> 20));
    }
    text.truncate(length);
    text
}

/// An older hub took messages of 1 MB. Each statement of a restore must load few of them.
#[tokio::test]
async fn long_messages_of_an_older_hub_are_restored() {
    let hub = TestHub::start().await;
    let (alice, secret) = hub.user_with_secret("alice").await;
    let (first, files) = push_first(&alice, &dot("alice/app"), b"one").await;
    let line = bounds::line(&first, &files, 30, |n| words(n, 1_000_000));
    let parents = std::iter::once(&first).chain(&line);
    let pairs: Vec<(&Made, &Made)> = parents.zip(&line).collect();
    bounds::write_commits(hub.place(), "app", &pairs).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let taken = hub.place().run(&["backup", path, "--verify"]);
    assert!(taken.status.success(), "{taken:?}");
    let said = String::from_utf8(taken.stdout).unwrap();
    assert!(said.contains("Verified: the records"), "{said}");
    for to in [
        Place::folder(tempfile::tempdir().unwrap()),
        other(hub.place()).await,
    ] {
        let restored = to.run(&["restore", path]);
        assert!(restored.status.success(), "{restored:?}");
        let hub = TestHub::start_in(to).await;
        let alice = hub.client("alice", &secret);
        let head = line.last().unwrap();
        let commits = alice
            .commits(&dot("alice/app"), head.id, None)
            .await
            .unwrap();
        assert_eq!(commits.commits.len(), 31);
        assert!(commits.commits[0] == head.sealed && commits.commits[30] == first.sealed);
    }
}

/// The largest values that a hub takes are restored unchanged, on either database.
#[tokio::test]
async fn the_largest_of_everything_is_restored() {
    let hub = TestHub::start().await;
    let (alice, secret) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &secret);
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let made = bounds::saying(&first, &files, |record| {
        record.message = words(1, limits::MESSAGE.most);
        record.author = "\u{1f3f4}".repeat(limits::AUTHOR.most / 4);
        let value = "\"".repeat(limits::METADATA_VALUE.most / 2);
        let values = (0..8).map(|n| (format!("k{n}"), value.clone()));
        record.metadata = values.collect();
    });
    push(&alice, &app, Some(&first), &made, &files)
        .await
        .unwrap();
    let text = |limit: &limits::Limit| "\u{7}\u{1f3f4}".repeat(limit.most / 5);
    let branch = "b".repeat(limits::BRANCH_NAME.most);
    for (method, path, body) in [
        (
            "PATCH",
            "dots/alice/app/settings".to_owned(),
            json!({"description": text(&limits::DESCRIPTION)}),
        ),
        (
            "PUT",
            format!("dots/alice/app/tags/{branch}"),
            json!({"at": "master", "message": text(&limits::TAG_MESSAGE)}),
        ),
        (
            "PUT",
            format!("dots/alice/app/branches/{branch}"),
            json!({"at": "master"}),
        ),
        (
            "POST",
            "dots/alice/app/notes".to_owned(),
            json!({"branch": "master", "body": text(&limits::NOTE)}),
        ),
    ] {
        api.done(method, &path, body).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let taken = hub.place().run(&["backup", path, "--verify"]);
    assert!(taken.status.success(), "{taken:?}");
    let to = other(hub.place()).await;
    let restored = to.run(&["restore", path]);
    assert!(restored.status.success(), "{restored:?}");
    // A backup of the restored hub equals the first one.
    let again = tempfile::tempdir().unwrap();
    let taken = to.run(&["backup", again.path().to_str().unwrap(), "--verify"]);
    assert!(taken.status.success(), "{taken:?}");
    let rows = |folder: &Path| {
        let manifest = BackupFolder::at(folder).manifest().unwrap();
        let file = std::fs::File::open(folder.join(manifest.records)).unwrap();
        let lines = BufReader::new(zstd::Decoder::new(file).unwrap()).lines();
        lines.map(Result::unwrap).collect::<BTreeSet<String>>()
    };
    assert_eq!(rows(folder.path()), rows(again.path()));
}

/// Verification fails for a backup whose records do not restore to the same.
#[tokio::test]
async fn what_does_not_verify_is_said() {
    let scene = Scene::new(Place::new().await).await;
    let folder = tempfile::tempdir().unwrap();
    let taken = scene.take(folder.path()).await.unwrap();
    let backup = BackupFolder::at(folder.path());
    verify(&backup, &taken.manifest).await.unwrap();
    // Verification leaves no files of its own.
    let left = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(left.count(), 3);
    change(folder.path(), "/packs/", |bytes| bytes[0] ^= 1);
    let damaged = verify(&backup, &taken.manifest).await;
    assert!(matches!(damaged, Err(VerifyError::Pack(_))), "{damaged:?}");
    std::fs::remove_dir_all(folder.path().join("packs")).unwrap();
    std::fs::create_dir(folder.path().join("packs")).unwrap();
    let missing = verify(&backup, &taken.manifest).await;
    assert!(
        matches!(missing, Err(VerifyError::Missing(2))),
        "{missing:?}"
    );
}
