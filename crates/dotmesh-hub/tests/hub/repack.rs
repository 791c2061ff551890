//! Repacks: everything stays readable at every moment, and takes less space afterwards.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use dotmesh_api::HubClient;
use dotmesh_hub_service::backup::{BackupFolder, take, verify};
use dotmesh_hub_service::operations::check::{CheckReport, Checker};
use dotmesh_hub_service::operations::collect_garbage::collect_garbage;
use dotmesh_hub_service::operations::repack::{Repackable, Repacked, Repacker};
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileContent, InodeKind, Kind, Object};
use serde_json::json;

use crate::ambient;
use crate::api::Api;
use crate::backup::{has, polled, restore_into};
use crate::bounds::{self, saying};
use crate::cli::start;
use crate::deltas::noise;
use crate::pages::Browser;
use crate::place::Place;
use crate::support::{
    Files, Made, TestHub, commit, dot, entry, files, large_file, push, push_first, root_commit,
    tree_of,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CHUNK: usize = 16 << 10;

/// A database of some pages, as one large file, and a small file beside it.
pub(crate) struct Pages {
    bytes: Vec<u8>,
    seed: u64,
}

impl Pages {
    pub(crate) fn new(seed: u64, chunks: usize) -> Self {
        Self {
            bytes: noise(seed, chunks * CHUNK),
            seed,
        }
    }

    /// Changes a tenth of every third chunk.
    pub(crate) fn change(&mut self) {
        self.seed += 1;
        let first = self.seed as usize % 3;
        for (n, chunk) in self
            .bytes
            .chunks_mut(CHUNK)
            .enumerate()
            .skip(first)
            .step_by(3)
        {
            let at = (self.seed as usize * 1700 + n * 311) % (CHUNK - 1600);
            chunk[at..at + 1600].copy_from_slice(&noise(self.seed * 1000 + n as u64, 1600));
        }
    }

    pub(crate) fn files(&self) -> Files {
        let chunks = self.bytes.chunks(CHUNK);
        let chunks = chunks.map(|chunk| Object::new(Kind::Chunk, chunk.to_vec()));
        let (pages, mut objects) = large_file(chunks);
        let small = Object::new(Kind::Chunk, self.seed.to_le_bytes().to_vec());
        let entries = vec![
            entry("pages", pages),
            entry(
                "small",
                InodeKind::File {
                    size: 8,
                    content: FileContent::Chunk(small.hash()),
                },
            ),
        ];
        objects.push(small);
        tree_of(objects, entries)
    }
}

/// A database whose rows are mostly blanks, as those of pgbench: 61 rows in a page of 8 KiB.
struct Rows {
    pages: Pages,
    next: u64,
}

impl Rows {
    const PAGE: usize = 8 << 10;
    const ROW: usize = 128;

    fn new(chunks: usize) -> Self {
        let mut pages = Pages::new(1, 1);
        pages.bytes = vec![0; chunks * CHUNK];
        let mut rows = Self { pages, next: 1 };
        for page in 0..chunks * 2 {
            for row in 0..61 {
                rows.write(page, row);
            }
        }
        rows
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.next = self
            .next
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.next >> 33) as usize % sides
    }

    fn write(&mut self, page: usize, row: usize) {
        let (transaction, balance) = (self.roll(200) as u32, self.roll(10_000) as u32);
        let at = page * Self::PAGE + 256 + row * Self::ROW;
        let number = (page * 61 + row) as u32;
        let bytes = &mut self.pages.bytes[at..at + Self::ROW];
        bytes.fill(b' ');
        for (field, value) in
            bytes
                .chunks_mut(4)
                .zip([transaction, 0, 0x0902_0003, number, 1, balance])
        {
            field.copy_from_slice(&value.to_le_bytes());
        }
        let head = page * Self::PAGE;
        let log = (self.next >> 20).to_le_bytes();
        self.pages.bytes[head..head + 8].copy_from_slice(&log);
    }

    /// Changes a tenth of a fifth of the pages.
    fn change(&mut self) {
        self.pages.seed += 1;
        let pages = self.pages.bytes.len() / Self::PAGE;
        for _ in 0..pages / 5 {
            let page = self.roll(pages);
            for _ in 0..6 {
                let row = self.roll(61);
                self.write(page, row);
            }
        }
    }
}

