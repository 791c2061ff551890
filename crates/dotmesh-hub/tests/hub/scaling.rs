//! How the object index behaves with very many objects. `docs/scaling.md` has the results.

use std::time::{Duration, Instant};

use dotmesh_api::HubClient;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Kind, Object};
use sqlx::{AnyConnection, AssertSqlSafe};

use crate::bounds::connection;
use crate::place::Place;
use crate::support::{Made, TestHub, commit, dot, entry, large_file, push, push_first, tree_of};

/// The objects of a generated pack.
const OBJECTS: u64 = 1000;

/// The objects that are looked up at once.
const LOOKED_UP: usize = 4096;

/// The rounds of each measurement, of which the median is shown.
const ROUNDS: usize = 5;

const APP: &str = "alice/app";

/// Fills the index of PostgreSQL with `OBJECTS=1000000,10000000` generated rows, all in one namespace.
#[tokio::test]
#[ignore = "it measures and asserts nothing"]
async fn how_far_the_object_index_goes() {
    let hub = TestHub::start_in(Place::postgres().await).await;
    let alice = hub.user("alice").await;
    let bob = hub.user("bob").await;
    let (first, _) = push_first(&alice, &dot(APP), b"one").await;
    let (others, _) = push_first(&bob, &dot("bob/app"), b"one").await;
    let mut heads = [(&alice, APP, first), (&bob, "bob/app", others)];
    let mut connection = connection(hub.place()).await;
    let totals = std::env::var("OBJECTS").unwrap_or_else(|_| "100000".to_owned());
    let mut packs = 0;
    let mut seed = 1;
    for total in totals.split(',') {
        let total: u64 = total.parse().unwrap();
        let start = Instant::now();
        generate(&mut connection, total / OBJECTS - packs).await;
        packs = total / OBJECTS;
        println!("{total} objects, made in {:?}", start.elapsed());
        for (what, expression) in [
            ("table", "pg_relation_size('objects')"),
            (
                "index of hashes",
                "pg_relation_size('objects_owner_hash_key')",
            ),
            ("index of ids", "pg_relation_size('objects_pkey')"),
        ] {
            let bytes = number(&mut connection, expression).await;
            println!("  {what}: {bytes} bytes, {} for each", bytes as u64 / total);
        }
        for (client, name, head) in &mut heads {
            // The first round fills caches.
            let mut pushes = Vec::new();
            for _ in 0..=ROUNDS {
                seed += 1;
                pushes.push(push_changes(client, name, head, seed).await);
            }
            println!(
                "  push of {LOOKED_UP} objects to {name}: {:?}",
                median(&mut pushes)
            );
            let (mut unknown, mut spread, mut together) = (vec![], vec![], vec![]);
            let app = dot(name);
            let upload = client.begin_upload(&app).await.unwrap();
            for round in 0..=ROUNDS {
                seed += 1;
                let made = (0..LOOKED_UP as u64).map(|n| chunk(seed, n).hash());
                for (times, hashes) in [
                    (&mut unknown, made.collect()),
                    (&mut spread, some(&mut connection, round, packs, 1).await),
                    (
                        &mut together,
                        some(&mut connection, round, packs, OBJECTS).await,
                    ),
                ] {
                    let start = Instant::now();
                    client.missing(&app, &upload, &hashes).await.unwrap();
                    times.push(start.elapsed());
                }
            }
            println!(
                "  missing, {LOOKED_UP} new hashes: {:?}",
                median(&mut unknown)
            );
            println!(
                "  missing, {LOOKED_UP} of alice's, spread: {:?}",
                median(&mut spread)
            );
            println!(
                "  missing, {LOOKED_UP} of alice's, packs: {:?}",
                median(&mut together)
            );
        }
    }
}

/// Adds generated packs to the first dot.
async fn generate(connection: &mut AnyConnection, packs: u64) {
    for statement in [
        format!(
            "INSERT INTO packs (owner, name, objects, length, added, form)
             SELECT d.owner, sha256(('pack' || g)::bytea), {OBJECTS}, 16000000, 0, 1
             FROM dots d, generate_series(1, {packs}) g WHERE d.id = (SELECT min(id) FROM dots)"
        ),
        format!(
            "INSERT INTO objects (id, owner, hash, frame)
             SELECT p.id * 1048576 + n, p.owner, sha256((p.id || ' ' || n)::bytea), '\\x01000000000040000000400000'
             FROM packs p, generate_series(0, {}) n
             WHERE p.form = 1 AND NOT EXISTS (SELECT 1 FROM dot_packs m WHERE m.pack = p.id)
             ORDER BY p.id, n",
            OBJECTS - 1
        ),
        "INSERT INTO dot_packs (dot, pack) SELECT (SELECT min(id) FROM dots), p.id FROM packs p
         WHERE p.form = 1 AND NOT EXISTS (SELECT 1 FROM dot_packs m WHERE m.pack = p.id)"
            .to_owned(),
        "VACUUM ANALYZE".to_owned(),
    ] {
        let statement = sqlx::query(AssertSqlSafe(statement));
        statement.execute(&mut *connection).await.unwrap();
    }
}

async fn number(connection: &mut AnyConnection, expression: &str) -> i64 {
    let query = AssertSqlSafe(format!("SELECT CAST({expression} AS BIGINT)"));
    sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Returns hashes of generated objects: so many of each pack, of packs that are spread over all.
async fn some(
    connection: &mut AnyConnection,
    round: usize,
    packs: u64,
    of_each: u64,
) -> Vec<ObjectHash> {
    let wanted = (LOOKED_UP as u64).div_ceil(of_each);
    let hashes: Vec<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT o.hash FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM packs WHERE form = 1) p
         CROSS JOIN generate_series(0, {}) g
         CROSS JOIN generate_series(0, {}) n
         JOIN objects o ON o.id = p.id * 1048576 + (n * 7 + g * 13 + g / {OBJECTS}) % {OBJECTS}
         WHERE p.number = 1 + (g * {} + {round} * 17) % {packs} LIMIT {LOOKED_UP}",
        wanted - 1,
        of_each - 1,
        (packs / wanted).max(1),
    )))
    .fetch_all(connection)
    .await
    .unwrap();
    let hashes = hashes
        .iter()
        .map(|hash| ObjectHash::from_bytes(hash[..].try_into().unwrap()));
    hashes.collect()
}

fn chunk(seed: u64, number: u64) -> Object {
    Object::new(Kind::Chunk, [seed, number].map(u64::to_le_bytes).concat())
}

/// Pushes a commit with so many new chunks. Returns how long the hub took.
async fn push_changes(client: &HubClient, name: &str, head: &mut Made, seed: u64) -> Duration {
    let (pages, objects) = large_file((0..LOOKED_UP as u64).map(|number| chunk(seed, number)));
    let files = tree_of(objects, vec![entry("pages", pages)]);
    let made = commit(head, &files);
    let start = Instant::now();
    push(client, &dot(name), Some(&*head), &made, &files)
        .await
        .unwrap();
    let took = start.elapsed();
    *head = made;
    took
}

fn median(times: &mut [Duration]) -> Duration {
    let times = &mut times[1..];
    times.sort_unstable();
    times[times.len() / 2]
}
