//! Names on a hub pass from one dot to another. A push must always go to the dot that the local one is linked to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::middleware;
use axum::response::Response;
use dotmesh_api::dots::{ChangeSettings, Visibility};
use dotmesh_api::hub::Access;
use dotmesh_api::identity::IDENTITY_HEADER;
use dotmesh_api::node::{Fetch, Source, TransferOutcome};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_hub_model::access::Scope;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::auth::{Caller, Credential};
use dotmesh_hub_service::operations::{
    change_settings, delete_dot, fork_dot, grant_access, offer_dot, rename_dot, restore_dot,
    take_dot,
};
use dotmesh_model::{CommitId, CommitRecord, DotIdentity, DotName, VolumeName};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::bench::Bench;
use super::transfers::TestHub;
use crate::error::NodeError;
use crate::operations::{clone, fetch, pull, push, upstream, volume};
use crate::sqlite;

/// The user of requests on the hub's pages.
async fn caller(hub: &Hub, name: &str) -> Caller {
    let name = name.parse().unwrap();
    Caller {
        id: hub.database.user(&name).await.unwrap().unwrap(),
        name,
        is_admin: false,
        scope: Scope::Admin,
        only: None,
        meant: None,
        credential: Credential::Password,
        address: ClientAddress::UNKNOWN,
    }
}

fn name(text: &str) -> DotName {
    text.parse().unwrap()
}

/// A node with one dot that has one commit.
async fn bench(content: &str) -> Bench {
    let bench = Bench::empty().await;
    volume::create(&bench.node, "app.db").await.unwrap();
    write(&bench, content).await;
    bench
}

/// A node with a clone of a dot.
async fn cloned(hub: &TestHub, user: &str, from: &str) -> Bench {
    let bench = Bench::empty().await;
    clone::clone(&hub.job_as(&bench, user, from)).await.unwrap();
    bench
}

/// Writes and commits another file.
async fn write(bench: &Bench, file: &str) {
    let volume: VolumeName = "app@master.db".parse().unwrap();
    let branch = "master".parse().unwrap();
    let pool = &bench.node.pool;
    let path = pool.volume_path(&bench.dot(), &branch, &volume.folder);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join(file), file).unwrap();
    bench.commit().await;
}

async fn push_to(
    hub: &TestHub,
    bench: &Bench,
    user: &str,
    to: &str,
) -> Result<TransferOutcome, NodeError> {
    push::push(&hub.job_as(bench, user, to)).await
}

/// Expects the error for another dot.
#[track_caller]
fn another<T: std::fmt::Debug>(result: Result<T, NodeError>) -> ErrorBody {
    let body = ErrorBody::from(result.unwrap_err());
    assert_eq!(body.code, ErrorCode::AnotherDot, "{body:?}");
    body
}

/// Alice's dot, and Bob's clone of it. Bob may push to it.
async fn shared() -> (TestHub, Bench, Bench) {
    let hub = TestHub::start().await;
    let alice = bench("one").await;
    push_to(&hub, &alice, "alice", "alice/app").await.unwrap();
    grant(&hub.hub, "alice/app").await;
    let bob = cloned(&hub, "bob", "alice/app").await;
    (hub, alice, bob)
}

async fn grant(hub: &Hub, dot: &str) {
    let alice = caller(hub, "alice").await;
    let bob = "bob".parse().unwrap();
    grant_access::grant_access(hub, &alice, &name(dot), bob, Access::Write)
        .await
        .unwrap();
}

async fn rename(hub: &Hub, from: &str, to: &str) {
    let alice = caller(hub, "alice").await;
    rename_dot::rename_dot(hub, &alice, &name(from), to)
        .await
        .unwrap();
}

/// The number of commits on `master` of one of Alice's dots.
async fn commits(hub: &TestHub, dot: &str) -> usize {
    let client = hub.client("alice");
    let found = client.dot(&name(dot)).await.unwrap().unwrap();
    assert_eq!((found.name, found.branches.len()), (name(dot), 1));
    let head = found.branches[0].head;
    let list = client.commits(&name(dot), head, None).await.unwrap();
    list.commits.len()
}