/// Prints how much a hub grows. The benchmark compares the same with other tools.
#[tokio::test]
#[ignore = "it measures and asserts nothing"]
async fn how_much_a_hub_grows() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    let mut rows = Rows::new(1000);
    let (mut pushed, mut grown, mut raw) = (0, 0, 0);
    let mut before = 0;
    for push in 0..=20 {
        std::mem::swap(&mut line.pages, &mut rows.pages);
        line.push_unchanged().await;
        std::mem::swap(&mut line.pages, &mut rows.pages);
        rows.change();
        let with_push = stored(&hub).await;
        repack(&hub).await;
        collect(&hub).await;
        let after = stored(&hub).await;
        let old: BTreeSet<ObjectHash> = match push {
            0 => BTreeSet::new(),
            _ => line.made[push - 1].1.hashes().into_iter().collect(),
        };
        let new = line.made[push]
            .1
            .objects
            .iter()
            .filter(|object| !old.contains(&object.hash()));
        let new: usize = new.map(|object| object.bytes().len()).sum();
        println!(
            "push {push}: {new} bytes of new objects, {} as pushed, {} after the repack",
            with_push - before,
            after as i64 - before as i64
        );
        if push > 0 {
            raw += new;
            pushed += with_push - before;
            grown += after as i64 - before as i64;
        }
        before = after;
    }
    println!(
        "20 pushes after the first: {raw} bytes of new objects, {pushed} as pushed, {grown} after repacks: {:.2}",
        grown as f64 / pushed as f64
    );
}

/// The CPU time that this process has used.
fn cpu_time() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = [11, 12].map(|at: usize| fields[at].parse::<u32>().unwrap());
    TICK * ticks.iter().sum()
}

/// Prints what a clone of the newest commit costs before and after a repack. The cost of the client is in both.
#[tokio::test]
#[ignore = "it measures and asserts nothing"]
async fn how_much_more_a_clone_costs() {
    const CHUNKS: usize = 8000;
    // As many as a client asks for at once.
    const ASKED: usize = 256;
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    let mut rows = Rows::new(CHUNKS);
    for push in 0..=10 {
        std::mem::swap(&mut line.pages, &mut rows.pages);
        line.push_unchanged().await;
        std::mem::swap(&mut line.pages, &mut rows.pages);
        rows.change();
        let hashes = line.made[push].1.hashes();
        let mut costs = Vec::new();
        for repacked in [false, true] {
            if repacked {
                repack(&hub).await;
                collect(&hub).await;
            }
            // The first round fills caches.
            for round in 0..3 {
                let before = cpu_time();
                for asked in hashes.chunks(ASKED) {
                    alice.objects(&dot("alice/app"), asked).await.unwrap();
                }
                if round > 0 {
                    costs.push(cpu_time() - before);
                }
            }
        }
        let length = CHUNKS * CHUNK;
        println!("push {push}: a clone of {length} bytes before and after the repack: {costs:?}");
    }
}

/// A dot with a line of commits.
pub(crate) struct Line {
    client: HubClient,
    name: String,
    pages: Pages,
    pub(crate) made: Vec<(Made, Files)>,
}

impl Line {
    pub(crate) fn new(client: &HubClient, name: &str, seed: u64) -> Self {
        Self {
            client: client.clone(),
            name: name.to_owned(),
            pages: Pages::new(seed, 40),
            made: Vec::new(),
        }
    }

    pub(crate) async fn push(&mut self) {
        self.push_unchanged().await;
        self.pages.change();
    }

    async fn push_unchanged(&mut self) {
        let files = self.pages.files();
        let last = self.made.last().map(|(made, _)| made.clone());
        let seconds = self.made.len() as i64;
        let parent = last.clone().unwrap_or_else(root_commit);
        let next = saying(&parent, &files, |record| {
            record.time = "2026-01-31T12:00:00Z".parse::<jiff::Timestamp>().unwrap()
                + jiff::SignedDuration::from_secs(seconds);
        });
        push(&self.client, &dot(&self.name), last.as_ref(), &next, &files)
            .await
            .unwrap();
        self.made.push((next, files));
    }

    pub(crate) async fn is_whole(&self) {
        for (_, files) in &self.made {
            has(&self.client, &self.name, files).await;
        }
    }
}

pub(crate) fn repacker(hub: &TestHub) -> Repacker {
    Repacker::of(&hub.hub)
}

pub(crate) async fn repack(hub: &TestHub) -> Repacked {
    let done = repacker(hub)
        .repack(ambient::now(), Duration::ZERO)
        .await
        .unwrap();
    assert!(done.damaged.is_empty());
    done
}

pub(crate) async fn collect(hub: &TestHub) {
    let (database, packs) = (&hub.hub.database, &hub.hub.packs);
    let now = ambient::now() + 3 * DAY;
    collect_garbage(database, packs, now, Duration::ZERO)
        .await
        .unwrap();
}

