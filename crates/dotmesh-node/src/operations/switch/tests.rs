//! Switches on the scripted Engine: each of its calls failing in turn, and thousands at random.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use dotmesh_api::node::{
    BranchStart, Checkout, CreateCommit, Reset, SwitchProgress, Switched, Wait,
};
use dotmesh_model::DotName;
use dotmesh_pool::Pool;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use crate::config::Config;
use crate::engine::State;
use crate::engine::scripted::{Fault, Outcome, World};
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::{checkout, commit, reconcile, recover, reset, volume, watch as watching};
use crate::registry::Registry;
use crate::timing::Timing;

const TIMING: Timing = Timing {
    call: Duration::from_millis(60),
    start: Duration::from_millis(400),
    copy: Duration::from_millis(200),
    poll: Duration::from_millis(1),
    away: Duration::from_millis(20),
    in_flight: Duration::from_millis(300),
    linger: Duration::from_millis(50),
    mount: Duration::from_millis(150),
    retry: (Duration::from_millis(1), Duration::from_millis(4)),
    watch: Duration::from_millis(50),
};

/// A node on the scripted machine, in a folder that is gone with it.
struct Bench {
    folder: tempfile::TempDir,
    world: World,
    node: Node,
}

async fn open(folder: &Path, world: &World) -> Node {
    let pool = Pool::open_copying(folder.join("pool")).await.unwrap();
    let registry = Registry::open(&pool.registry_file()).await.unwrap();
    let root = folder.to_str().unwrap();
    let config = Config::parse_from(["dotmeshd", "--root", root]);
    let (engine, attach) = (Arc::new(world.clone()), Arc::new(world.clone()));
    let node = Node::assemble(pool, registry, engine, attach, TIMING, config);
    let node = node.await.unwrap();
    reconcile::reconcile(&node).await.unwrap();
    recover::undo_half_made(&node).await.unwrap();
    world.serve(&node);
    node
}

impl Bench {
    /// The dot `app` on `master`, and a branch `other`; in both, the file `branch` of each subdot says which it is.
    async fn new(containers: impl FnOnce(&World)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::default();
        let node = open(folder.path(), &world).await;
        for subdot in ["db", "files"] {
            volume::create(&node, &format!("app.{subdot}"))
                .await
                .unwrap();
        }
        world.create("init", &["app.db", "app.files"], |_| {});
        let bench = Self {
            folder,
            world,
            node,
        };
        bench.world.start_by_hand("init").await.unwrap();
        bench.world.stop_by_hand("init").await;
        bench.world.remove_by_hand("init").await;
        bench.mark("master");
        bench.commit().await;
        bench.checkout("other", true).await.unwrap();
        bench.mark("other");
        bench.commit().await;
        bench.checkout("master", false).await.unwrap();
        containers(&bench.world);
        for name in bench.world.names() {
            bench.world.start_by_hand(&name).await.unwrap();
        }
        bench.world.calm();
        bench
    }

    fn dot(&self) -> DotName {
        "app".parse().unwrap()
    }

    /// Writes a branch's name into its subdots.
    fn mark(&self, branch: &str) {
        for subdot in ["db", "files"] {
            let volume: dotmesh_model::VolumeName =
                format!("app@{branch}.{subdot}").parse().unwrap();
            let branch_name = branch.parse().unwrap();
            let path = self
                .node
                .pool
                .volume_path(&self.dot(), &branch_name, &volume.folder);
            std::fs::write(path.join("branch"), branch).unwrap();
        }
    }

    async fn commit(&self) {
        let request = CreateCommit {
            message: "m".to_owned(),
            author: "a".to_owned(),
            metadata: Default::default(),
            code: None,
            expected: None,
        };
        commit::commit(&self.node, &self.dot(), request)
            .await
            .unwrap();
    }

