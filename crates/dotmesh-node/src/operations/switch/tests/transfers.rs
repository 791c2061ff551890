//! Pulls, clones and daemon starts while the Engine fails: a working copy that a container uses is never replaced.

use std::sync::Arc;

use dotmesh_api::node::{HubAccount, HubLogin, Transfer, TransferOutcome};
use dotmesh_api::{HubAddress, HubClient};
use dotmesh_hub::{router, server};
use dotmesh_hub_db::Opening;
use dotmesh_hub_db::users::NewUser;
use dotmesh_hub_model::credentials::ApiKey;
use dotmesh_hub_service::data_dir::DataDir;
use dotmesh_hub_service::{Hub, settings::Settings};
use dotmesh_model::VolumeName;
use dotmesh_model::ambient::{Clock, Random};
use dotmesh_sync::{Progress, Rate};

use super::bench::Bench;
use crate::engine::scripted::Fault;
use crate::error::NodeError;
use crate::node;
use crate::operations::transfer::{Connection, Job};
use crate::operations::{clone, pull, push, volume};

/// A hub with accounts for Alice and Bob.
pub(super) struct TestHub {
    _folder: tempfile::TempDir,
    pub(super) hub: Hub,
    pub(super) url: String,
    secrets: [(&'static str, String); 2],
}

impl TestHub {
    pub(super) async fn start() -> Self {
        Self::start_behind(|router| router).await
    }

    /// Starts a hub with a middleware.
    pub(super) async fn start_behind(before: impl FnOnce(axum::Router) -> axum::Router) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::make(folder.path()).unwrap();
        let database = data.database(Opening::New).await.unwrap();
        let random = Random::new(node::fill);
        let mut secrets = ["alice", "bob"].map(|name| (name, String::new()));
        for (name, secret) in &mut secrets {
            let key = ApiKey::generate(&random);
            let name = name.parse().unwrap();
            database
                .add_user(&name, &NewUser::with_key(key.digest()), node::now())
                .await
                .unwrap();
            key.reveal().clone_into(secret);
        }
        let hub = Hub::new(
            database,
            data.packs(Opening::New).unwrap(),
            Settings::default(),
            Clock::new(node::now),
            random,
        );
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = before(router::router(hub.clone()));
        let serving = hub.clone();
        tokio::spawn(async move {
            server::serve(listener, None, &serving, router, std::future::pending()).await;
        });
        Self {
            _folder: folder,
            hub,
            url,
            secrets,
        }
    }

    fn secret(&self, user: &str) -> String {
        let (_, secret) = self.secrets.iter().find(|(name, _)| *name == user).unwrap();
        secret.clone()
    }

    pub(super) fn client(&self, user: &str) -> HubClient {
        let address: HubAddress = self.url.parse().unwrap();
        HubClient::new(address, user.parse().unwrap(), self.secret(user)).unwrap()
    }

    pub(super) fn job(&self, bench: &Bench) -> Arc<Job> {
        self.job_as(bench, "alice", "alice/app")
    }

    /// A transfer of one or all branches of Alice's dot, with a local dot of any name.
    pub(super) fn job_about(&self, bench: &Bench, local: &str, branch: Option<&str>) -> Job {
        let mut job = Arc::into_inner(self.job(bench)).expect("nobody else has it yet");
        job.local = local.parse().unwrap();
        job.request.branch = branch.map(|branch| branch.parse().unwrap());
        job
    }

    /// A user's transfer with a dot on the hub.
    pub(super) fn job_as(&self, bench: &Bench, user: &str, remote_dot: &str) -> Arc<Job> {
        let hub = self.client(user);
        let connection = Connection {
            node: bench.node.clone(),
            hub,
            rate: Arc::new(Rate::new(None)),
            progress: Arc::new(Progress::default()),
            takes_without_data: true,
            bundles: true,
            takes_databases: true,
        };
        let request = Transfer {
            hub: HubLogin {
                address: self.url.clone(),
                account: Some(HubAccount {
                    user: user.parse().unwrap(),
                    secret: self.secret(user),
                }),
            },
            remote_dot: remote_dot.parse().unwrap(),
            branch: None,
            commit: None,
            stash_on_divergence: false,
            force_with_lease: None,
            full: false,
            without_data: false,
            allow_secrets: false,
            rows: None,
            rate_limit: None,
        };
        Arc::new(Job {
            connection,
            local: bench.dot(),
            request,
        })
    }

    async fn pull(&self, bench: &Bench) -> Result<TransferOutcome, NodeError> {
        pull::pull(&self.job(bench)).await
    }
}

/// A hub that is one commit ahead of Bob on `master`. No container of his uses that: he is on `other`.
async fn ahead() -> (Arc<TestHub>, Bench, Bench) {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    push::push(&hub.job(&alice)).await.unwrap();
    let bob = Bench::empty().await;
    clone::clone(&hub.job(&bob)).await.unwrap();
    bob.checkout("other", false).await.unwrap();
    let db: VolumeName = "app@master.db".parse().unwrap();
    let path = alice
        .node
        .pool
        .volume_path(&alice.dot(), &"master".parse().unwrap(), &db.folder);
    std::fs::write(path.join("new"), "new").unwrap();
    alice.commit().await;
    push::push(&hub.job(&alice)).await.unwrap();
    bob.world.create("user", &["app.files"], |_| {});
    bob.world.start_by_hand("user").await.unwrap();
    bob.world.calm();
    (Arc::new(hub), alice, bob)
}

/// Whether Bob has Alice's last push.
fn has_new(bench: &Bench) -> bool {
    let db: VolumeName = "app@master.db".parse().unwrap();
    let path = bench
        .node
        .pool
        .volume_path(&bench.dot(), &"master".parse().unwrap(), &db.folder);
    path.join("new").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_comes_whole_or_not_at_all_whatever_the_engine_does() {
    let (hub, _alice, bob) = ahead().await;
    hub.pull(&bob).await.unwrap();
    assert!(has_new(&bob));
    let calls = bob.world.calls();
    assert!(calls.contains(&"namespaces".to_owned()), "{calls:?}");
    let mut cases = Vec::new();
    for at in 0..calls.len() {
        cases.extend(Fault::ALL.map(|fault| (at, fault)));
    }
    for (at, fault) in cases {
        let (hub, _alice, bob) = ahead().await;
        bob.world.fault(at, fault);
        let ran = bob.running();
        let outcome = hub.pull(&bob).await;
        let what = format!("{fault:?} at call {at}: {outcome:?}");
        assert_eq!(has_new(&bob), outcome.is_ok(), "{what}");
        bob.assert_allowed(&ran, &what).await;
        bob.settle(&ran, &what).await;
        hub.pull(&bob).await.unwrap();
        assert!(has_new(&bob), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_leaves_a_working_copy_that_somebody_has() {
    let (hub, _alice, bob) = ahead().await;
    bob.world.create("pinned", &["app@master.db"], |_| {});
    bob.world.start_by_hand("pinned").await.unwrap();
    let refused = hub.pull(&bob).await.unwrap_err().to_string();
    assert!(
        refused.contains("containers are using branch master") && refused.contains("pinned"),
        "{refused}"
    );
    bob.world.stop_by_hand("pinned").await;
    // A mount is handed out, but its container does not run yet.
    volume::mount(&bob.node, "app@master.db", "docker", None)
        .await
        .unwrap();
    let refused = hub.pull(&bob).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "containers are being started on app, with app@master.db"
    );
    assert!(!has_new(&bob));
    volume::unmount(&bob.node, "app@master.db", "docker")
        .await
        .unwrap();
    hub.pull(&bob).await.unwrap();
    assert!(has_new(&bob));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_starts_beside_a_pull_has_what_is_there_after_it() {
    let (hub, _alice, bob) = ahead().await;
    bob.world.create("late", &["app@master.db"], |_| {});
    for round in 0..20 {
        let start = async {
            for _ in 0..round * 8 {
                tokio::task::yield_now().await;
            }
            bob.world.start_by_hand("late").await
        };
        let (_, started) = tokio::join!(hub.pull(&bob), start);
        started.unwrap();
        bob.world.writes("late", "kept", "kept");
        let db: VolumeName = "app@master.db".parse().unwrap();
        let path = bob
            .node
            .pool
            .volume_path(&bob.dot(), &"master".parse().unwrap(), &db.folder);
        assert!(path.join("kept").exists(), "round {round}");
        std::fs::remove_file(path.join("kept")).unwrap();
        bob.world.stop_by_hand("late").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_does_not_need_the_engine() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    push::push(&hub.job(&alice)).await.unwrap();
    let bob = Bench::empty().await;
    for call in 0..20 {
        bob.world.fault(call, Fault::Away);
    }
    clone::clone(&hub.job(&bob)).await.unwrap();
    bob.world.calm();
    bob.world.create("user", &["app.files"], |_| {});
    bob.world.start_by_hand("user").await.unwrap();
    assert_eq!(bob.world.reads("user", "branch").as_deref(), Some("master"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_starts_moves_what_is_on_the_wrong_branch() {
    let mut bob = Bench::new(|world| world.create("user", &["app.files"], |_| {})).await;
    let ran = bob.running();
    // Simulates that the description was changed while the daemon was down.
    let mut dot = bob.node.registry.dot(&bob.dot()).await.unwrap();
    dot.current = "other".parse().unwrap();
    bob.node
        .pool
        .write_dot(&dot.name, &dot.to_file())
        .await
        .unwrap();
    bob.restart().await;
    assert_eq!(bob.world.reads("user", "branch").as_deref(), Some("master"));
    bob.settle(&ran, "on the wrong branch").await;
    assert_eq!(bob.world.reads("user", "branch").as_deref(), Some("other"));
}