/// The bytes of all files of the store.
async fn stored(hub: &TestHub) -> u64 {
    let packs = hub.hub.packs.list().await.unwrap();
    packs.iter().map(|(_, length)| length).sum()
}

async fn used(hub: &TestHub, user: &str) -> u64 {
    let name = user.parse().unwrap();
    let id = hub.hub.database.user(&name).await.unwrap().unwrap();
    hub.hub.database.usage(id, None).await.unwrap().used
}

pub(crate) async fn check(hub: &TestHub, repair: bool) -> CheckReport {
    // Like another process, it knows nothing that the hub has in memory.
    let database = hub.place().database().await;
    let checker = Checker::new(database.clone(), hub.hub.packs.clone());
    let report = checker.check(repair, ambient::now()).await.unwrap();
    database.close().await;
    report
}

async fn number(hub: &TestHub, query: &'static str) -> i64 {
    let mut connection = bounds::connection(hub.place()).await;
    let number = sqlx::query_scalar(query).fetch_one(&mut connection);
    number.await.unwrap()
}

#[tokio::test]
async fn it_takes_less_and_nothing_is_lost() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..6 {
        line.push().await;
    }
    let (before, charged) = (stored(&hub).await, used(&hub, "alice").await);
    let found = repacker(&hub)
        .find(ambient::now(), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        found,
        Repackable {
            namespaces: 1,
            packs: 6,
            bytes: before
        }
    );
    // What is younger stays as it is.
    let young = repacker(&hub).repack(ambient::now(), DAY).await.unwrap();
    assert_eq!(young, Repacked::default());

    let done = repack(&hub).await;
    assert_eq!((done.packs, done.before, done.left_out), (6, before, 0));
    line.is_whole().await;
    collect(&hub).await;
    line.is_whole().await;
    let after = stored(&hub).await;
    assert_eq!(after, done.after);
    println!("{before} bytes became {after}");
    // Of each push after the first, a tenth of a third is new.
    assert!(after * 2 < before, "{before} bytes became {after}");
    let saved = charged - used(&hub, "alice").await;
    assert_eq!(saved, before - after);
    assert_eq!(number(&hub, "SELECT count(*) FROM dot_objects").await, 0);
    assert_eq!(repack(&hub).await, Repacked::default());

    // The next push builds on the former packs.
    line.push().await;
    let pushed = stored(&hub).await - after;
    let done = repack(&hub).await;
    line.is_whole().await;
    collect(&hub).await;
    line.is_whole().await;
    let grown = stored(&hub).await - after;
    println!("a push of {pushed} bytes takes {grown}");
    assert!(grown * 4 < pushed, "a push of {pushed} bytes takes {grown}");
    assert_eq!(done.packs, 1);
    assert!(number(&hub, "SELECT count(*) FROM pack_bases").await > 0);
    assert_eq!(check(&hub, false).await.problems, []);

    // A push refers to repacked objects, and builds deltas on them.
    line.push().await;
    let api = Api::new(&hub, &key);
    let fork = json!({"name": "fork"});
    api.done("POST", "dots/alice/app/fork", fork).await;
    for _ in 0..12 {
        line.push().await;
        repack(&hub).await;
        collect(&hub).await;
        line.is_whole().await;
    }
    let all = stored(&hub).await;
    println!("19 more pushes: {all} bytes in all");
    has(&alice, "alice/fork", &line.made[0].1).await;
    assert_eq!(check(&hub, false).await.problems, []);

    // Nothing of it is needed any more.
    for name in ["alice/app", "alice/fork"] {
        alice.delete_dot(&dot(name)).await.unwrap();
    }
    let (database, now) = (&hub.hub.database, ambient::now() + DAY);
    database.purge_dots(now).await.unwrap();
    database.expire_uploads(now).await.unwrap();
    // Bases go after the packs that build on them.
    for _ in 0..3 {
        collect(&hub).await;
    }
    assert_eq!(hub.hub.packs.list().await.unwrap(), []);
    assert_eq!(number(&hub, "SELECT count(*) FROM pack_bases").await, 0);
}

