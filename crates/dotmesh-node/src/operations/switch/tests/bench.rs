//! A node on the scripted machine, and the invariants that tests check.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use dotmesh_api::node::{
    ApplyStash, BranchStart, Checkout, CreateCommit, MakeStash, Reset, Stash, SwitchProgress,
    Switched, Wait,
};
use dotmesh_model::DotName;
use dotmesh_pool::Pool;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::undoing::{redo, undo};
use crate::config::Config;
use crate::engine::State;
use crate::engine::scripted::{Outcome, World};
use crate::error::NodeError;
use crate::node::Node;
use crate::operations::{
    checkout, commit, reconcile, recover, reset, stash, volume, watch as watching,
};
use crate::registry::Registry;
use crate::timing::Timing;

/// Timeouts that are long enough for a busy machine, and short enough to expire in many tests.
pub(super) const TIMING: Timing = Timing {
    call: Duration::from_millis(250),
    start: Duration::from_millis(1500),
    copy: Duration::from_millis(1500),
    poll: Duration::from_millis(1),
    away: Duration::from_millis(20),
    in_flight: Duration::from_millis(1000),
    linger: Duration::from_millis(250),
    mount: Duration::from_millis(1500),
    mute: Duration::from_millis(50),
    fill: Duration::from_millis(1000),
    retry: (Duration::from_millis(1), Duration::from_millis(4)),
    watch: Duration::from_millis(50),
};

/// An uncommitted file.
pub(super) const CHANGED: &str = "db/changed";

/// A node on the scripted machine, in a temporary folder.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) world: World,
    pub(super) node: Node,
}

impl Drop for Bench {
    /// Breaks the reference cycle between the node and the world. Otherwise neither would close its files.
    fn drop(&mut self) {
        self.world.serve_nobody();
    }
}

