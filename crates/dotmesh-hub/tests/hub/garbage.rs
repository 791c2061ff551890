//! Garbage collection during other work: objects that a dot or a push needs stay, and all others go.

use std::collections::BTreeMap;
use std::time::Duration;

use dotmesh_api::HubClient;
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::dump::DumpLine;
use dotmesh_hub_service::operations::collect_garbage::{CollectError, Collected, collect_garbage};
use dotmesh_hub_service::operations::repack::Repacker;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::ambient;
use crate::api::Api;
use crate::backup::{has, polled};
use crate::place::Place;
use crate::repack::check;
use crate::support::{
    Files, Made, TestHub, commit, dot, files, finish, pack, push, push_first, root_commit, update,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Collects as if `later` had passed since everything was removed, with `grace` until files are deleted.
async fn collect(hub: &TestHub, later: Duration, grace: Duration) -> Collected {
    let (database, packs) = (&hub.hub.database, &hub.hub.packs);
    collect_garbage(database, packs, ambient::now() + later, grace)
        .await
        .unwrap()
}

async fn purge(hub: &TestHub) {
    let now = ambient::now() + DAY;
    hub.hub.database.purge_dots(now).await.unwrap();
}

/// The numbers of rows for packs and for objects.
async fn rows(hub: &TestHub) -> (usize, usize) {
    let (mut table, mut packs, mut objects) = (String::new(), 0, 0);
    hub.hub
        .database
        .dump::<DatabaseError>(|line| {
            match line {
                DumpLine::Table { table: name, .. } => table = name,
                DumpLine::Row(_) if table == "packs" => packs += 1,
                DumpLine::Row(_) if table == "objects" => objects += 1,
                DumpLine::Row(_) => {}
            }
            Ok(())
        })
        .await
        .unwrap();
    (packs, objects)
}

#[tokio::test]
async fn what_nobody_needs_goes_in_its_time() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let bob = hub.user("bob").await;
    let (_, kept) = push_first(&alice, &dot("alice/kept"), b"kept").await;
    let (made, gone) = push_first(&alice, &dot("alice/gone"), b"gone").await;
    let api = Api::new(&hub, &key);
    let fork = json!({"name": "fork"});
    api.done("POST", "dots/alice/gone/fork", fork).await;
    push_first(&bob, &dot("bob/gone"), b"bob's").await;
    let orphan = hub.hub.packs.put(pack(&gone.objects[..1])).await.unwrap();

    // A deleted dot can be restored. Forks keep the objects that they share.
    alice.delete_dot(&dot("alice/gone")).await.unwrap();
    bob.delete_dot(&dot("bob/gone")).await.unwrap();
    assert_eq!(collect(&hub, Duration::ZERO, HOUR).await.packs, 0);
    purge(&hub).await;
    let before = rows(&hub).await;
    let collected = collect(&hub, Duration::ZERO, HOUR).await;
    // Only Bob's pack. The collection before has already found the orphan.
    assert_eq!((collected.packs, collected.files), (1, 0));
    assert!(rows(&hub).await < before);
    let stored = hub.hub.packs.list().await.unwrap().len();
    assert_eq!(collect(&hub, 2 * HOUR, HOUR).await.files, 2);
    assert_eq!(hub.hub.packs.list().await.unwrap().len(), stored - 2);
    hub.hub.packs.get(orphan).await.unwrap_err();
    has(&alice, "alice/fork", &gone).await;
    has(&alice, "alice/kept", &kept).await;

    // The objects of an unfinished push stay.
    alice.delete_dot(&dot("alice/fork")).await.unwrap();
    let next = dot("alice/next");
    let upload = alice.begin_upload(&next).await.unwrap();
    let missing = alice.missing(&next, &upload, &gone.hashes()).await.unwrap();
    assert!(!missing.is_empty());
    alice
        .send_pack(&next, &upload, pack(&gone.objects))
        .await
        .unwrap();
    purge(&hub).await;
    collect(&hub, DAY, Duration::ZERO).await;
    let request = finish(&[&made], vec![update(None, &made)]);
    alice.finish_upload(&next, &upload, &request).await.unwrap();
    collect(&hub, DAY, Duration::ZERO).await;
    has(&alice, "alice/next", &gone).await;
}