#[tokio::test]
async fn garbage_is_left_out_and_everyone_keeps_what_they_have() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let (bob, bobs) = hub.user_with_secret("bob").await;
    let api = Api::new(&hub, &key);
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..3 {
        line.push().await;
    }
    api.done("POST", "dots/alice/app/fork", json!({"name": "early"}))
        .await;
    let early = line.made.len();
    for _ in 0..3 {
        line.push().await;
    }
    // Alice's other dots share objects, and one of them goes.
    let (_, kept) = push_first(&alice, &dot("alice/kept"), b"kept").await;
    let (_, gone) = push_first(&alice, &dot("alice/gone"), b"gone").await;
    // An unfinished push has objects too.
    let next = dot("alice/next");
    let upload = alice.begin_upload(&next).await.unwrap();
    let unfinished = files(&[("a", b"unfinished"), ("b", b"the same in all")]);
    let missing = alice
        .missing(&next, &upload, &unfinished.hashes())
        .await
        .unwrap();
    let sent = unfinished
        .objects
        .iter()
        .filter(|object| missing.contains(&object.hash()));
    let sent = crate::support::pack(sent);
    alice.send_pack(&next, &upload, sent).await.unwrap();
    alice.delete_dot(&dot("alice/gone")).await.unwrap();
    hub.hub
        .database
        .purge_dots(ambient::now() + DAY)
        .await
        .unwrap();

    let done = repack(&hub).await;
    // The chunk, its folder, the top page and the root.
    assert_eq!(done.left_out, 4);
    collect(&hub).await;
    line.is_whole().await;
    has(&alice, "alice/kept", &kept).await;
    for (_, files) in &line.made[..early] {
        has(&alice, "alice/early", files).await;
    }
    // The fork did not get what came later.
    let (_, late) = line.made.last().unwrap();
    assert!(
        alice
            .objects(&dot("alice/early"), &late.hashes())
            .await
            .is_err()
    );
    assert!(
        alice
            .objects(&dot("alice/kept"), &[gone.chunk().hash()])
            .await
            .is_err()
    );
    let made = commit(&root_commit(), &unfinished);
    let request = crate::support::finish(&[&made], vec![crate::support::update(None, &made)]);
    alice.finish_upload(&next, &upload, &request).await.unwrap();
    has(&alice, "alice/next", &unfinished).await;

    // Other namespaces share files. As long as they do, these stay.
    let settings = json!({"visibility": "public"});
    api.done("PATCH", "dots/alice/app/settings", settings).await;
    Api::new(&hub, &bobs)
        .done("POST", "dots/alice/app/fork", json!({"name": "copy"}))
        .await;
    line.push().await;
    let done = repack(&hub).await;
    collect(&hub).await;
    line.is_whole().await;
    assert!(done.packs > 0);
    for (_, files) in &line.made[..line.made.len() - 1] {
        has(&bob, "bob/copy", files).await;
    }
    assert_eq!(check(&hub, false).await.problems, []);
}

#[tokio::test]
async fn a_repack_comes_in_parts_where_there_is_much() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 5);
    for _ in 0..5 {
        line.push().await;
    }
    let parts = repacker(&hub).with_most_objects(60);
    let done = parts.repack(ambient::now(), Duration::ZERO).await.unwrap();
    assert_eq!(done.packs, 5);
    let repacks = hub.hub.database.repack_log(10).await.unwrap();
    assert!(repacks.newest.len() > 1);
    assert_eq!((repacks.before, repacks.after), (done.before, done.after));
    collect(&hub).await;
    line.is_whole().await;
}

#[tokio::test]
async fn a_cut_repack_has_done_no_harm() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for round in 0..2 {
        for _ in 0..3 {
            line.push().await;
        }
        let mut polls = 0;
        loop {
            let repacker = repacker(&hub);
            let repacking = repacker.repack(ambient::now(), Duration::ZERO);
            let done = polled(repacking, polls).await;
            line.is_whole().await;
            if let Some(done) = done {
                assert!(done.unwrap().damaged.is_empty());
                break;
            }
            polls += 1 + polls / 4;
        }
        assert_eq!(check(&hub, false).await.problems, [], "round {round}");
    }
    // What was stored in vain is garbage.
    let before = stored(&hub).await;
    collect(&hub).await;
    assert!(stored(&hub).await < before);
    line.is_whole().await;
}

#[tokio::test]
async fn two_repacks_and_a_push_at_once_do_no_harm() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..4 {
        line.push().await;
        let beside = hub.beside().await;
        let one = repacker(&hub);
        let two = Repacker::of(&beside);
        let (now, none) = (ambient::now(), Duration::ZERO);
        let (one, two, ()) =
            tokio::join!(one.repack(now, none), two.repack(now, none), line.push());
        assert!(one.unwrap().damaged.is_empty() && two.unwrap().damaged.is_empty());
        line.is_whole().await;
    }
    collect(&hub).await;
    line.is_whole().await;
    assert_eq!(check(&hub, false).await.problems, []);
}