pub(super) async fn open(folder: &Path, world: &World) -> Node {
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
    /// A bench without dots.
    pub(super) async fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::default();
        let node = open(folder.path(), &world).await;
        Self {
            folder,
            world,
            node,
        }
    }

    /// A bench with the dot `app` on `master`, and a branch `other`. In each subdot, the file `branch` contains the
    /// branch's name.
    pub(super) async fn new(containers: impl FnOnce(&World)) -> Self {
        let bench = Self::without_containers().await;
        bench.start(containers).await;
        bench
    }

    async fn without_containers() -> Self {
        let bench = Self::empty().await;
        for subdot in ["db", "files"] {
            volume::create(&bench.node, &format!("app.{subdot}"))
                .await
                .unwrap();
        }
        bench.world.create("init", &["app.db", "app.files"], |_| {});
        bench.world.start_by_hand("init").await.unwrap();
        bench.world.stop_by_hand("init").await;
        bench.world.remove_by_hand("init").await;
        bench.mark("master");
        bench.commit().await;
        bench.checkout("other", true).await.unwrap();
        bench.mark("other");
        bench.commit().await;
        bench.checkout("master", false).await.unwrap();
        bench
    }

    async fn start(&self, containers: impl FnOnce(&World)) {
        containers(&self.world);
        for name in self.world.names() {
            self.world.start_by_hand(&name).await.unwrap();
        }
        self.world.calm();
    }

    /// A path outside of the pool.
    pub(super) fn beside(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("beside").join(name)
    }

    pub(super) fn dot(&self) -> DotName {
        "app".parse().unwrap()
    }

    /// Writes a branch's name into its subdots.
    pub(super) fn mark(&self, branch: &str) {
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

    pub(super) async fn commit(&self) {
        self.try_commit().await.unwrap();
    }

    pub(super) async fn try_commit(&self) -> Result<(), NodeError> {
        let request = CreateCommit {
            message: "m".to_owned(),
            author: "a".to_owned(),
            metadata: Default::default(),
            code: None,
            expected: None,
            amend: false,
        };
        commit::commit(&self.node, &self.dot(), request)
            .await
            .map(drop)
    }

    pub(super) async fn checkout(&self, branch: &str, create: bool) -> Result<Switched, NodeError> {
        let request = Checkout {
            branch: branch.parse().unwrap(),
            create: create.then_some(BranchStart::WorkingCopy),
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        checkout::checkout(&self.node, &self.dot(), request, tell).await
    }

    pub(super) async fn reset(&self) -> Result<Switched, NodeError> {
        let request = Reset {
            revision: "HEAD".to_owned(),
            hard: true,
            expected: None,
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        reset::reset(&self.node, &self.dot(), request, tell).await
    }

    /// Writes a file of a branch.
    pub(super) fn write(&self, branch: &str, file: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(branch, file), content).unwrap();
    }

    /// Reads a file of a branch, if it is there.
    pub(super) fn read(&self, branch: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.path(branch, file)).ok()
    }

    /// The same of a file that is there, and may be no text.
    pub(super) fn read_bytes(&self, branch: &str, file: &str) -> Vec<u8> {
        std::fs::read(self.path(branch, file)).unwrap()
    }

    /// Has a container write a file of `master` when it is stopped.
    pub(super) fn on_stop(&self, container: &str, file: &str, content: Vec<u8>) {
        let path = self.path("master", file);
        self.world
            .on_stop(container, move || std::fs::write(&path, &content).unwrap());
    }

    fn path(&self, branch: &str, file: &str) -> std::path::PathBuf {
        let root = dotmesh_model::volume::Folder::Root;
        let branch = branch.parse().unwrap();
        let pool = &self.node.pool;
        pool.volume_path(&self.dot(), &branch, &root).join(file)
    }

    pub(super) async fn stash(&self) -> Result<Switched, NodeError> {
        let request = MakeStash {
            message: String::new(),
            expected: None,
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        stash::make(&self.node, &self.dot(), request, tell).await
    }

    /// Pops the newest stash.
    pub(super) async fn pop(&self) -> Result<Switched, NodeError> {
        self.apply(true).await
    }

    pub(super) async fn apply(&self, pop: bool) -> Result<Switched, NodeError> {
        self.bring_back(pop, false).await
    }

    /// Pops a stash, and replaces uncommitted changes.
    pub(super) async fn force_pop(&self) -> Result<Switched, NodeError> {
        self.bring_back(true, true).await
    }

    async fn bring_back(&self, pop: bool, force: bool) -> Result<Switched, NodeError> {
        let request = ApplyStash {
            id: self.stashes().await.remove(0).id,
            pop,
            force,
            expected: None,
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        stash::apply(&self.node, &self.dot(), request, tell).await
    }

    pub(super) async fn stashes(&self) -> Vec<Stash> {
        stash::list(&self.node, &self.dot()).await.unwrap()
    }

    /// Asserts that uncommitted changes are in the working copy or in a stash.
    pub(super) async fn assert_kept(&self, kind: Work, what: &str) {
        if !matches!(kind, Work::Stash) {
            return;
        }
        let in_stash = async || {
            let id = self.stashes().await.first()?.id;
            let data = self.node.pool.stash_data(&self.dot(), id);
            std::fs::read_to_string(data.join(CHANGED)).ok()
        };
        let kept = self.read("master", CHANGED).or(in_stash().await);
        assert_eq!(kept.as_deref(), Some("changed"), "{what}");
    }

    pub(super) async fn current(&self) -> String {
        let dot = self.node.registry.dot(&self.dot()).await.unwrap();
        dot.current.to_string()
    }

    /// The running containers that follow the current branch.
    pub(super) fn running(&self) -> BTreeSet<String> {
        let names = self.world.names().into_iter();
        let running =
            |name: &String| matches!(self.world.state(name), Some(State::Running | State::Paused));
        names.filter(|name| running(name)).collect()
    }

    /// The containers that the daemon reports as still to start.
    pub(super) async fn named(&self) -> BTreeSet<String> {
        let open = self.node.registry.open_switches().await.unwrap();
        let left = open.into_iter().flat_map(|journal| journal.containers);
        left.map(|container| container.name).collect()
    }

    /// Asserts what must hold after any failure: each container on another branch is reported, and none of those that
    /// ran is forgotten.
    pub(super) async fn assert_allowed(&self, ran: &BTreeSet<String>, what: &str) {
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

    /// Asserts that the daemon starts everything once there are no more failures.
    pub(super) async fn settle(&self, ran: &BTreeSet<String>, what: &str) {
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

    /// Kills and restarts the daemon.
    pub(super) async fn restart(&mut self) {
        self.world.serve_nobody();
        // A killed process loses its threads. Here the threads cannot change the pool any more, and soon end.
        self.node.pool.die_after(0);
        tokio::time::sleep(TIMING.poll * 20).await;
        self.node = open(self.folder.path(), &self.world).await;
    }
}

pub(super) fn wait() -> Wait {
    Wait {
        healthy: true,
        seconds: 2,
    }
}

/// The mark that a branch must have. Branches that a test makes from `master` have its mark.
pub(super) fn expected(branch: &str) -> String {
    match branch {
        "other" => "other".to_owned(),
        _ => "master".to_owned(),
    }
}

pub(super) fn depends(
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
pub(super) fn stack(world: &World) {
    world.create("db", &["app.db"], depends("", ""));
    world.turns_out("db", Outcome::HealthyAfter(2));
    world.create("web", &["app.files"], depends("db", "service_healthy"));
    world.create("pinned", &["app@master.files"], |_| {});
}

/// Runs a test for each case. Several run at a time, since most of them wait for something.
pub(super) async fn each<C, F>(cases: Vec<C>, test: impl Fn(C) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut cases = cases.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < 8
            && let Some(case) = cases.next()
        {
            running.spawn(test(case));
        }
        match running.join_next().await {
            None => return,
            Some(done) => done.unwrap(),
        }
    }
}

/// A scenario's operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Checkout,
    CheckoutNew,
    Reset,
    UndoReset,
    RedoCheckoutNew,
    /// Stashes a change, then applies it.
    Stash,
}

impl Work {
    pub(super) const ALL: [Self; 6] = [
        Self::Checkout,
        Self::CheckoutNew,
        Self::Reset,
        Self::UndoReset,
        Self::RedoCheckoutNew,
        Self::Stash,
    ];

    /// A bench on which the operation is possible.
    pub(super) async fn bench(self) -> Bench {
        let bench = Bench::without_containers().await;
        match self {
            Self::Checkout | Self::CheckoutNew | Self::Reset | Self::Stash => {}
            Self::UndoReset => drop(bench.reset().await.unwrap()),
            Self::RedoCheckoutNew => {
                bench.checkout("new", true).await.unwrap();
                undo(&bench).await.unwrap();
            }
        }
        bench.start(stack_for(self)).await;
        bench
    }
}

pub(super) async fn work(bench: &Bench, work: Work) -> Result<Switched, NodeError> {
    match work {
        Work::Checkout => bench.checkout("other", false).await,
        Work::CheckoutNew => bench.checkout("new", true).await,
        Work::Reset => bench.reset().await,
        Work::UndoReset => undo(bench).await,
        Work::RedoCheckoutNew => redo(bench).await,
        Work::Stash => {
            bench.write("master", CHANGED, "changed");
            bench.stash().await?;
            bench.pop().await
        }
    }
}

pub(super) fn stack_for(work: Work) -> fn(&World) {
    match work {
        // These fail while a container pins the branch.
        Work::Reset | Work::UndoReset | Work::Stash => |world| {
            world.create("db", &["app.db"], depends("", ""));
            world.turns_out("db", Outcome::HealthyAfter(2));
            world.create("web", &["app.files"], depends("db", "service_healthy"));
        },
        _ => stack,
    }
}
