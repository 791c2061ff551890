//! Tests of plans for switches.

use super::{Afterwards, Condition, Plan, plan};
use crate::engine::{Inspected, State, VolumeUse};

fn container(name: &str) -> Inspected {
    let mut one = Inspected::default();
    one.container.id = format!("{name}-with-a-long-id");
    one.container.name = name.to_owned();
    one.container.state = State::Running;
    one
}

fn user(name: &str) -> Inspected {
    using(name, "app.data")
}

fn using(name: &str, volume: &str) -> Inspected {
    let mut one = container(name);
    one.container.uses = vec![VolumeUse {
        volume: volume.parse().unwrap(),
        destination: "/data".into(),
        copies_image: true,
    }];
    one
}

fn labelled(mut one: Inspected, service: &str, depends_on: &str) -> Inspected {
    for (key, value) in [
        ("com.docker.compose.project", "p"),
        ("com.docker.compose.service", service),
        ("com.docker.compose.depends_on", depends_on),
    ] {
        one.container
            .labels
            .insert(key.to_owned(), value.to_owned());
    }
    one
}

fn made(containers: &[Inspected]) -> Plan {
    let dot = "app".parse().unwrap();
    plan(containers, &[], |one| one.uses_unpinned(&dot))
}

/// The names in order, then `web<db` for each dependency.
fn shown(plan: &Plan) -> String {
    let name = |at: usize| plan.members[at].name.as_str();
    let mut words: Vec<String> = plan.members.iter().map(|one| one.name.clone()).collect();
    for (at, one) in plan.members.iter().enumerate() {
        for (need, condition) in &one.after {
            let condition = match condition {
                Condition::Started => "",
                Condition::Healthy => "+",
                Condition::CompletedSuccessfully => "!",
            };
            words.push(format!("{}<{}{condition}", name(at), name(*need)));
        }
    }
    words.join(" ")
}

#[test]
fn only_those_who_follow_the_current_branch_are_stopped() {
    let mut stopped = user("stopped");
    stopped.container.state = State::Exited;
    let mut created = user("created");
    created.container.state = State::Created;
    let mut removing = user("removing");
    removing.container.state = State::Removing;
    let all = [
        user("a"),
        user("b"),
        using("pinned", "app@master.data"),
        using("other", "other.data"),
        container("stranger"),
        stopped,
        created,
        removing,
    ];
    assert_eq!(shown(&made(&all)), "a b");
}

#[test]
fn links_and_shared_volumes_and_namespaces_are_dependencies() {
    let mut web = user("web");
    web.links = vec!["/redis:/web/redis".to_owned()];
    let mut backup = user("backup");
    backup.volumes_from = vec!["web:ro".to_owned()];
    let mut sidecar = user("sidecar");
    sidecar.namespaces = vec!["container:web-with-a-long-id".to_owned()];
    let all = [sidecar, backup, web, user("redis")];
    assert_eq!(
        shown(&made(&all)),
        "redis web sidecar backup web<redis sidecar<web backup<web"
    );
}

#[test]
fn who_shares_a_namespace_restarts_along_whatever_it_uses() {
    for mode in 0..3 {
        let mut sidecar = container("sidecar");
        sidecar.namespaces = vec!["default".to_owned(); 3];
        sidecar.namespaces[mode] = "container:db".to_owned();
        let mut second = container("second");
        second.namespaces = vec!["container:sidecar".to_owned()];
        let mut idle = container("idle");
        idle.container.state = State::Exited;
        idle.namespaces = vec!["container:db".to_owned()];
        let all = [second, sidecar, user("db"), container("stranger"), idle];
        assert_eq!(
            shown(&made(&all)),
            "db sidecar second sidecar<db second<sidecar"
        );
    }
}

#[test]
fn compose_says_it_in_a_label_or_by_age() {
    let all = [
        labelled(
            user("app"),
            "app",
            "db:service_healthy:false,cache:service_started:true,init:service_completed_successfully:false",
        ),
        labelled(user("db"), "db", ""),
        labelled(user("cache"), "cache", ""),
        labelled(user("init"), "init", "db"),
    ];
    assert_eq!(
        shown(&made(&all)),
        "db cache init app init<db app<db+ app<cache app<init!"
    );

    let aged = |name: &str, second: i64| {
        let mut one = user(name);
        one.created = jiff::Timestamp::from_second(second).unwrap();
        one.container
            .labels
            .insert("com.docker.compose.project".to_owned(), "p".to_owned());
        one
    };
    let all = [aged("young", 2), aged("old", 1), user("other")];
    assert_eq!(shown(&made(&all)), "old young other young<old");
}

#[test]
fn compose_restarts_those_who_ask_for_it() {
    let all = [
        labelled(container("front"), "front", "web:service_started:false"),
        labelled(container("web"), "web", "db:service_healthy:true"),
        labelled(container("worker"), "worker", "db:service_healthy:false"),
        labelled(user("db"), "db", ""),
    ];
    assert_eq!(shown(&made(&all)), "db web web<db+");
}

#[test]
fn a_cycle_is_stopped_and_started_all_the_same() {
    let mut a = user("a");
    a.links = vec!["/b:/a/b".to_owned()];
    let mut b = user("b");
    b.links = vec!["/a:/b/a".to_owned()];
    assert_eq!(shown(&made(&[a, b])), "a b b<a");
}

#[test]
fn what_becomes_of_each_depends_on_what_it_is() {
    let mut paused = user("paused");
    paused.container.state = State::Paused;
    let mut restarting = user("restarting");
    restarting.container.state = State::Restarting;
    let mut once = user("once");
    once.removed_when_stopped = true;
    let mut task = user("task");
    let label = "com.docker.swarm.task.id".to_owned();
    task.container.labels.insert(label, "t".to_owned());
    let plan = made(&[paused, restarting, once, task]);
    let afterwards: Vec<_> = plan.members.iter().map(|one| one.afterwards).collect();
    assert_eq!(
        afterwards,
        [
            Afterwards::StartAndPause,
            Afterwards::Start,
            Afterwards::Removed,
            Afterwards::ReplacedBySwarm
        ]
    );
}