/// A client sends the same bytes again while the hub deletes their file.
#[tokio::test]
async fn what_comes_again_while_it_goes_stays() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (made, pushed) = push_first(&alice, &dot("alice/app"), b"one").await;
    alice.delete_dot(&dot("alice/app")).await.unwrap();
    purge(&hub).await;
    assert_eq!(collect(&hub, Duration::ZERO, HOUR).await.packs, 1);
    let database = &hub.hub.database;
    let now = ambient::now();

    // No file is deleted during a backup.
    let until = now + HOUR;
    assert!(database.lease("backup", "b", now, until).await.unwrap());
    let going = database.begin_deleting(now, now, 9).await.unwrap();
    assert!(going.is_empty());
    assert!(database.lease("backup", "b", now, now).await.unwrap());

    let going = database.begin_deleting(now, now, 9).await.unwrap();
    assert_eq!(going.len(), 1);
    let packs = &hub.hub.packs;
    packs.delete(going[0]).await.unwrap();
    let again = dot("alice/again");
    let pushing = push(&alice, &again, None, &made, &pushed);
    let deleting = async {
        // The push stores the file. Then the first collector deletes it once more.
        while packs.get(going[0]).await.is_err() {
            tokio::task::yield_now().await;
        }
        packs.delete(going[0]).await.unwrap();
        database.end_deleting(&going, now).await.unwrap();
    };
    let (pushing, ()) = tokio::join!(pushing, deleting);
    pushing.unwrap();
    collect(&hub, DAY, Duration::ZERO).await;
    has(&alice, "alice/again", &pushed).await;
}

/// A file is deleted after it was stored and before it is recorded.
#[tokio::test]
async fn what_was_deleted_after_it_was_stored_is_stored_again() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (database, packs) = (&hub.hub.database, &hub.hub.packs);
    let next = dot("alice/next");
    let token = alice.begin_upload(&next).await.unwrap();
    let owner = database.user(alice.user().unwrap()).await.unwrap().unwrap();
    let upload = database.upload(&token.id, owner, owner, &next);
    let upload = upload.await.unwrap().unwrap().id;
    let bytes = pack(&files(&[("a", b"one")]).objects);
    let before = database.deletions(ambient::now()).await.unwrap();
    let name = packs.put(bytes.clone()).await.unwrap();
    assert_eq!(collect(&hub, DAY, Duration::ZERO).await.files, 1);
    let add = async |deletions| {
        let stored = [(name, Vec::new())];
        let added = database.add_objects(owner, upload, &stored, deletions, &[], None);
        added.await.map(Result::unwrap)
    };
    let lost = |added| matches!(added, Err(DatabaseError::Collected));
    // A record of the deleted file is refused.
    for _ in 0..2 {
        assert!(lost(add(before).await));
    }
    // It is also refused after another collector saw the file before its deletion.
    database
        .doom_orphans(&[name], ambient::now())
        .await
        .unwrap();
    assert!(lost(add(before).await));
    // It is also refused after someone has stored the file again.
    let now = database.deletions(ambient::now()).await.unwrap();
    packs.put(bytes).await.unwrap();
    add(now).await.unwrap();
    assert!(lost(add(before).await));
    collect(&hub, DAY, Duration::ZERO).await;
    packs.get(name).await.unwrap();
}

#[tokio::test]
async fn a_cut_collection_has_done_no_harm() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (_, kept) = push_first(&alice, &dot("alice/kept"), b"kept").await;
    for n in 0..4u8 {
        let name = dot(&format!("alice/gone{n}"));
        push_first(&alice, &name, &[n]).await;
        alice.delete_dot(&name).await.unwrap();
    }
    purge(&hub).await;
    let (database, packs) = (&hub.hub.database, &hub.hub.packs);
    let mut polls = 0;
    loop {
        let now = ambient::now() + DAY;
        let collecting = collect_garbage(database, packs, now, Duration::ZERO);
        if let Some(done) = polled(collecting, polls).await {
            done.unwrap();
            break;
        }
        has(&alice, "alice/kept", &kept).await;
        polls += 1;
    }
    // If a collector dies, another one deletes its files later.
    collect(&hub, 3 * DAY, Duration::ZERO).await;
    assert_eq!(hub.hub.packs.list().await.unwrap().len(), 1);
    has(&alice, "alice/kept", &kept).await;
}

/// Pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    /// One of a few trees, so the same objects and packs recur.
    fn files(&mut self) -> Files {
        let contents: [&[u8]; 5] = [b"one", b"two", b"three", b"four", b"five"];
        let (a, b) = (contents[self.roll(5)], contents[self.roll(5)]);
        files(&[("a", a), ("b", b)])
    }
}

/// A user who pushes, forks and deletes their own dots.
struct Worker<'a> {
    client: &'a HubClient,
    api: Api,
    user: &'a str,
    /// Part of the dots' names, so no two workers share a dot.
    number: usize,
    dice: Dice,
    dots: BTreeMap<String, (Made, Vec<Files>)>,
}

impl Worker<'_> {
    async fn work(&mut self, rounds: usize, done: &Semaphore) {
        for _ in 0..rounds {
            done.add_permits(1);
            let name = format!("{}/w{}-{}", self.user, self.number, self.dice.roll(3));
            match self.dice.roll(6) {
                0..3 => self.push(name).await,
                3 => self.delete(&name).await,
                4 => self.fork(name).await,
                _ => self.abandon().await,
            }
            self.check().await;
        }
    }

    async fn push(&mut self, name: String) {
        let files = self.dice.files();
        let last = self.dots.get(&name).map(|(made, _)| made.clone());
        let made = commit(last.as_ref().unwrap_or(&root_commit()), &files);
        push(self.client, &dot(&name), last.as_ref(), &made, &files)
            .await
            .unwrap();
        let (head, all) = self
            .dots
            .entry(name)
            .or_insert_with(|| (made.clone(), Vec::new()));
        *head = made;
        all.push(files);
    }

    async fn delete(&mut self, name: &str) {
        if self.dots.remove(name).is_some() {
            self.client.delete_dot(&dot(name)).await.unwrap();
        }
    }

    /// Forks a dot of the user's own or of another namespace.
    async fn fork(&mut self, name: String) {
        if self.dots.contains_key(&name) {
            return;
        }
        let own = self.dots.iter().nth(self.dice.roll(3));
        let (origin, (made, all)) = match own {
            Some((origin, content)) => (origin.clone(), content.clone()),
            None => return,
        };
        let (_, short) = name.split_once('/').unwrap();
        let path = format!("dots/{origin}/fork");
        self.api.done("POST", &path, json!({"name": short})).await;
        self.dots.insert(name, (made, all));
    }

    /// Starts a push that ends after its first pack.
    async fn abandon(&mut self) {
        let name = dot(&format!("{}/never", self.user));
        let upload = self.client.begin_upload(&name).await.unwrap();
        let files = self.dice.files();
        let objects = pack(&files.objects);
        self.client
            .send_pack(&name, &upload, objects)
            .await
            .unwrap();
    }

    async fn check(&self) {
        for (name, (_, all)) in &self.dots {
            for files in all {
                has(self.client, name, files).await;
            }
        }
    }
}

/// What runs beside the pushes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Two collectors, which delete files at once.
    Collectors,
    /// Two collectors that also repack. Readers may still need the files of packs that were replaced, so these stay.
    Repacks,
}

