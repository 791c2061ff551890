//! Single cases of what happens to a container.

use std::collections::BTreeSet;

use super::bench::{Bench, Work, stack, stack_for};
use crate::engine::State;
use crate::engine::scripted::Outcome;
use crate::error::NodeError;
use crate::operations::{commit, delete_dot, reset, volume, watch};

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
    // This must hold however often the daemon checks.
    for _ in 0..20 {
        assert!(!watch::look(&bench.node).await.unwrap());
    }
    assert_eq!(bench.world.state("web"), Some(State::Exited));
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
async fn what_ended_with_docker_is_started_again_however_slowly_docker_comes_back() {
    let bench = Bench::new(stack).await;
    bench.world.turns_out("db", Outcome::HealthyAfter(u32::MAX));
    let waits = || {
        let calls = bench.world.calls();
        let start = calls.iter().position(|call| call == "start db");
        let looks = calls[start.unwrap_or(calls.len())..].iter();
        looks.filter(|call| *call == "inspect").count() > 1
    };
    let restart = async {
        while !waits() {
            tokio::task::yield_now().await;
        }
        bench.world.turns_out("db", Outcome::HealthyAfter(0));
        bench.world.restart_engine_slowly().await;
    };
    let (done, ()) = tokio::join!(bench.checkout("other", false), restart);
    let done = done.unwrap();
    assert!(done.problems.is_empty(), "{done:?}");
    assert_eq!(done.restarted, ["db", "web"]);
    assert!(bench.running().contains("db"));
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
    // Existing files stay.
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
    // A pinned volume does not wait.
    volume::mount(&bench.node, "app@master.files", "caller", None)
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
    volume::mount(&bench.node, "app.db", "docker", None)
        .await
        .unwrap();
    for error in [
        bench.reset().await.unwrap_err(),
        bench.checkout("other", false).await.unwrap_err(),
        delete_dot::delete_dot(&bench.node, &bench.dot())
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

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_says_where_its_containers_come_from() {
    let bench = Bench::new(|world| {
        world.create("db", &["app.db", "app.__root__", "other.x"], |one| {
            one.user = "999:999".to_owned();
            for (key, value) in [
                ("project", "shop"),
                ("service", "database"),
                ("project.working_dir", "/srv/shop"),
                ("project.config_files", "/srv/shop/a.yml,/srv/shop/b.yml"),
            ] {
                let key = format!("com.docker.compose.{key}");
                one.container.labels.insert(key, value.to_owned());
            }
        });
        world.create("plain", &["app@master.files"], |_| {});
        world.create("elsewhere", &["app@other.files"], |_| {});
    })
    .await;
    bench.commit().await;
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    let head = dot.current().unwrap().head;
    let record = bench.node.registry.decoded(&dot.id, head).await.unwrap();
    let expected = serde_json::json!([
        {
            "container": "db",
            "image": "image",
            "digest": "image-id",
            "compose": {
                "project": "shop",
                "service": "database",
                "working_dir": "/srv/shop",
                "config_files": ["/srv/shop/a.yml", "/srv/shop/b.yml"],
            },
            "mounts": [
                {"subdot": "__root__", "path": "/app.__root__"},
                {"subdot": "db", "path": "/app.db"},
            ],
            "user": "999:999",
        },
        {
            "container": "plain",
            "image": "image",
            "digest": "image-id",
            "mounts": [{"subdot": "files", "path": "/app@master.files"}],
            "user": "root",
        },
    ]);
    assert_eq!(serde_json::to_value(&record.images).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_the_user_looked_is_refused() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    let seen = Some(dotmesh_api::node::Current {
        head: dot.current().unwrap().head,
        branch: dot.current,
    });
    bench.checkout("other", false).await.unwrap();
    let (tell, _) = tokio::sync::watch::channel(Default::default());
    let request = dotmesh_api::node::Reset {
        revision: "HEAD^".to_owned(),
        hard: true,
        expected: seen.clone(),
        wait: super::bench::wait(),
    };
    let refused = reset::reset(&bench.node, &bench.dot(), request, tell).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.starts_with("app has changed since this command was given"),
        "{refused}"
    );
    let request = dotmesh_api::node::CreateCommit {
        message: "m".to_owned(),
        author: "a".to_owned(),
        metadata: Default::default(),
        code: None,
        expected: seen,
        amend: false,
    };
    let refused = commit::commit(&bench.node, &bench.dot(), request).await;
    assert!(
        matches!(refused, Err(NodeError::Changed { .. })),
        "{refused:?}"
    );
    assert_eq!(bench.world.reads("web", "branch").as_deref(), Some("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_dot_does_not_come_back_by_its_containers() {
    let bench = Bench::new(|world| world.create("odd", &["app.files"], |_| {})).await;
    bench.world.turns_out("odd", Outcome::Fails);
    bench.checkout("other", false).await.unwrap_err();
    assert_eq!(bench.named().await, BTreeSet::from(["odd".to_owned()]));
    delete_dot::delete_dot(&bench.node, &bench.dot())
        .await
        .unwrap();
    bench.world.turns_out("odd", Outcome::Runs);
    while !watch::look(&bench.node).await.unwrap() {}
    assert_eq!(bench.world.state("odd"), Some(State::Exited));
    assert!(bench.node.registry.dots().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mount_has_a_place_of_its_own_while_the_registry_takes_nothing() {
    let bench = Bench::empty().await;
    let node = &bench.node;
    volume::create(node, "app.first").await.unwrap();
    let saved = async || node.registry.mounts().await.unwrap().0;
    node.registry.refuse_mounts(true).await;
    let first = volume::mount(node, "app.first", "one", None).await.unwrap();
    let second = volume::mount(node, "app.second", "two", None)
        .await
        .unwrap();
    assert_ne!(first, second);
    volume::unmount(node, "app.first", "one").await.unwrap();
    let third = volume::mount(node, "app.first", "three", None)
        .await
        .unwrap();
    assert!(![&first, &second].contains(&&third));
    let callers = |mounts: Vec<crate::mounts::HandedOut>| -> Vec<String> {
        mounts.into_iter().map(|mount| mount.caller).collect()
    };
    assert_eq!(callers(node.mounts.all().await), ["two", "three"]);
    assert_eq!(callers(saved().await), [""; 0]);

    node.registry.refuse_mounts(false).await;
    node.mounts.save().await;
    assert_eq!(callers(saved().await), ["two", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_mounted_for_a_user_inside_of_what_is_dotmeshs_own() {
    let bench = Bench::new(|_| {}).await;
    let place = bench.node.config.root.join("place");
    std::fs::create_dir(&place).unwrap();
    let request = dotmesh_api::node::MountVolume {
        volume: "app".to_owned(),
        place: place.display().to_string(),
        create: false,
    };
    let refused = crate::operations::mount::mount(&bench.node, request)
        .await
        .unwrap_err();
    assert!(matches!(refused, NodeError::Place { .. }), "{refused}");
}