/// The program is killed whenever the store has one more file, and at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_repack_may_be_killed() {
    for place in [Place::new().await, Place::shared().await] {
        let key = place.hub_with_user("alice").await;
        let serving = start(place.dothub(&["serve", "--listen", "127.0.0.1:0"]));
        let alice = serving.client("alice", &key);
        let mut lines = [1, 2].map(|n| Line::new(&alice, &format!("alice/app{n}"), n));
        for line in &mut lines {
            for _ in 0..3 {
                line.push().await;
            }
        }
        let packs = place.packs();
        let args = ["repack", "--after", "0"];
        for round in 0..6 {
            let files = packs.list().await.unwrap().len();
            let mut command = place.dothub(&args);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            // Kill it after some questions to the store, or with the first new file.
            let mut asked = 0;
            let is_over = loop {
                if child.try_wait().unwrap().is_some() {
                    break true;
                }
                let has_new = packs.list().await.unwrap().len() > files;
                asked += 1;
                if has_new || asked > round * 40 {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break false;
                }
            };
            for line in &lines {
                line.is_whole().await;
            }
            if is_over {
                for line in &mut lines {
                    line.push().await;
                }
            }
            release(&place).await;
        }
        let done = place.run(&args);
        assert!(done.status.success(), "{done:?}");
        let checked = place.run(&["check"]);
        assert!(checked.status.success(), "{checked:?}");
        for line in &lines {
            line.is_whole().await;
        }
        assert!(serving.terminate().success());
    }
}

/// Ends the lease of a repack that was killed.
async fn release(place: &Place) {
    bounds::run(place, "DELETE FROM leases".to_owned()).await;
}

#[tokio::test]
async fn the_command_says_what_it_did() {
    let hub = TestHub::start().await;
    let (alice, _) = hub.user_with_secret("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..3 {
        line.push().await;
    }
    let place = hub.stop().await;
    let told = |args: &[&str]| {
        let output = place.run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = told(&["repack", "--dry-run"]);
    assert_eq!(text, "Would repack 0 packs (0 B) of 0 namespaces\n");
    let text = told(&["repack", "--dry-run", "--after", "0"]);
    assert!(text.starts_with("Would repack 3 packs ("), "{text}");
    let text = told(&["repack", "--after", "0"]);
    assert!(text.starts_with("Repacked 3 packs ("), "{text}");
    assert!(
        text.ends_with("and left out 0 objects that nothing needs\n"),
        "{text}"
    );

    let database = place.database().await;
    let (now, later) = (ambient::now(), ambient::now() + DAY);
    assert!(
        database
            .lease("repack under way", "x", now, later)
            .await
            .unwrap()
    );
    let refused = place.run(&["repack"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    database.close().await;
}

#[tokio::test]
async fn administrators_see_what_it_gained() {
    let hub = TestHub::start().await;
    let (alice, _) = hub.user_with_secret("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..3 {
        line.push().await;
    }
    let mut admin = Browser::logged_in(&hub, "root").await;
    let (name, now) = ("root".parse().unwrap(), ambient::now());
    assert!(hub.hub.database.set_admin(&name, true, now).await.unwrap());
    let page = admin.get("/-/admin").await.body;
    assert!(page.contains("Nothing was repacked yet"), "{page}");
    repack(&hub).await;
    let page = admin.get("/-/admin").await.body;
    assert!(page.contains("3 packs, "), "{page}");
}

#[tokio::test]
async fn a_backup_has_repacked_packs_and_their_bases() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let mut line = Line::new(&alice, "alice/app", 1);
    for _ in 0..3 {
        line.push().await;
    }
    repack(&hub).await;
    line.push().await;
    repack(&hub).await;
    assert!(number(&hub, "SELECT count(*) FROM pack_bases").await > 0);
    let temp = tempfile::tempdir().unwrap();
    let folder = BackupFolder::create(temp.path()).unwrap();
    let of = &hub.hub;
    let taken = take(&of.database, &of.packs, &folder, &of.clock, &of.random)
        .await
        .unwrap();
    assert!(taken.manifest.lost.is_empty());
    verify(&folder, &taken.manifest).await.unwrap();
    let place = Place::new().await;
    restore_into(&place, temp.path()).await.unwrap();
    let restored = TestHub::start_in(place).await;
    line.client = restored.client("alice", &key);
    line.is_whole().await;
    assert_eq!(check(&restored, false).await.problems, []);
    // It is settled, so nothing of it is written again.
    assert_eq!(repack(&restored).await, Repacked::default());
    line.push().await;
    repack(&restored).await;
    collect(&restored).await;
    line.is_whole().await;
}