/// The owner pushes a second dot under a name that the first one had before. This creates a new dot.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_push_to_a_former_name_makes_a_dot() {
    let (hub, alice, _) = shared().await;
    rename(&hub.hub, "alice/app", "shop").await;
    let other = bench("other").await;
    other.checkout("line", true).await.unwrap();
    let outcome = push_to(&hub, &other, "alice", "alice/app").await.unwrap();
    assert_eq!(outcome.renamed, None);
    assert_eq!(commits(&hub, "alice/shop").await, 1);
    let made = hub.client("alice").dot(&name("alice/app")).await;
    assert_eq!(made.unwrap().unwrap().name, name("alice/app"));
    // Bob cannot create a dot in her namespace.
    rename(&hub.hub, "alice/app", "third").await;
    let bobs = bench("bobs").await;
    let refused = push_to(&hub, &bobs, "bob", "alice/app").await.unwrap_err();
    assert_eq!(ErrorBody::from(refused).code, ErrorCode::Forbidden);
    assert_eq!(commits(&hub, "alice/shop").await, 1);
    // The first dot is still pushed to its own place.
    write(&alice, "two").await;
    let body = another(push_to(&hub, &alice, "alice", "alice/app").await);
    assert_eq!(body.moved_to, Some(name("alice/shop")));
}