async fn at_random(hub: &TestHub, seed: u64, rounds: usize, beside: Beside) {
    let (alice, alices) = hub.user_with_secret("alice").await;
    let (bob, bobs) = hub.user_with_secret("bob").await;
    let worker = |number: usize| {
        let (client, key, user) = match number % 2 {
            0 => (&alice, &alices, "alice"),
            _ => (&bob, &bobs, "bob"),
        };
        Worker {
            client,
            api: Api::new(hub, key),
            user,
            number,
            dice: Dice(seed * 4 + number as u64 + 1),
            dots: BTreeMap::new(),
        }
    };
    let mut workers: Vec<Worker> = (0..4).map(worker).collect();
    let done = Semaphore::new(0);
    let working = workers.iter_mut().map(|worker| worker.work(rounds, &done));
    // Two collectors run at once, each like a process of its own. They delete files at once, so each waits for some
    // work in between. A push whose pack is deleted each time would give up in the end.
    let collecting = async || {
        let (database, packs) = (hub.place().database().await, hub.place().packs());
        while let Ok(something) = done.acquire().await {
            something.forget();
            let now = ambient::now();
            database.purge_dots(now + DAY).await.unwrap();
            let mut grace = Duration::ZERO;
            if beside == Beside::Repacks {
                grace = HOUR;
                let repacker = Repacker::new(database.clone(), packs.clone());
                let done = repacker.repack(now, Duration::ZERO).await.unwrap();
                assert!(done.damaged.is_empty());
            }
            collect_garbage(&database, &packs, now, grace)
                .await
                .unwrap();
        }
        database.close().await;
    };
    let working = async {
        futures::future::join_all(working).await;
        done.close();
    };
    tokio::join!(working, collecting(), collecting());

    if beside == Beside::Repacks {
        assert_eq!(check(hub, false).await.problems, []);
        collect(hub, DAY, Duration::ZERO).await;
        assert_eq!(check(hub, false).await.problems, []);
    }
    for worker in &mut workers {
        worker.check().await;
        let names: Vec<String> = worker.dots.keys().cloned().collect();
        for name in names {
            worker.delete(&name).await;
        }
    }
    purge(hub).await;
    let uploads = ambient::now() + DAY;
    hub.hub.database.expire_uploads(uploads).await.unwrap();
    // A base goes after the packs that build on it.
    for _ in 0..2 {
        collect(hub, DAY, Duration::ZERO).await;
    }
    assert_eq!(rows(hub).await, (0, 0));
    assert_eq!(hub.hub.packs.list().await.unwrap(), []);
}

/// `DOTHUB_TEST_ROUNDS` sets the number of rounds. More rounds test more.
#[tokio::test]
async fn beside_pushes_at_random() {
    let rounds = std::env::var("DOTHUB_TEST_ROUNDS");
    let rounds = rounds.map_or(40, |rounds| rounds.parse().unwrap());
    for seed in 1..=2 {
        at_random(&TestHub::start().await, seed, rounds, Beside::Collectors).await;
    }
}

#[tokio::test]
async fn beside_pushes_and_repacks_at_random() {
    let rounds = std::env::var("DOTHUB_TEST_ROUNDS");
    let rounds = rounds.map_or(25, |rounds| rounds.parse().unwrap());
    for seed in 4..=5 {
        at_random(&TestHub::start().await, seed, rounds, Beside::Repacks).await;
    }
}

#[tokio::test]
async fn beside_pushes_and_repacks_at_random_on_servers() {
    let hub = TestHub::start_in(Place::shared().await).await;
    at_random(&hub, 6, 12, Beside::Repacks).await;
}

#[tokio::test]
async fn beside_pushes_at_random_on_servers() {
    let hub = TestHub::start_in(Place::shared().await).await;
    at_random(&hub, 3, 20, Beside::Collectors).await;
}

/// An operator combines the wrong database with a store, or one store with two hubs.
#[tokio::test]
async fn packs_of_another_hub_are_left_alone() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (_, pushed) = push_first(&alice, &dot("alice/app"), b"one").await;
    collect(&hub, DAY, Duration::ZERO).await;
    let place = Place::new().await;
    let other = place.database().await;
    let now = ambient::now() + DAY;
    for _ in 0..2 {
        let refused = collect_garbage(&other, &hub.hub.packs, now, Duration::ZERO).await;
        let others = matches!(refused, Err(CollectError::OthersStore));
        assert!(others, "{refused:?}");
    }
    has(&alice, "alice/app", &pushed).await;
    // Another process opens the same database.
    let again = hub.place().database().await;
    collect_garbage(&again, &hub.hub.packs, now, Duration::ZERO)
        .await
        .unwrap();
    has(&alice, "alice/app", &pushed).await;
}

#[tokio::test]
async fn by_hand() {
    let place = Place::new().await;
    let hub = TestHub::start_in(place).await;
    let alice = hub.user("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    alice.delete_dot(&dot("alice/app")).await.unwrap();
    purge(&hub).await;
    let said = |args: &[&str]| {
        let output = hub.place().run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let length: u64 = hub.hub.packs.list().await.unwrap()[0].1;
    assert_eq!(
        said(&["gc", "--dry-run"]),
        format!("Would delete 1 pack ({length} B)\n")
    );
    assert_eq!(
        said(&["gc"]),
        format!("Marked 1 pack ({length} B) for deletion in an hour, and deleted 0 files\n")
    );
    assert_eq!(said(&["gc", "--dry-run"]), "Would delete 0 packs (0 B)\n");
}
