//! An example of what each command returns.

use std::path::PathBuf;

use dotmesh_api::node::{
    Apart, BranchOutcome, ChangeKind, ContainerStatus, CopiedFiles, Diff, DotStatus, FileChange,
    FileKind, FsckReport, Lookalike, NodeVersion, OperationState, OperationSummary, Operations,
    Source, Stash, SubdotStatus, SummaryStatus, Switched, Tag, TagsOutcome, TransferOutcome,
    TransferProgress, UndoBudget, UpstreamStatus,
};
use dotmesh_api::node_client::Direction;
use dotmesh_cli::commands::diff::Form;
use dotmesh_cli::commands::remote::Account;
use dotmesh_cli::commands::*;
use dotmesh_cli::transfer::Transferred;

use crate::given::{self, id, name};
use crate::json::Example;

fn dot() -> dotmesh_model::DotName {
    name("mobycounter_app")
}

fn copied() -> CopiedFiles {
    CopiedFiles {
        entries: 1234,
        bytes: 48_000_000,
        left_out: 1,
        first_left_out: vec!["./run/server.sock".to_owned()],
    }
}

fn time() -> jiff::Timestamp {
    "2026-07-01T08:30:59Z".parse().unwrap()
}

fn switched() -> Switched {
    Switched {
        branch: given::branch("many-users"),
        head: id(0xb2),
        restarted: vec!["db_1".to_owned(), "web_1".to_owned()],
        removed: Vec::new(),
        replaced: Vec::new(),
        later: Vec::new(),
        problems: Vec::new(),
        operation: None,
        renamed: None,
    }
}

fn undone(what: &str) -> Switched {
    Switched {
        operation: Some(what.to_owned()),
        renamed: None,
        ..switched()
    }
}

fn diff() -> Diff {
    Diff {
        from: id(0xa1),
        to: Some(id(0xb2)),
        changes: vec![
            FileChange {
                path: "uploads/logo.png".to_owned(),
                kind: FileKind::File,
                change: ChangeKind::Added,
                from: None,
                before: 0,
                after: 4096,
                unified: None,
            },
            FileChange {
                path: "uploads/notes.txt".to_owned(),
                kind: FileKind::File,
                change: ChangeKind::Modified,
                from: None,
                before: 4,
                after: 8,
                unified: Some(
                    "--- a/uploads/notes.txt\n+++ b/uploads/notes.txt\n@@ -1 +1,2 @@\n one\n+two\n"
                        .to_owned(),
                ),
            },
        ],
        more: 0,
    }
}

fn stash() -> Stash {
    Stash {
        id: "5a".repeat(16).parse().unwrap(),
        branch: given::branch("many-users"),
        head: id(0xb2),
        title: "Created user1...user11".to_owned(),
        message: "before the migration".to_owned(),
        time: time(),
    }
}

fn tag() -> Tag {
    Tag {
        name: given::branch("v1.2"),
        commit: id(0xb2),
        message: "As shown to the customer".to_owned(),
        time: time(),
    }
}

fn account() -> Account {
    Account {
        remote: "hub".parse().unwrap(),
        user: Some("alice".parse().unwrap()),
        address: "https://dothub.com".to_owned(),
        is_default: true,
        login: "alice@dothub.com".to_owned(),
    }
}

fn node() -> NodeVersion {
    NodeVersion {
        version: "0.1.0".to_owned(),
        node: "4b4e13b2bfff64ce".to_owned(),
        driver: Some("dm".to_owned()),
        pid: 4711,
        root: Some(PathBuf::from("/var/lib/dotmesh")),
        network: Some(vec!["HTTPS_PROXY".to_owned()]),
    }
}

fn transferred(direction: Direction) -> Transferred {
    Transferred {
        dot: dot(),
        remote: "hub".parse().unwrap(),
        remote_dot: name("alice/mobycounter_app"),
        outcome: TransferOutcome {
            branches: vec![BranchOutcome {
                name: given::branch("many-users"),
                head: id(0xb2),
                commits: 2,
                is_new: true,
                stashed: None,
                replaced: None,
                receiver_ahead: false,
            }],
            progress: TransferProgress {
                phase: "done".to_owned(),
                done: 31_457_286,
                total: 31_457_286,
                wire: 1_048_576,
                deduplicated: 29_360_128,
                compressed: 1_048_582,
            },
            tags: TagsOutcome {
                new: vec![given::branch("v1.2")],
                ..TagsOutcome::default()
            },
            ..TransferOutcome::default()
        },
        direction,
    }
}