/// A colleague pushes to the name that their clone came from, which another dot has by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_neither_pushes_to_nor_pulls_from_a_dot_that_took_the_name() {
    let (hub, _alice, bob) = shared().await;
    rename(&hub.hub, "alice/app", "shop").await;
    let other = bench("other").await;
    push_to(&hub, &other, "alice", "alice/app").await.unwrap();
    grant(&hub.hub, "alice/app").await;
    bob.checkout("line", true).await.unwrap();
    bob.commit().await;

    let body = another(push_to(&hub, &bob, "bob", "alice/app").await);
    let url = &hub.url;
    assert_eq!(
        body.message,
        format!(
            "alice/app on {url} is not the dot that app was cloned from or pushed to: that dot is called alice/shop now"
        )
    );
    let hint = body.hint.unwrap();
    assert!(
        hint.contains("dm dot set-upstream REMOTE alice/shop"),
        "{hint}"
    );
    let job = hub.job_as(&bob, "bob", "alice/app");
    another(pull::pull(&job).await);
    another(clone::clone(&job).await);
    assert_eq!(commits(&hub, "alice/app").await, 1);
    assert_eq!(commits(&hub, "alice/shop").await, 1);
    // Push to the present name, as the hint says.
    push_to(&hub, &bob, "bob", "alice/shop").await.unwrap();

    let alice = caller(&hub.hub, "alice").await;
    delete_dot::delete_dot(&hub.hub, &alice, &name("alice/shop"))
        .await
        .unwrap();
    let body = another(push_to(&hub, &bob, "bob", "alice/app").await);
    assert_eq!(body.moved_to, None);
    assert!(
        body.message
            .ends_with("that dot is gone, or you may not see it"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_is_followed_and_told() {
    let (hub, alice, bob) = shared().await;
    rename(&hub.hub, "alice/app", "shop").await;
    write(&bob, "two").await;
    let pushed = push_to(&hub, &bob, "bob", "alice/app").await.unwrap();
    assert_eq!(pushed.renamed, Some(name("alice/shop")));
    let job = hub.job_as(&alice, "alice", "alice/app");
    let pulled = pull::pull(&job).await.unwrap();
    assert_eq!(pulled.renamed, Some(name("alice/shop")));
    assert_eq!(commits(&hub, "alice/shop").await, 2);
    // The dot is known by both names. This survives the loss of the registry, which is only an index.
    let mut alice = alice;
    let registry = alice.node.pool.registry_file();
    sqlite::remove(&registry).await.unwrap();
    alice.restart().await;
    for asked in ["alice/app", "alice/shop"] {
        write(&alice, &asked.replace('/', "-")).await;
        push_to(&hub, &alice, "alice", asked).await.unwrap();
    }
    assert_eq!(commits(&hub, "alice/shop").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_that_is_gone_is_made_anew_only_when_its_user_says_so() {
    let (hub, alice, _) = shared().await;
    let owner = caller(&hub.hub, "alice").await;
    let app = name("alice/app");
    delete_dot::delete_dot(&hub.hub, &owner, &app)
        .await
        .unwrap();
    write(&alice, "two").await;
    let body = another(push_to(&hub, &alice, "alice", "alice/app").await);
    let hint = body.hint.unwrap();
    assert!(
        hint.contains("dm dot set-upstream REMOTE alice/app"),
        "{hint}"
    );
    let there = Source {
        hub: hub.url.clone(),
        dot: app.clone(),
    };
    upstream::forget(&alice.node, &alice.dot(), &there)
        .await
        .unwrap();
    push_to(&hub, &alice, "alice", "alice/app").await.unwrap();
    assert_eq!(commits(&hub, "alice/app").await, 2);
}

/// Two unrelated dots without a common branch.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_push_does_not_join_a_dot_that_it_has_nothing_in_common_with() {
    let (hub, _alice, _bob) = shared().await;
    let other = bench("other").await;
    other.checkout("line", true).await.unwrap();
    let push = async |branch: &str| {
        let mut job = hub.job_as(&other, "alice", "alice/app");
        Arc::get_mut(&mut job).unwrap().request.branch = Some(branch.parse().unwrap());
        push::push(&job).await
    };
    let body = another(push("line").await);
    assert!(
        body.message.contains("they have no commit in common"),
        "{body}"
    );
    // If both sides have the branch, the error that it has diverged says more.
    let refused = push("master").await.unwrap_err().to_string();
    assert!(refused.contains("branch master has diverged"), "{refused}");
    assert_eq!(commits(&hub, "alice/app").await, 1);
}

/// Later fetches use the dot that has the data, even after it was renamed.
#[tokio::test(flavor = "multi_thread")]
async fn data_is_fetched_from_the_dot_that_has_it() {
    let (hub, alice, _) = shared().await;
    write(&alice, "two").await;
    push_to(&hub, &alice, "alice", "alice/app").await.unwrap();
    let bob = cloned(&hub, "bob", "alice/app").await;
    rename(&hub.hub, "alice/app", "shop").await;
    let other = bench("other").await;
    push_to(&hub, &other, "alice", "alice/app").await.unwrap();
    grant(&hub.hub, "alice/app").await;
    let job = hub.job_as(&bob, "bob", "alice/shop");
    let request = Fetch {
        branch: None,
        hub: job.request.hub.clone(),
        revision: "HEAD~1".to_owned(),
        ancestors: false,
        rate_limit: None,
    };
    let fetch = async || fetch::fetch(&job, &bob.dot(), &request).await;
    another(fetch().await);
    // The pull learns the present name.
    pull::pull(&job).await.unwrap();
    fetch().await.unwrap();
}

/// Simulates an older hub without identities of dots: drops them from requests and responses.
async fn forgetful(mut request: axum::extract::Request, next: middleware::Next) -> Response {
    request.headers_mut().remove(IDENTITY_HEADER);
    let mut response = next.run(request).await;
    response.headers_mut().remove(IDENTITY_HEADER);
    let is_dot = |value: &serde_json::Value| value.get("identity").is_some();
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(mut dot) if is_dot(&dot) => {
            dot.as_object_mut().unwrap().remove("identity");
            parts.headers.remove("content-length");
            Response::from_parts(parts, Body::from(dot.to_string()))
        }
        _ => Response::from_parts(parts, Body::from(bytes)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_earlier_hub_all_goes_by_names() {
    let hub = TestHub::start_behind(|router| router.layer(middleware::from_fn(forgetful))).await;
    let alice = bench("one").await;
    push_to(&hub, &alice, "alice", "alice/app").await.unwrap();
    grant(&hub.hub, "alice/app").await;
    let bob = cloned(&hub, "bob", "alice/app").await;
    write(&bob, "two").await;
    push_to(&hub, &bob, "bob", "alice/app").await.unwrap();
    let job = hub.job_as(&alice, "alice", "alice/app");
    assert_eq!(pull::pull(&job).await.unwrap().renamed, None);
    rename(&hub.hub, "alice/app", "shop").await;
    write(&alice, "three").await;
    let pushed = push_to(&hub, &alice, "alice", "alice/app").await.unwrap();
    assert_eq!(pushed.renamed, None);
    assert_eq!(commits(&hub, "alice/shop").await, 3);
}

/// A node in the model: its user, the name it uses for the dot, and the dot that it was cloned from.
struct Colleague {
    bench: Bench,
    user: &'static str,
    upstream: DotName,
    /// `None` until its first transfer, and after its user has set another upstream.
    came_from: Option<DotIdentity>,
}

/// The heads and first commits of all branches of all dots.
#[derive(Debug, PartialEq, Eq)]
struct There {
    heads: BTreeMap<DotIdentity, BTreeMap<String, CommitId>>,
    origins: BTreeMap<DotIdentity, BTreeSet<CommitId>>,
}

async fn look(hub: &TestHub) -> There {
    let (mut heads, mut origins) = (BTreeMap::new(), BTreeMap::new());
    for user in ["alice", "bob"] {
        let client = hub.client(user);
        for dot in client.dots().await.unwrap() {
            let identity = dot.identity.unwrap();
            for branch in &dot.branches {
                let list = client.commits(&dot.name, branch.head, None).await.unwrap();
                if let Some(first) = list.commits.last() {
                    let record = CommitRecord::decode(first.record.as_bytes()).unwrap();
                    let origins: &mut BTreeSet<_> = origins.entry(identity).or_default();
                    origins.insert(record.id);
                }
            }
            let branches = dot.branches.into_iter();
            let branches = branches.map(|branch| (branch.name.to_string(), branch.head));
            heads.insert(identity, branches.collect());
        }
    }
    There { heads, origins }
}

/// The dots that changed.
fn changed(before: &There, after: &There) -> Vec<DotIdentity> {
    let after = after.heads.iter();
    let changed = after.filter(|(dot, heads)| before.heads.get(dot) != Some(heads));
    changed.map(|(dot, _)| *dot).collect()
}

const NAMES: [&str; 3] = ["app", "shop", "store"];

/// Makes a random change to a user's dot on the hub, if possible.
async fn change(hub: &Hub, random: &mut StdRng) {
    let (owner, other) = match random.random_ratio(2, 3) {
        true => ("alice", "bob"),
        false => ("bob", "alice"),
    };
    let pick = |random: &mut StdRng| NAMES[random.random_range(0..NAMES.len())];
    let dot = name(&format!("{owner}/{}", pick(random)));
    let to = pick(random);
    let [caller, taker] = [caller(hub, owner).await, caller(hub, other).await];
    match random.random_range(0..7) {
        0..=2 => drop(rename_dot::rename_dot(hub, &caller, &dot, to).await),
        3 => drop(delete_dot::delete_dot(hub, &caller, &dot).await),
        4 => drop(fork_dot::fork_dot(hub, &taker, &dot, to).await),
        5 => {
            let deleted = hub.database.deleted_dots(caller.id).await.unwrap();
            if let Some(deleted) = deleted.first() {
                drop(restore_dot::restore_dot(hub, &caller, deleted.id).await);
            }
        }
        _ => {
            let offered = offer_dot::offer_dot(hub, &caller, &dot, other.parse().unwrap()).await;
            if offered.is_ok() {
                for offer in hub.database.offers(taker.id).await.unwrap() {
                    drop(take_dot::take_dot(hub, &taker, offer.id, to).await);
                }
            }
        }
    }
    // Other users may push to most of the dots.
    for name in NAMES {
        let dot = format!("{owner}/{name}").parse().unwrap();
        if random.random_ratio(3, 4) {
            let user = other.parse().unwrap();
            drop(grant_access::grant_access(hub, &caller, &dot, user, Access::Write).await);
        }
    }
}

/// Pushes from a clone, and checks the result.
async fn push_and_check(hub: &TestHub, clone: &mut Colleague, what: &str) {
    let before = look(hub).await;
    let pushed = push_to(hub, &clone.bench, clone.user, &clone.upstream.full()).await;
    let after = look(hub).await;
    let what = format!("{what}: {pushed:?}");
    let changed = changed(&before, &after);
    for (dot, origins) in &after.origins {
        assert!(origins.len() <= 1, "{what}: {dot} has the histories of two");
    }
    if let Err(error) = pushed {
        assert!(changed.is_empty(), "{what}");
        let code = ErrorBody::from(error).code;
        let expected = [
            ErrorCode::AnotherDot,
            ErrorCode::NotFound,
            ErrorCode::Forbidden,
            ErrorCode::Behind,
            ErrorCode::Diverged,
        ];
        assert!(expected.contains(&code), "{what}");
        return;
    }
    let renamed = pushed.unwrap().renamed;
    if let Some(now) = renamed {
        clone.upstream = now;
    }
    let named = hub.client(clone.user).dot(&clone.upstream).await.unwrap();
    let went_to = named.unwrap().identity;
    assert!(changed.iter().all(|dot| Some(*dot) == went_to), "{what}");
    if let Some(came_from) = clone.came_from {
        assert_eq!(went_to, Some(came_from), "{what}");
    }
    clone.came_from = went_to;
}

async fn random_life(seed: u64, steps: u32) {
    let hub = TestHub::start().await;
    let mut random = StdRng::seed_from_u64(seed);
    let mut clones: Vec<Colleague> = Vec::new();
    let mut pushes = 0;
    for step in 0..steps {
        let what = format!("seed {seed}, step {step}");
        let user = ["alice", "bob"][random.random_range(0..2)];
        let owner = ["alice", "bob"][random.random_range(0..2)];
        let dot = NAMES[random.random_range(0..NAMES.len())];
        let dot = name(&format!("{owner}/{dot}"));
        let at = random.random_range(0..4);
        match random.random_range(0..10) {
            // A dot that was never pushed.
            0 => {
                let clone = Colleague {
                    bench: bench(&format!("of-{seed}-{step}")).await,
                    user,
                    upstream: name(&format!("{user}/{}", dot.name())),
                    came_from: None,
                };
                put(&mut clones, at, clone);
            }
            1 => {
                let bench = Bench::empty().await;
                let job = hub.job_as(&bench, user, &dot.full());
                if let Ok(outcome) = clone::clone(&job).await {
                    let upstream = outcome.renamed.unwrap_or(dot);
                    let there = hub.client(user).dot(&upstream).await.unwrap().unwrap();
                    let clone = Colleague {
                        bench,
                        user,
                        upstream,
                        came_from: there.identity,
                    };
                    put(&mut clones, at, clone);
                }
            }
            2..=4 => change(&hub.hub, &mut random).await,
            _ if clones.is_empty() => {}
            5 => {
                let at = at % clones.len();
                let clone = &mut clones[at];
                let there = Source {
                    hub: hub.url.clone(),
                    dot: dot.clone(),
                };
                let local = clone.bench.dot();
                upstream::forget(&clone.bench.node, &local, &there)
                    .await
                    .unwrap();
                (clone.upstream, clone.came_from) = (dot, None);
            }
            6 => {
                let at = at % clones.len();
                let clone = &mut clones[at];
                // The clone has no identity for this name yet. Its next push checks the result.
                if clone.came_from.is_some() {
                    let job = hub.job_as(&clone.bench, clone.user, &clone.upstream.full());
                    if let Ok(TransferOutcome {
                        renamed: Some(now), ..
                    }) = pull::pull(&job).await
                    {
                        clone.upstream = now;
                    }
                }
            }
            _ => {
                let at = at % clones.len();
                if random.random_ratio(2, 3) {
                    write(&clones[at].bench, &format!("{:x}", random.next_u64())).await;
                }
                push_and_check(&hub, &mut clones[at], &what).await;
                pushes += 1;
            }
        }
    }
    assert!(pushes > 0, "seed {seed} has pushed nothing");
}

/// Keeps at most four clones.
fn put(clones: &mut Vec<Colleague>, at: usize, clone: Colleague) {
    if clones.len() < 4 {
        clones.push(clone);
    } else {
        clones[at] = clone;
    }
}

/// `IDENTITIES=N` sets the number of runs.
#[tokio::test(flavor = "multi_thread")]
async fn no_push_ends_in_another_dot_than_the_one_that_the_clone_came_from() {
    let seeds: u64 = std::env::var("IDENTITIES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(4);
    let lives = (0..4_u64).map(async |task| {
        for seed in (task..seeds).step_by(4) {
            random_life(seed, 60).await;
        }
    });
    futures::future::join_all(lives).await;
}

/// A push to a public dot reports that it is public. It fails if it adds files that look like secrets, unless allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_public_dot_stops_at_what_looks_like_a_secret() {
    let hub = TestHub::start().await;
    let alice = bench("one").await;
    let push = async |allow_secrets: bool| {
        let mut job = Arc::into_inner(hub.job(&alice)).expect("nobody else has it yet");
        job.request.allow_secrets = allow_secrets;
        push::push(&job).await
    };
    write(&alice, ".env").await;
    // Private dots are not checked.
    assert!(!push(false).await.unwrap().to_public);
    let publish = ChangeSettings {
        visibility: Some(Visibility::Public),
        allow_secrets: true,
        ..ChangeSettings::default()
    };
    let owner = caller(&hub.hub, "alice").await;
    change_settings::change_settings(&hub.hub, &owner, &name("alice/app"), publish)
        .await
        .unwrap();
    // Files that the hub already has are not reported again.
    write(&alice, "two").await;
    assert!(push(false).await.unwrap().to_public);

    // Deleting the file in a later commit does not remove it from the history.
    write(&alice, "id_rsa").await;
    let volume: VolumeName = "app@master.db".parse().unwrap();
    let pool = &alice.node.pool;
    let folder = pool.volume_path(&alice.dot(), &"master".parse().unwrap(), &volume.folder);
    std::fs::remove_file(folder.join("id_rsa")).unwrap();
    write(&alice, "three").await;
    let before = commits(&hub, "alice/app").await;
    let body = ErrorBody::from(push(false).await.unwrap_err());
    assert_eq!(body.code, ErrorCode::Invalid);
    assert!(
        body.message.contains("alice/app is public") && body.message.contains("db/id_rsa"),
        "{body:?}"
    );
    assert!(!body.message.contains(".env"), "{body:?}");
    assert!(body.hint.unwrap().contains("--allow-secrets"));
    assert_eq!(commits(&hub, "alice/app").await, before);
    assert!(push(true).await.unwrap().to_public);
    assert_eq!(commits(&hub, "alice/app").await, before + 2);
}