    async fn checkout(&self, branch: &str, create: bool) -> Result<Switched, NodeError> {
        let request = Checkout {
            branch: branch.parse().unwrap(),
            create: create.then_some(BranchStart::WorkingCopy),
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        checkout::checkout(&self.node, &self.dot(), request, tell).await
    }

    async fn reset(&self) -> Result<Switched, NodeError> {
        let request = Reset {
            revision: "HEAD".to_owned(),
            hard: true,
            expected: None,
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        reset::reset(&self.node, &self.dot(), request, tell).await
    }

    async fn current(&self) -> String {
        let dot = self.node.registry.dot(&self.dot()).await.unwrap();
        dot.current.to_string()
    }

    /// The containers that run and follow the current branch.
    fn running(&self) -> BTreeSet<String> {
        let names = self.world.names().into_iter();
        let running =
            |name: &String| matches!(self.world.state(name), Some(State::Running | State::Paused));
        names.filter(|name| running(name)).collect()
    }

    /// What the daemon says that it is still busy with.
    async fn named(&self) -> BTreeSet<String> {
        let open = self.node.registry.open_switches().await.unwrap();
        let left = open.into_iter().flat_map(|journal| journal.containers);
        left.map(|container| container.name).collect()
    }

    /// After any failure: no container is on another branch without being named, none of those that ran is forgotten.
    async fn assert_allowed(&self, ran: &BTreeSet<String>, what: &str) {
        let (current, named) = (self.current().await, self.named().await);
        let running = self.running();
        for name in &running {
            let seen = self.world.reads(name, "branch");
            let branch = if name == "pinned" { "master" } else { &current };
            let is_right = seen.is_none() || seen.as_deref() == Some(&*expected(branch));
            assert!(
                is_right || named.contains(name),
                "{what}: {name} is on {seen:?}, dm says {current}"
            );
        }
        for name in ran {
            let is_gone = self.world.state(name).is_none();
            assert!(
                is_gone || running.contains(name) || named.contains(name),
                "{what}: {name} ran, does not run and is not named"
            );
        }
        let stored = self.node.pool.dots().await.unwrap().whole;
        let known = self.node.registry.dot(&self.dot()).await.unwrap();
        let branches: Vec<_> = stored[0]
            .branches
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        assert_eq!(
            branches,
            known.branches.keys().cloned().collect::<Vec<_>>(),
            "{what}"
        );
        assert_eq!(stored[0].file.current, known.current, "{what}");
    }

    /// Once nothing goes wrong any more, the daemon brings everything up.
    async fn settle(&self, ran: &BTreeSet<String>, what: &str) {
        self.world.calm();
        let mut looks = 0;
        loop {
            let look = watching::look(&self.node).await;
            if matches!(look, Ok(true)) {
                break;
            }
            looks += 1;
            let named = self.named().await;
            assert!(looks < 500, "{what}: {look:?}, still busy with {named:?}");
            tokio::time::sleep(TIMING.poll).await;
        }
        self.assert_allowed(ran, what).await;
        assert_eq!(self.named().await, BTreeSet::new(), "{what}");
        let gone: BTreeSet<String> = ran
            .iter()
            .filter(|name| self.world.state(name).is_none())
            .cloned()
            .collect();
        let missing: BTreeSet<_> = ran
            .difference(&gone)
            .filter(|name| !self.running().contains(*name))
            .collect();
        assert_eq!(missing, BTreeSet::new(), "{what}");
    }

    /// The daemon is killed and started again.
    async fn restart(&mut self) {
        self.world.serve_nobody();
        // What its threads had begun is done in a moment; a process that is killed takes them along.
        tokio::time::sleep(TIMING.poll * 20).await;
        self.node = open(self.folder.path(), &self.world).await;
    }
}

fn wait() -> Wait {
    Wait {
        healthy: true,
        seconds: 1,
    }
}

/// Branches that a test makes of `master` hold its mark.
fn expected(branch: &str) -> String {
    match branch {
        "other" => "other".to_owned(),
        _ => "master".to_owned(),
    }
}

fn depends(
    on: &'static str,
    condition: &'static str,
) -> impl FnOnce(&mut crate::engine::Inspected) {
    move |one| {
        let service = one.container.name.clone();
        let labels = &mut one.container.labels;
        labels.insert("com.docker.compose.project".to_owned(), "p".to_owned());
        labels.insert("com.docker.compose.service".to_owned(), service);
        let depends_on = match on {
            "" => String::new(),
            on => format!("{on}:{condition}:false"),
        };
        labels.insert("com.docker.compose.depends_on".to_owned(), depends_on);
    }
}

/// A database with a health check, an app that waits for it, and a container on a pinned branch.
fn stack(world: &World) {
    world.create("db", &["app.db"], depends("", ""));
    world.turns_out("db", Outcome::HealthyAfter(2));
    world.create("web", &["app.files"], depends("db", "service_healthy"));
    world.create("pinned", &["app@master.files"], |_| {});
}

/// What is done in a scenario.
#[derive(Debug, Clone, Copy)]
enum Work {
    Checkout,
    CheckoutNew,
    Reset,
}

async fn work(bench: &Bench, work: Work) -> Result<Switched, NodeError> {
    match work {
        Work::Checkout => bench.checkout("other", false).await,
        Work::CheckoutNew => bench.checkout("new", true).await,
        Work::Reset => bench.reset().await,
    }
}

fn stack_for(work: Work) -> fn(&World) {
    match work {
        // A reset is refused while the branch is pinned.
        Work::Reset => |world| {
            world.create("db", &["app.db"], depends("", ""));
            world.turns_out("db", Outcome::HealthyAfter(2));
            world.create("web", &["app.files"], depends("db", "service_healthy"));
        },
        _ => stack,
    }
}

/// Every call of a switch goes wrong in turn, in every way.
#[tokio::test(flavor = "multi_thread")]
async fn each_call_fails_in_turn() {
    for kind in [Work::Checkout, Work::CheckoutNew, Work::Reset] {
        let bench = Bench::new(stack_for(kind)).await;
        work(&bench, kind).await.unwrap();
        let calls = bench.world.calls();
        assert!(calls.len() > 8, "{calls:?}");
        for (at, call) in calls.iter().enumerate() {
            for fault in Fault::ALL {
                let what = format!("{kind:?}, {fault:?} at call {at}, '{call}'");
                let bench = Bench::new(stack_for(kind)).await;
                let ran = bench.running();
                bench.world.fault(at, fault);
                let outcome = work(&bench, kind).await;
                if fault == Fault::Refused
                    && let (Err(error), Some((verb @ ("stop" | "start"), name))) =
                        (&outcome, call.split_once(' '))
                {
                    let text = error.to_string();
                    assert!(
                        text.contains(name) && text.contains("no space left"),
                        "{what}: {verb}: {text}"
                    );
                }
                bench
                    .assert_allowed(&ran, &format!("{what}: {outcome:?}"))
                    .await;
                bench
                    .settle(&ran, &format!("{what}, settled: {outcome:?}"))
                    .await;
            }
        }
    }
}

/// The daemon dies at every call, and finishes or undoes what it had begun.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_dies_at_each_call() {
    for kind in [Work::Checkout, Work::CheckoutNew, Work::Reset] {
        let bench = Bench::new(stack_for(kind)).await;
        work(&bench, kind).await.unwrap();
        for at in 0..bench.world.calls().len() {
            for fault in [Fault::Hangs, Fault::DoneAndHangs] {
                let what = format!("{kind:?}, killed at call {at}, {fault:?}");
                let mut bench = Bench::new(stack_for(kind)).await;
                let ran = bench.running();
                bench.world.fault(at, fault);
                let begun = tokio::time::timeout(TIMING.call / 2, work(&bench, kind)).await;
                assert!(
                    begun.is_err() || at + 1 >= bench.world.calls().len(),
                    "{what}"
                );
                bench.restart().await;
                bench.settle(&ran, &what).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_vanishes_is_no_failure() {
    let bench = Bench::new(|world| {
        stack(world);
        world.create("once", &["app.db"], |one| one.removed_when_stopped = true);
    })
    .await;
    let done = bench.checkout("other", false).await.unwrap();
    assert_eq!(done.removed, ["once"]);
    assert_eq!(done.restarted, ["db", "web"]);
    assert!(done.problems.is_empty(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_health_starts_when_it_is_there() {
    let bench = Bench::new(stack).await;
    bench.checkout("other", false).await.unwrap();
    let calls = bench.world.calls();
    let place = |call: &str| calls.iter().position(|one| one == call).unwrap();
    assert!(place("stop web") < place("stop db"), "{calls:?}");
    let looks = calls[place("start db")..place("start web")].iter();
    assert!(
        looks.filter(|call| *call == "inspect").count() >= 2,
        "{calls:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_is_named_and_started_later() {
    let bench = Bench::new(stack).await;
    bench.world.turns_out("db", Outcome::HealthyAfter(u32::MAX));
    let done = bench.checkout("other", false).await.unwrap();
    assert_eq!(bench.current().await, "other");
    let problems: Vec<_> = done
        .problems
        .iter()
        .map(|one| format!("{}: {}", one.container, one.problem))
        .collect();
    assert_eq!(
        problems,
        [
            "web: it waits for db, which is not healthy yet",
            "db: it is not healthy yet"
        ]
    );
    assert_eq!(bench.named().await, BTreeSet::from(["web".to_owned()]));
    bench.world.turns_out("db", Outcome::HealthyAfter(0));
    bench
        .settle(
            &BTreeSet::from(["db".to_owned(), "web".to_owned()]),
            "healthy at last",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_start_has_the_others_go_back() {
    let bench = Bench::new(|world| {
        stack(world);
        world.create("odd", &["app.files"], |_| {});
    })
    .await;
    bench.world.turns_out("odd", Outcome::Fails);
    let error = bench
        .checkout("other", false)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("odd") && error.contains("no such file: /run"),
        "{error}"
    );
    assert_eq!(bench.current().await, "master");
    assert_eq!(bench.named().await, BTreeSet::from(["odd".to_owned()]));
    let ran = ["db", "odd", "pinned", "web"].map(str::to_owned).into();
    bench.assert_allowed(&ran, "odd fails").await;
    assert!(bench.running().contains("web") && bench.running().contains("db"));
    bench.world.turns_out("odd", Outcome::Runs);
    bench.settle(&ran, "odd runs again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_is_killed_in_the_middle() {
    let mut bench = Bench::new(stack).await;
    for call in ["stop web", "stop db", "start db", "start web"] {
        let ran: BTreeSet<String> = ["db", "web"].map(str::to_owned).into();
        bench.checkout("master", false).await.unwrap();
        bench.world.calm();
        let kill = async {
            while !bench.world.calls().iter().any(|one| one == call) {
                tokio::task::yield_now().await;
            }
            bench.world.restart_engine().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = bench.checkout("other", false) => {}
            () = kill => {}
        }
        bench.settle(&ran, &format!("killed at {call}")).await;
        bench.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_beside_a_switch_gets_the_branch_that_dm_says() {
    let bench = Bench::new(stack).await;
    bench.world.create("late", &["app.db", "app.files"], |_| {});
    for round in 0..60 {
        let to = if bench.current().await == "master" {
            "other"
        } else {
            "master"
        };
        let start = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            bench.world.start_by_hand("late").await
        };
        let (switched, started) = tokio::join!(bench.checkout(to, false), start);
        switched.unwrap();
        started.unwrap();
        bench
            .assert_allowed(&bench.running(), &format!("round {round}"))
            .await;
        assert_eq!(bench.named().await, BTreeSet::new());
        bench.world.stop_by_hand("late").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_beside_a_reset_is_never_on_what_was_thrown_away() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    bench.world.create("late", &["app.db", "app.files"], |_| {});
    for round in 0..60 {
        let start = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            bench.world.start_by_hand("late").await
        };
        let (reset, started) = tokio::join!(bench.reset(), start);
        reset.unwrap();
        started.unwrap();
        bench.world.writes("late", "kept", &round.to_string());
        let volume: dotmesh_model::VolumeName = "app.db".parse().unwrap();
        let master = "master".parse().unwrap();
        let path = bench
            .node
            .pool
            .volume_path(&bench.dot(), &master, &volume.folder);
        let kept = std::fs::read_to_string(path.join("kept")).unwrap_or_default();
        assert_eq!(kept, round.to_string(), "round {round}");
        bench.world.stop_by_hand("late").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subdot_of_a_branch_has_what_the_image_has() {
    let bench = Bench::new(stack).await;
    bench.world.create("late", &["app.etc"], |_| {});
    bench.world.start_by_hand("late").await.unwrap();
    assert_eq!(
        bench.world.reads("late", "from-image").as_deref(),
        Some("/app.etc")
    );
    bench.checkout("other", false).await.unwrap();
    assert_eq!(
        bench.world.reads("late", "from-image").as_deref(),
        Some("/app.etc")
    );
    // What was there already stays.
    bench.world.writes("late", "from-image", "changed");
    bench.checkout("master", false).await.unwrap();
    bench.checkout("other", false).await.unwrap();
    assert_eq!(
        bench.world.reads("late", "from-image").as_deref(),
        Some("changed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_ones_are_paused_again_and_swarm_starts_its_own() {
    let bench = Bench::new(stack).await;
    crate::engine::Engine::pause(&bench.world, "web")
        .await
        .unwrap();
    bench.world.create("task", &["app.files"], |one| {
        let label = "com.docker.swarm.task.id".to_owned();
        one.container.labels.insert(label, "t".to_owned());
    });
    bench.world.start_by_hand("task").await.unwrap();
    let done = bench.checkout("other", false).await.unwrap();
    assert_eq!(done.replaced, ["task"]);
    assert_eq!(bench.world.state("web"), Some(State::Paused));
    assert_eq!(bench.world.state("task"), Some(State::Exited));
    let calls = bench.world.calls();
    assert!(!calls.contains(&"start task".to_owned()), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_wait_for_a_switch_but_not_for_ever() {
    let bench = Bench::new(stack).await;
    bench.world.create("late", &["app.db"], |_| {});
    let gate = bench
        .node
        .locks
        .operation(&bench.dot(), "switched to branch other")
        .await;
    let closed = bench.node.locks.close_gate(&bench.dot()).await;
    // What does not follow the current branch waits for nothing.
    volume::mount(&bench.node, "app@master.files", "caller")
        .await
        .unwrap();
    volume::find(&bench.node, "app.db").await.unwrap();
    volume::list(&bench.node).await.unwrap();
    let refused = bench
        .world
        .start_by_hand("late")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "dot app is being switched to branch other: Dotmesh starts this container when that is done"
    );
    drop((gate, closed));
    volume::unmount(&bench.node, "app@master.files", "caller")
        .await
        .unwrap();
    let all = ["db", "late", "pinned", "web"].map(str::to_owned).into();
    bench.settle(&all, "the gate is open").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_was_handed_out_is_a_use_until_it_is_given_back() {
    let bench = Bench::new(|_| {}).await;
    volume::mount(&bench.node, "app.db", "docker")
        .await
        .unwrap();
    for error in [
        bench.reset().await.unwrap_err(),
        bench.checkout("other", false).await.unwrap_err(),
        super::super::delete_dot::delete_dot(&bench.node, &bench.dot())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "containers are being started on app, with app.db"
        );
    }
    volume::unmount(&bench.node, "app.db", "docker")
        .await
        .unwrap();
    bench.reset().await.unwrap();
    bench.checkout("other", false).await.unwrap();
}

/// Thousands of switches, with failures, races and restarts.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forgotten_and_nothing_is_on_the_wrong_branch() {
    let seeds: u64 = std::env::var("SWITCHES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(200);
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            tokio::spawn(async move {
                for seed in (task..seeds).step_by(4) {
                    random_life(seed).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn random_life(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new(|world| {
        world.create("db", &["app.db"], depends("", ""));
        world.create("web", &["app.files"], depends("db", "service_healthy"));
        world.create("cache", &["app.db"], depends("", ""));
        world.create(
            "worker",
            &["app.files", "app.db"],
            depends("web", "service_started"),
        );
        world.create("side", &[], |one| {
            one.namespaces = vec!["container:db".to_owned()];
        });
    })
    .await;
    for step in 0..10 {
        let what = format!("seed {seed}, step {step}");
        if random.random_ratio(1, 3) {
            bench
                .world
                .turns_out("db", Outcome::HealthyAfter(random.random_range(0..4)));
        }
        for _ in 0..random.random_range(0..3) {
            let fault = Fault::ALL[random.random_range(0..Fault::ALL.len())];
            // Removing has its own test: here all shall run in the end.
            if fault != Fault::Removed {
                bench.world.fault(random.random_range(0..40), fault);
            }
        }
        let ran = bench.running();
        let to = if bench.current().await == "master" {
            "other"
        } else {
            "master"
        };
        let new = format!("new-{step}");
        let kind = random.random_range(0..6);
        let switch = async {
            let outcome = match kind {
                0 => bench.reset().await,
                // Of `master` only, as branches made of it hold its mark.
                1 if to == "other" => bench.checkout(&new, true).await,
                _ => bench.checkout(to, false).await,
            };
            outcome.map_err(|error| error.to_string())
        };
        let (victim, delay) = (
            ["web", "cache"][random.random_range(0..2)],
            random.random_range(0..60),
        );
        let (meddles, kills, dies) = (
            random.random_ratio(1, 3),
            random.random_ratio(1, 8),
            random.random_ratio(1, 6),
        );
        let meddle = async {
            for _ in 0..delay {
                tokio::task::yield_now().await;
            }
            if kills {
                bench.world.restart_engine().await;
            } else if meddles {
                let _ = bench.world.start_by_hand(victim).await;
            }
        };
        let outcome = if dies {
            let limit = Duration::from_micros(random.random_range(0..20_000));
            let cut = tokio::time::timeout(limit, async { tokio::join!(switch, meddle) }).await;
            let outcome = cut.map(|(outcome, ())| outcome);
            bench.restart().await;
            format!("{outcome:?}")
        } else {
            let (outcome, ()) = tokio::join!(switch, meddle);
            bench
                .assert_allowed(&BTreeSet::new(), &format!("{what}: {outcome:?}"))
                .await;
            format!("{outcome:?}")
        };
        // What ran and was stopped by the Engine's death alone is the Engine's to start.
        let shall_run = if kills { BTreeSet::new() } else { ran };
        bench
            .settle(&shall_run, &format!("{what}: {outcome}"))
            .await;
        for name in ["db", "web", "cache", "worker", "side"] {
            let _ = bench.world.start_by_hand(name).await;
        }
    }
}