fn status() -> DotStatus {
    DotStatus {
        name: dot(),
        branch: given::branch("many-users"),
        head: id(0xb2),
        title: "Created user1...user11".to_owned(),
        subdots: vec![SubdotStatus {
            name: "uploads".to_owned(),
            added: 1,
            modified: 2,
            ..SubdotStatus::default()
        }],
        containers: vec![ContainerStatus {
            name: "web_1".to_owned(),
            service: Some("web".to_owned()),
            state: "running".to_owned(),
            volumes: vec!["mobycounter_app.uploads".to_owned()],
            wrong: None,
        }],
        summaries: vec![SummaryStatus {
            commit: id(0xb2),
            there: Source {
                hub: "https://dothub.com".to_owned(),
                dot: name("alice/mobycounter_app"),
            },
            why: None,
            given_up: false,
        }],
        upstreams: vec![UpstreamStatus {
            there: Source {
                hub: "https://dothub.com".to_owned(),
                dot: name("alice/mobycounter_app"),
            },
            apart: Some(Apart {
                ahead: 2,
                behind: 0,
            }),
        }],
    }
}

/// What is done with the state of a dot.
pub(crate) fn states() -> Vec<Example> {
    let record = given::log().commits.remove(0);
    vec![
        Example::of(
            "dm init",
            &init::Made {
                dot: dot(),
                place: Some("/home/alice/app".into()),
            },
        ),
        Example::of(
            "dm init --compose",
            &init::app::Prepared {
                dot: name("shop"),
                file: "/home/alice/shop/dotmesh.toml".into(),
                written: true,
                volumes: vec!["db".to_owned()],
                override_file: Some("/home/alice/shop/compose.override.yaml".into()),
                lines: None,
                to_import: Vec::new(),
            },
        ),
        Example::of(
            "dm list",
            &list::Dots {
                current: Some(dot()),
                dots: given::dots(),
                problems: vec!["container db_1 cannot be started".to_owned()],
                lookalikes: vec![Lookalike {
                    dot: name("moby-counter_app"),
                    id: "d33da9d6788e1243c2816cb26ba01509".to_owned(),
                    cloned: dot(),
                    project: Some("mobycounter".to_owned()),
                }],
                scripting: false,
                compose: "docker compose".to_owned(),
            },
        ),
        Example::of(
            "dm switch",
            &switch::Selected {
                dot: dot(),
                place: Some("/home/alice/app".into()),
                other: Some(switch::Other {
                    dot: name("shop"),
                    why: "--dot or DOTMESH_DOT names it".to_owned(),
                }),
            },
        ),
        Example::of(
            "dm status",
            &status::Status {
                status: status(),
                tracked: vec![status::Tracked {
                    upstream: given::upstream(),
                    seen: true,
                    apart: Some(Apart {
                        ahead: 2,
                        behind: 0,
                    }),
                }],
                beside: vec!["shop-login".to_owned()],
                short: false,
                compose: "docker compose".to_owned(),
            },
        ),
        Example::of(
            "dm diff",
            &diff::Changes {
                diff: diff(),
                form: Form::Lines,
                takes_path: true,
            },
        ),
        Example::of(
            "dm commit",
            &commit::NewCommit {
                code: record.code.clone(),
                replaced: Some(id(0xa1)),
                warning: Some("the commit records no code version".to_owned()),
                ..given::new_commit()
            },
        ),
        Example::of(
            "dm log",
            &log::History {
                dot: dot(),
                log: given::log(),
                is_whole: true,
                graph: false,
                oneline: false,
            },
        ),
        Example::of(
            "dm show",
            &show::Shown {
                dot: dot(),
                commit: record,
                branches: vec![given::branch("many-users")],
                tags: vec![given::branch("v1.2")],
                absent: None,
                changes: Some(diff()),
                changes_absent: false,
                log: given::log(),
                name_status: false,
            },
        ),
        Example::of("dm branch", &given::branches()),
        Example::of(
            "dm branch --delete",
            &branch::Deleted {
                dot: dot(),
                branch: given::branch("work"),
                head: id(0xb2),
            },
        ),
        Example::of(
            "dm branch --move",
            &branch::Renamed {
                dot: dot(),
                from: given::branch("work"),
                to: given::branch("feature/login"),
            },
        ),
        Example::of(
            "dm tag",
            &tag::Tags {
                dot: dot(),
                tags: vec![tag()],
                long: false,
            },
        ),
        Example::of(
            "dm tag NAME",
            &tag::Tagged {
                dot: dot(),
                tag: tag(),
            },
        ),
        Example::of(
            "dm tag --delete",
            &tag::Untagged {
                dot: dot(),
                tag: tag(),
            },
        ),
        Example::of(
            "dm checkout",
            &checkout::CheckedOut {
                dot: dot(),
                switched: switched(),
                throwaway: false,
            },
        ),
        Example::of(
            "dm reset",
            &reset::WasReset {
                dot: dot(),
                switched: switched(),
                title: Some("Created user1...user11".to_owned()),
                before: id(0xa1),
            },
        ),
        Example::of(
            "dm undo",
            &undo::Undone {
                dot: dot(),
                switched: undone("switch from branch master to branch many-users"),
                did: "Undid",
            },
        ),
        Example::of(
            "dm redo",
            &undo::Undone {
                dot: dot(),
                switched: undone("switch from branch master to branch many-users"),
                did: "Redid",
            },
        ),
        Example::of(
            "dm redo (of a deletion)",
            &dot::delete::Deleted {
                dot: dot(),
                id: "d33da9d6788e1243c2816cb26ba01509".to_owned(),
                was_current: true,
                again: true,
            },
        ),
        Example::of(
            "dm op log",
            &op::log::OperationLog {
                log: Operations {
                    dot: dot(),
                    is_here: true,
                    operations: vec![OperationSummary {
                        number: 12,
                        what: "deletion of branch old at 1a2b3c4d".to_owned(),
                        time: time(),
                        state: OperationState::Done,
                        bytes: 1_048_576,
                    }],
                    deleted: Vec::new(),
                    budget: UndoBudget {
                        seconds: 604_800,
                        bytes: 4_294_967_296,
                        used: 1_048_576,
                    },
                },
            },
        ),
    ]
}

/// Stashes, and single files.
pub(crate) fn stashes() -> Vec<Example> {
    let pushed = || stash::push::Pushed {
        dot: dot(),
        stash: Some(stash()),
        switched: Some(switched()),
    };
    let applied = |dropped| stash::pop::Applied {
        dot: dot(),
        stash: stash(),
        dropped,
        switched: switched(),
    };
    vec![
        Example::of("dm stash", &pushed()),
        Example::of("dm stash push", &pushed()),
        Example::of(
            "dm stash list",
            &stash::list::Stashes {
                dot: dot(),
                stashes: vec![stash()],
            },
        ),
        Example::of(
            "dm stash show",
            &diff::Changes {
                diff: diff(),
                form: Form::BySubdot,
                takes_path: false,
            },
        ),
        Example::of("dm stash pop", &applied(true)),
        Example::of("dm stash apply", &applied(false)),
        Example::of(
            "dm stash drop",
            &stash::drop::Dropped {
                dot: dot(),
                stash: stash(),
            },
        ),
        Example::of(
            "dm stash branch",
            &stash::branch::Branched {
                dot: dot(),
                stash: stash(),
                switched: switched(),
            },
        ),
        Example::of(
            "dm restore",
            &restore::Restored {
                dot: dot(),
                source: "HEAD~2".to_owned(),
                paths: vec!["uploads/logo.png".to_owned()],
                switched: switched(),
            },
        ),
        Example::of(
            "dm cp",
            &cp::Copied {
                dot: dot(),
                source: "HEAD~2:uploads/logo.png".to_owned(),
                target: "logo.png".into(),
            },
        ),
        Example::of(
            "dm import",
            &import::Imported {
                dot: name("shop"),
                branch: given::branch("master"),
                commit: Some(id(0xa1)),
                subdots: vec![import::ImportedSubdot {
                    subdot: "db".parse().unwrap(),
                    from: "volume shop_db".to_owned(),
                    copied: copied(),
                }],
                compose: Some(import::ImportedProject {
                    project: "shop".to_owned(),
                    file: "/home/alice/shop/compose.override.yaml".into(),
                    lines: None,
                    is_read_by_default: true,
                    started: vec!["db".to_owned(), "web".to_owned()],
                    compose: "docker compose".to_owned(),
                    not_imported: vec![
                        "Folder src of web stays a folder: dm import --dir src=SUBDOT copies it"
                            .to_owned(),
                    ],
                }),
            },
        ),
        Example::of(
            "dm export",
            &export::Exported {
                dot: name("shop"),
                revision: "HEAD~2".to_owned(),
                subdot: Some("db".parse().unwrap()),
                target: "shop_db_before".to_owned(),
                copied: Some(copied()),
                keeps_owners: true,
            },
        ),
    ]
}

/// What is done with hubs.
pub(crate) fn hubs() -> Vec<Example> {
    let named = || remote::Named {
        remote: "hub".parse().unwrap(),
        text: String::new(),
    };
    vec![
        Example::of(
            "dm login",
            &login::LoggedIn {
                account: account(),
                expires: Some(time()),
                user: "alice".parse().unwrap(),
                is_first: true,
            },
        ),
        Example::of("dm logout", &logout::LoggedOut { remotes: vec![account()] }),
        Example::of("dm remote", &remote::Remotes { remotes: vec![account()], long: false }),
        Example::of("dm remote add", &remote::add::Added { account: account() }),
        Example::of("dm remote rm", &named()),
        Example::of(
            "dm remote rename",
            &remote::rename::Renamed { from: "hub".parse().unwrap(), to: "lab".parse().unwrap() },
        ),
        Example::of("dm remote set-url", &remote::set_url::Moved { account: account() }),
        Example::of("dm remote switch", &named()),
        Example::of(
            "dm clone",
            &clone::Cloned {
                transferred: transferred(Direction::Clone),
                current: dot(),
                switched: Some(switched()),
                gone_on_since: None,
                start: vec!["docker compose -p mobycounter up -d".to_owned()],
                volumes_of: None,
            },
        ),
        Example::of("dm pull", &transferred(Direction::Pull)),
        Example::of(
            "dm push",
            &push::Pushed {
                transferred: transferred(Direction::Push),
                permalinks: vec![
                    "https://dothub.com/alice/mobycounter_app/commit/b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
                        .to_owned(),
                ],
                keeps_rows: false,
            },
        ),
        Example::of(
            "dm open",
            &open::Opened {
                address: "https://dothub.com/alice/mobycounter_app".to_owned(),
                opened: true,
                print: false,
            },
        ),
    ]
}

/// What is done with dots and with the node.
pub(crate) fn nodes() -> Vec<Example> {
    vec![
        Example::of("dm dot show", &given::shown_dot()),
        Example::of(
            "dm dot rename",
            &dot::rename::Renamed {
                from: dot(),
                to: name("shop"),
            },
        ),
        Example::of(
            "dm dot delete",
            &dot::delete::Deleted {
                dot: dot(),
                id: "d33da9d6788e1243c2816cb26ba01509".to_owned(),
                was_current: true,
                again: false,
            },
        ),
        Example::of(
            "dm dot set-upstream",
            &dot::set_upstream::Tracking {
                dot: dot(),
                remote: "hub".parse().unwrap(),
                remote_dot: name("alice/mobycounter_app"),
            },
        ),
        Example::of(
            "dm mount",
            &mount::Mounted {
                volume: "mobycounter_app.uploads".to_owned(),
                place: "/home/alice/uploads".into(),
                branch: given::branch("many-users"),
            },
        ),
        Example::of(
            "dm unmount",
            &unmount::Unmounted {
                place: "/home/alice/uploads".into(),
            },
        ),
        Example::of(
            "dm cluster init",
            &cluster::init::Running {
                started: true,
                node: node(),
                root: "/var/lib/dotmesh".into(),
                person: None,
            },
        ),
        Example::of(
            "dm fetch",
            &fetch::Fetched {
                fetched: vec![transferred(Direction::Fetch)],
            },
        ),
        Example::of(
            "dm doctor",
            &doctor::Findings {
                findings: vec![
                    doctor::Finding::ok("kernel", "has btrfs"),
                    doctor::Finding::warn("group", "alice is not in the group 'dotmesh'")
                        .advice("sudo usermod -aG dotmesh alice"),
                ],
            },
        ),
        Example::of(
            "dm fsck",
            &fsck::Checked {
                report: FsckReport {
                    dots: 1,
                    commits: 12,
                    verified: 11,
                    read: 1,
                    problems: Vec::new(),
                },
                data: true,
            },
        ),
        Example::of(
            "dm cluster reset",
            &cluster::reset::Stopped {
                was_running: true,
                root: "/var/lib/dotmesh".into(),
                has_data: false,
                deleted: Some(cluster::reset::DeletedData {
                    dots: vec!["mobycounter_app".to_owned()],
                    dots_elsewhere: None,
                    keeps_folder: false,
                }),
            },
        ),
        Example::of(
            "dm version",
            &version::Versions {
                client: "0.1.0".to_owned(),
                node: Some(node()),
                error: None,
            },
        ),
        Example::of(
            "dm help",
            &help::Help {
                text: "Git for the state of a running app\n…".to_owned(),
            },
        ),
        Example::of(
            "dm help git",
            &help::FromGit {
                commands: vec![help::Pair {
                    git: "git status".to_owned(),
                    dm: "dm status".to_owned(),
                    differs: "also shows the containers".to_owned(),
                }],
            },
        ),
    ]
}
