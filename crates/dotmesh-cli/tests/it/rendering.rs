//! The output of commands, rendered from given data.

use std::path::Path;

use dotmesh_api::HubVisitor;
use dotmesh_api::hub::{DeviceLogin, ResolvedRef};
use dotmesh_api::node::{
    BranchOutcome, Lookalike, SkippedSockets, TransferOutcome, TransferProgress,
};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_cli::browser;
use dotmesh_cli::commands::cluster::places::{Places, PoolPlace, list as list_places};
use dotmesh_cli::commands::cluster::{init, machine, reset as cluster_reset, service};
use dotmesh_cli::commands::commit::NewCommit;
use dotmesh_cli::commands::dot::delete;
use dotmesh_cli::commands::remote::Remotes;
use dotmesh_cli::commands::{clone, commit, list, log, login, push, reset};
use dotmesh_cli::config::{Config, NodeConfig, Remote, SavedApiKey};
use dotmesh_cli::error::CliError;
use dotmesh_cli::hub_state::State;
use dotmesh_cli::transfer::{self, Plan};
use dotmesh_cli::ui::printable;
use dotmesh_cli::{dot_word, lookalike, network};
use dotmesh_model::commit::ComposeUse;
use dotmesh_model::{CodeVersion, CommitId, ImageUse};
use insta::assert_snapshot;
use jiff::tz::TimeZone;

use crate::given;

#[test]
fn dots_are_listed() {
    let dots = given::dots();
    assert_snapshot!(list::for_people(&dots, Some(&dots[1].name)), @r"
      DOT              BRANCH      CONTAINERS   SIZE       COMMITS  DIRTY
      alice/shop       master                   -          0        -
    * mobycounter_app  many-users  web_1, db_1  30.00 MiB  2        1.00 KiB
    ");
    assert_snapshot!(list::for_scripts(&dots).replace('\t', "<tab>"), @r"
    alice/shop<tab>master<tab>4b4e13b2bfff64ce<tab><tab>0<tab>0<tab>0<tab>
    mobycounter_app<tab>many-users<tab>4b4e13b2bfff64ce<tab>web_1,db_1<tab>31457286<tab>2<tab>1024<tab>
    ");
}

#[test]
fn a_list_of_dots_fits_100_columns() {
    let mut dots = given::dots();
    dots[0].only_database_files = true;
    (dots[0].size, dots[0].dirty) = (40 << 20, 16 << 20);
    // At least as much was written as there is.
    (dots[1].size, dots[1].dirty) = (1 << 20, 3 << 20);
    let names = (1..=5).map(|n| format!("/mobycounter-app-service-{n}"));
    dots[1].containers = names.collect();
    assert_snapshot!(list::for_people(&dots, None), @r"
      DOT              BRANCH      CONTAINERS    SIZE       COMMITS  DIRTY
      alice/shop       master                    40.00 MiB  0        database files only
      mobycounter_app  many-users  5 containers  1.00 MiB   2        all
    ");
    dots[0].name = format!("alice/{}", "x".repeat(50)).parse().unwrap();
    dots[0].branch = given::branch(&format!("feature/{}", "y".repeat(50)));
    dots[1].containers.truncate(1);
    let table = list::for_people(&dots, None);
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
    assert_snapshot!(table, @r"
      DOT                       BRANCH          CONTAINERS      SIZE       COMMITS  DIRTY
      alice/xxxxxxxxxxxxxxxxx…  feature/yyyyy…                  40.00 MiB  0        database files only
      mobycounter_app           many-users      mobycounter-a…  1.00 MiB   2        all
    ");
}

#[test]
fn the_log_is_shown() {
    let log = given::log();
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    assert_snapshot!(log::full(&log, &zone).replace('\u{1b}', "<escape>"), @r"
    commit b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2 (HEAD -> many-users, tag: v1.2, aspect-ratios)
    author: bob@laptop
    date: Wed Jul 1 10:30:59 2026 +0200
    branch: many-users
    issue: 12
    lines: one
        author: two
    image: clicks: redis:7 (redis@sha256:beef)
    code: https://example.com/moby-counter multiple-services cafe (with uncommitted changes)

        Log in as 'fred'
        and look

          twice
        <escape>[31mred

    commit a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 (master)
    author: Alice <alice@example.com>
    date: Sat Jan 31 13:00:00 2026 +0100
    branch: master
    data: at https://dothub.com, dot alice/app, not here
    left out: dev/null: a device node
        and 1 more, see the commit's page on the hub

        Empty state
    ");
    assert_snapshot!(log::oneline(&log), @r"
    b2b2b2b2b2 (HEAD -> many-users, tag: v1.2, aspect-ratios) Log in as 'fred' and look
    a1a1a1a1a1 (master) [on the hub] Empty state
    ");
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    assert_eq!(
        printable("a\u{1b}[31m\r\tb\n\u{9b}"),
        "a\u{fffd}[31m\u{fffd}\tb\n\u{fffd}"
    );
}

#[test]
fn a_dot_is_shown() {
    let dot = given::shown_dot();
    assert_snapshot!(dot.for_people(), @r"
    Dot admin/mobycounter_app:
    Master branch ID: d33da9d6788e1243c2816cb26ba01509
    Dot is currently selected.
    Commits: 2
    Dot size: 30.00 MiB (1.00 KiB dirty)
    Branches:
    * many-users (b2b2b2b2b2) (containers: db_1,web_1)
      master (a1a1a1a1a1)
    Tracks dot alice/mobycounter_app on remote hub
    ");
    assert_snapshot!(dot.for_scripts().replace('\t', "<tab>"), @r"
    namespace<tab>admin
    name<tab>mobycounter_app
    masterBranchId<tab>d33da9d6788e1243c2816cb26ba01509
    selected
    commitCount<tab>2
    size<tab>31457286
    dirty<tab>1024
    currentBranch<tab>many-users
    branch<tab>b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2<tab>many-users
    container<tab>many-users<tab>db_1
    container<tab>many-users<tab>web_1
    branch<tab>a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1<tab>master
    defaultUpstreamDot<tab>hub<tab>alice/mobycounter_app
    ");
}

#[test]
fn what_a_deletion_loses_is_told() {
    let mut dot = given::dot();
    assert_snapshot!(delete::loss(&dot, 2, 2), @"Dot mobycounter_app has 2 branches (many-users, master), 2 commits, 2 stashes, and 1.00 KiB uncommitted on branch many-users");
    dot.branches.remove(0);
    dot.summary.dirty = 0;
    assert_snapshot!(delete::loss(&dot, 1, 0), @"Dot mobycounter_app has 1 branch (master), 1 commit");
}

#[test]
fn a_reset_says_where_head_is() {
    assert_snapshot!(reset::describe(given::id(0xa1), Some("Empty state")), @"HEAD is now at a1a1a1a1a1 Empty state");
    assert_snapshot!(reset::describe(given::id(0xa1), None), @"HEAD is now at a1a1a1a1a1");
    assert_snapshot!(reset::describe(CommitId::ROOT, None), @"HEAD is now at the empty state before the first commit");
}

#[test]
fn a_reset_says_where_the_branch_was() {
    let left = |was, now| {
        let branch = given::branch("feature/login");
        reset::left(&branch, was, now).unwrap_or_default()
    };
    assert_snapshot!(left(given::id(0xb2), given::id(0xa1)), @"Branch feature/login was at b2b2b2b2b2; 'dm reset b2b2b2b2b2' takes it back there");
    assert_snapshot!(left(given::id(0xb2), CommitId::ROOT), @"Branch feature/login was at b2b2b2b2b2; 'dm reset b2b2b2b2b2' takes it back there");
    assert_eq!(left(given::id(0xb2), given::id(0xb2)), "");
    assert_eq!(left(CommitId::ROOT, CommitId::ROOT), "");
}

#[test]
fn an_empty_dot_beside_a_clone_is_warned_of() {
    let mut found = Lookalike {
        dot: "moby-counter_app".parse().unwrap(),
        id: "d33d".to_owned(),
        cloned: "mobycounter_app".parse().unwrap(),
        project: Some("mobycounter".to_owned()),
    };
    assert_snapshot!(lookalike::describe(&found), @"Docker made the empty dot moby-counter_app, because Compose used another project name than that of the clone mobycounter_app. The app does not see the clone's data");
    assert_snapshot!(lookalike::what_next(&found, "docker compose"), @"Stop the app with 'docker compose down', and start it with the clone's data: docker compose -p mobycounter up -d. 'dm dot delete moby-counter_app' deletes the empty dot.");
    found.project = None;
    assert_snapshot!(lookalike::what_next(&found, "docker compose"), @"Name the volumes after the clone in the Compose file, with 'name: mobycounter_app.SUBDOT'. 'dm dot delete moby-counter_app' deletes the empty dot.");
}

#[test]
fn a_branch_in_the_place_of_a_dot_is_told_with_the_right_command() {
    let dot = "mobycounter_app".parse().unwrap();
    let branch = given::branch("feature/login");
    let instead = dot_word::try_this(&["dm", "push", "hub", "mobycounter_app", "feature/login"]);
    assert_snapshot!(dot_word::is_branch(&dot, &branch, &instead).render(), @r"
    Error: No such dot 'feature/login': it is a branch of the current dot, mobycounter_app
    hint: Try this: dm push hub mobycounter_app feature/login
    ");
    assert_snapshot!(dot_word::try_this(&["dm", "checkout", "$(id)&'"]), @r"Try this: dm checkout '$(id)&'\'''");
}

#[test]
fn remotes_are_listed() {
    let mut config = Config::default();
    let mut add = |name: &str, address: &str| {
        let remote = Remote::with_account(
            address.to_owned(),
            "alice".parse().unwrap(),
            SavedApiKey::new("secret".to_owned()),
        );
        config.remotes.insert(name.parse().unwrap(), remote);
    };
    add("hub", "https://dothub.com");
    add("lab", "http://10.0.0.1:8080");
    add("here", "http://localhost:8080");
    config.default_remote = Some("hub".parse().unwrap());
    assert_snapshot!(Remotes::of(&config, false).text(), @r"
    here
    hub
    lab
    ");
    assert_snapshot!(Remotes::of(&config, true).text().replace('\t', "<tab>"), @r"
      here<tab>alice@localhost:8080
    * hub<tab>alice@dothub.com
      lab<tab>alice@http://10.0.0.1:8080
    ");
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn a_clone_may_leave_the_remote_out() {
    let mut config = Config::default();
    let remote = Remote::with_account(
        "https://dothub.com".to_owned(),
        "alice".parse().unwrap(),
        SavedApiKey::new("secret".to_owned()),
    );
    config.remotes.insert("hub".parse().unwrap(), remote);
    let check = |words: &str| {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        match clone::arrange(&config, &words) {
            Ok(arranged) => format!("{arranged:?}"),
            Err(error) => error.render(),
        }
    };
    assert_snapshot!(check("hub app"), @r#"(Some("hub"), "app", None)"#);
    assert_snapshot!(check("hub bob/app master"), @r#"(Some("hub"), "bob/app", Some("master"))"#);
    assert_snapshot!(check("app"), @r#"(None, "app", None)"#);
    assert_snapshot!(check("bob/app master"), @r#"(None, "bob/app", Some("master"))"#);
    assert_snapshot!(check("app@feature/login"), @r#"(None, "app@feature/login", None)"#);
    assert_snapshot!(check("hub bob/app feature/login"), @r#"(Some("hub"), "bob/app", Some("feature/login"))"#);
    assert_snapshot!(check("hbu app"), @r#"(Some("hbu"), "app", None)"#);
    assert_snapshot!(check("hub"), @r"
    Error: Please specify which dot to clone from 'hub'
    hint: For example: dm clone hub mobycounter_app
    ");
}

#[test]
fn an_address_finds_its_remote() {
    let mut config = Config::default();
    let mut add = |name: &str, user: &str, address: &str| {
        let remote = Remote::with_account(
            address.to_owned(),
            user.parse().unwrap(),
            SavedApiKey::new("secret".to_owned()),
        );
        config.remotes.insert(name.parse().unwrap(), remote);
    };
    add("a-lab", "alice", "http://10.0.0.1:8080");
    add("work", "alice", "https://Hub.example.com:443/");
    add("work-bob", "bob", "hub.example.com");
    let check = |config: &Config, address: &str| match clone::at_address(config, address) {
        Ok(source) => format!("{}", source.remote_name),
        Err(error) => error.render(),
    };
    let page = "https://hub.example.com/alice/app/commit/0123abcd";
    assert_eq!(check(&config, page), "work");
    assert_eq!(check(&config, "http://10.0.0.1:8080/alice/app"), "a-lab");
    config.default_remote = Some("work-bob".parse().unwrap());
    assert_eq!(check(&config, page), "work-bob");
    config.default_remote = Some("a-lab".parse().unwrap());
    assert_eq!(check(&config, page), "work");

    assert_snapshot!(check(&config, "https://10.0.0.1:8080/alice/app"), @"10.0.0.1");
    assert_snapshot!(check(&config, "https://hub.example.com/alice/app/compare/master...v1"), @r"
    Error: the address compares two states, master and v1
    hint: Clone one of them: open its page, and paste that page's address.
    ");
    assert_snapshot!(check(&config, "https://hub.example.com/-/login"), @r"
    Error: 'https://hub.example.com/-/login' is not the address of a dot's page
    hint: Paste the address of a dot, or of a branch or commit of one, such as https://HUB/OWNER/DOT/commit/ID.
    ");
    for branch in ["feature~2flogin", "feature%2Flogin", "v1.2", "$(id)"] {
        let page = format!("https://hub.example.com/alice/app/tree/{branch}");
        assert_eq!(check(&config, &page), "work");
    }
    assert_snapshot!(check(&config, "https://hub.example.com/alice/app/tree/a%20b"), @"Error: invalid branch name 'a b': it has a space; use a name that git takes, such as feature/login or v1.2");
}

#[test]
fn a_state_is_worked_on_with_a_branch_that_is_at_it() {
    let check = |reference: &str, heads: &[&str]| {
        let resolved = ResolvedRef {
            commit: given::id(0xa1),
            heads: heads.iter().map(|name| given::branch(name)).collect(),
        };
        let state = match State::of(&resolved, &reference.parse().unwrap()) {
            Ok(state) => state,
            Err(error) => return error.render(),
        };
        let commit = if state.commit.is_some() {
            "commit"
        } else {
            "head"
        };
        format!("{} {commit}", state.branch)
    };
    assert_eq!(
        check("many-users", &["a", "many-users", "master"]),
        "many-users head"
    );
    assert_eq!(
        check("a1a1a1", &["a", "many-users", "master"]),
        "master commit"
    );
    for reference in ["feature/login", "feature~2flogin"] {
        assert_eq!(
            check(reference, &["a", "feature/login", "master"]),
            "feature/login head"
        );
    }
    assert_eq!(check("v1", &["a", "many-users"]), "a commit");
    assert_eq!(check("v1", &[]), "at-a1a1a1a1a1 commit");
    // A full id means the commit, even if a branch has that name.
    let id = "a1".repeat(16);
    assert_eq!(check(&id, &["a", &id]), "a commit");
    assert_eq!(check(&id.to_uppercase(), &["a", &id]), "a commit");
    let other = "b2".repeat(16);
    assert_snapshot!(check(&other, &[&other]), @r"
    Error: the hub has a branch or a tag named b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2, but it is not at the commit with that id
    hint: Clone the branch by its name: dm clone REMOTE DOT BRANCH
    ");
}

#[test]
fn what_was_pushed_has_an_address() {
    let branch = |name: &str, head, receiver_ahead| BranchOutcome {
        name: given::branch(name),
        head: given::id(head),
        commits: 1,
        is_new: false,
        stashed: None,
        replaced: None,
        receiver_ahead,
    };
    let outcome = TransferOutcome {
        branches: vec![
            branch("master", 0xa1, false),
            branch("behind", 0xc3, true),
            branch("many-users", 0xb2, false),
        ],
        ..TransferOutcome::default()
    };
    let hub = "localhost:8180".parse().unwrap();
    let dot = "admin/app".parse().unwrap();
    assert_snapshot!(push::permalinks(&hub, &dot, &outcome).join("\n"), @r"
    http://localhost:8180/admin/app/commit/a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
    http://localhost:8180/admin/app/commit/b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2
    ");
}

#[test]
fn a_login_is_named_after_its_host() {
    let mut config = Config::default();
    let mut name = |user: &str, address: &str| {
        let remote = Remote::with_account(
            address.to_owned(),
            user.parse().unwrap(),
            SavedApiKey::new("secret".to_owned()),
        );
        let host = remote.hub().unwrap();
        let name = config.name_for(host.host(), &remote);
        config.put_remote(name.clone(), remote);
        name.to_string()
    };
    assert_eq!(name("alice", "https://hub.example.com"), "hub.example.com");
    assert_eq!(
        name("bob", "https://hub.example.com"),
        "hub.example.com-bob"
    );
    assert_eq!(name("alice", "http://[::1]:8180"), "hub");
    assert_eq!(name("bob", "http://[::1]:8180"), "hub-2");
    assert_eq!(
        name("alice", "hub.example.com:443"),
        "hub.example.com",
        "as before"
    );
    let long = format!("https://{}.example.com", "a".repeat(80));
    assert_eq!(name("alice", &long), "hub-3");
}

#[test]
fn a_hub_cannot_send_the_browser_elsewhere() {
    let visitor = HubVisitor::new("https://hub.example.com".parse().unwrap()).unwrap();
    let page = |path: &str| {
        let login = DeviceLogin {
            device_code: "secret".to_owned(),
            user_code: "BCDF-GHJK".to_owned(),
            verification_path: path.to_owned(),
            interval: 2,
            expires_in: 600,
        };
        login::verification_page(&visitor, &login).ok()
    };
    let good = "https://hub.example.com/-/authorize".to_owned();
    assert_eq!(page("/-/authorize"), Some(good.clone()));
    // The URL must not contain the code: the user has to type it.
    assert_eq!(page("/-/authorize?code=BCDF-GHJK"), Some(good));
    for bad in [
        "",
        "authorize",
        ".evil.example/-/authorize",
        "@evil.example/-/authorize",
        ":1/-/",
        "https://evil.example/-/authorize",
        "//evil.example",
        "/-/x y",
        "/-/x;y",
        "/-/\u{1b}[31m",
        "/-/$(id)",
    ] {
        assert_eq!(page(bad), None, "{bad}");
    }
}

#[test]
fn a_browser_may_say_where_the_address_goes() {
    let words = |command: &str| browser::words(command, "https://hub").join("|");
    assert_eq!(words("firefox"), "firefox|https://hub");
    assert_eq!(words("w3m -M %s -4"), "w3m|-M|https://hub|-4");
    assert_eq!(words(" "), "");
}

#[test]
fn a_rename_on_the_hub_is_told_and_followed() {
    let remote = Remote::with_account(
        "https://hub".to_owned(),
        "alice".parse().unwrap(),
        SavedApiKey::new("secret".to_owned()),
    );
    let plan = |remote_dot: &str| Plan {
        direction: Direction::Push,
        remote_name: "hub".parse().unwrap(),
        remote: remote.clone(),
        local: "app".parse().unwrap(),
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
    let mut config = NodeConfig::default();
    let mut upstream_after = |asked: &str, renamed: Option<&str>| {
        let renamed = renamed.map(|name| name.parse().unwrap());
        transfer::remember(&mut config, &plan(asked), renamed.as_ref());
        let (hub, app) = ("hub".parse().unwrap(), "app".parse().unwrap());
        config.upstream(&hub, &app).unwrap().full()
    };
    assert_eq!(upstream_after("alice/app", None), "alice/app");
    assert_eq!(
        upstream_after("alice/app", Some("alice/shop")),
        "alice/shop"
    );
    // A dot that was named for one transfer only does not become the upstream.
    assert_eq!(upstream_after("bob/copy", Some("bob/other")), "alice/shop");
    let shop = "alice/shop".parse().unwrap();
    let plan = plan("alice/app");
    let told = transfer::renamed(&plan.remote_name, &plan.remote_dot, &shop);
    assert_eq!(told, "hub:alice/app is called alice/shop now");
}

#[test]
fn a_transfer_is_summed_up() {
    let plain = BranchOutcome {
        name: given::branch("many-users"),
        head: given::id(0xb2),
        commits: 2,
        is_new: false,
        stashed: None,
        replaced: None,
        receiver_ahead: false,
    };
    let outcome = TransferOutcome {
        branches: vec![
            plain.clone(),
            BranchOutcome {
                commits: 1,
                ..plain.clone()
            },
            BranchOutcome {
                commits: 0,
                ..plain.clone()
            },
            BranchOutcome {
                commits: 0,
                receiver_ahead: true,
                ..plain.clone()
            },
            BranchOutcome {
                stashed: Some(given::branch("master-DIVERGED-2026-01-31T12-00-00Z")),
                ..plain
            },
        ],
        along: Vec::new(),
        progress: TransferProgress {
            wire: 3 << 19,
            deduplicated: 5 << 20,
            ..TransferProgress::default()
        },
        sockets: SkippedSockets {
            count: 1,
            first: vec!["run/app.sock".to_owned()],
        },
        renamed: None,
        left_out: given::left_out(12),
        ..TransferOutcome::default()
    };
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @r"
    many-users: 2 commits, now at b2b2b2b2b2
    many-users: 1 commit, now at b2b2b2b2b2
    many-users: up to date, at b2b2b2b2b2
    many-users: the remote is ahead, nothing to do; 'dm pull' fetches its commits
    many-users: diverged, the remote's line is now branch 'master-DIVERGED-2026-01-31T12-00-00Z'; 2 commits, now at b2b2b2b2b2
    Done! 1.50 MiB sent (saved 5.00 MiB by deduplication)
    Skipped a socket, which holds no data: run/app.sock
    Left out 12 items that cannot be pushed:
      dev/null: a device node
      and 11 more, see the commit's page on the hub
    ");
    assert_snapshot!(transfer::summary(Direction::Pull, &outcome).join("\n"), @r"
    many-users: 2 commits, now at b2b2b2b2b2
    many-users: 1 commit, now at b2b2b2b2b2
    many-users: up to date, at b2b2b2b2b2
    many-users: ahead of the remote, nothing to do; 'dm push' sends your commits
    many-users: diverged, the local line is now branch 'master-DIVERGED-2026-01-31T12-00-00Z'; 2 commits, now at b2b2b2b2b2
    Done! 1.50 MiB received (saved 5.00 MiB by deduplication)
    Skipped a socket, which holds no data: run/app.sock
    The newest commit came without 12 items, because they were left out when it was pushed:
      dev/null: a device node
      and 11 more, see the commit's page on the hub
    ");
    assert_snapshot!(transfer::summary(Direction::Clone, &outcome).join("\n"), @r"
    many-users: 2 commits, now at b2b2b2b2b2
    many-users: 1 commit, now at b2b2b2b2b2
    many-users: at b2b2b2b2b2
    many-users: ahead of the remote, nothing to do; 'dm push' sends your commits
    many-users: diverged, the local line is now branch 'master-DIVERGED-2026-01-31T12-00-00Z'; 2 commits, now at b2b2b2b2b2
    Done! 1.50 MiB received (saved 5.00 MiB by deduplication)
    Skipped a socket, which holds no data: run/app.sock
    The newest commit came without 12 items, because they were left out when it was pushed:
      dev/null: a device node
      and 11 more, see the commit's page on the hub
    ");
}

#[test]
fn a_push_names_each_branch_that_the_hub_got() {
    let branch = |name: &str, head, commits, is_new| BranchOutcome {
        name: given::branch(name),
        head: given::id(head),
        commits,
        is_new,
        stashed: None,
        replaced: None,
        receiver_ahead: false,
    };
    let mut outcome = TransferOutcome {
        branches: vec![branch("many-users", 0xb2, 3, true)],
        along: vec![
            branch("feature/login", 0xa1, 2, false),
            branch("master", 0xa0, 1, true),
        ],
        ..TransferOutcome::default()
    };
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @r"
    many-users: 3 commits, now at b2b2b2b2b2 (new branch)
    feature/login: 2 commits, now at a1a1a1a1a1; pushed too, because many-users was started from it
    master: 1 commit, now at a0a0a0a0a0 (new branch); pushed too, because many-users was started from it
    ");
    let mut cloned = outcome.clone();
    cloned.along = vec![branch("master", 0xa0, 0, true)];
    assert_snapshot!(transfer::summary(Direction::Clone, &cloned).join("\n"), @r"
    many-users: 3 commits, now at b2b2b2b2b2 (new branch)
    master: at a0a0a0a0a0; received too, because it leads to many-users
    ");
    outcome.branches.push(branch("same", 0xb2, 0, true));
    outcome.along.truncate(1);
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @r"
    many-users: 3 commits, now at b2b2b2b2b2 (new branch)
    same: new branch, at b2b2b2b2b2
    feature/login: 2 commits, now at a1a1a1a1a1; pushed too, because a pushed branch was started from it
    ");
}

#[test]
fn a_forced_push_says_what_the_branch_left() {
    let forced = |commits| BranchOutcome {
        name: given::branch("many-users"),
        head: given::id(0xb2),
        commits,
        is_new: false,
        stashed: None,
        replaced: Some(given::id(0xa1)),
        receiver_ahead: false,
    };
    let outcome = TransferOutcome {
        branches: vec![forced(0), forced(2)],
        ..TransferOutcome::default()
    };
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @r"
    many-users: forced, the remote's branch left a1a1a1a1a1, which stays there under its id; now at b2b2b2b2b2
    many-users: forced, the remote's branch left a1a1a1a1a1, which stays there under its id; 2 commits, now at b2b2b2b2b2
    ");
}

#[test]
fn commits_without_data_are_told() {
    let mut outcome = TransferOutcome {
        without_data: 2,
        filled: 1,
        ..TransferOutcome::default()
    };
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @r"
    2 older commits sent without their data, which is not on this machine
    Sent the data of 1 older commit, which the remote did not have
    ");
    outcome.without_data = 1;
    outcome.filled = 0;
    assert_snapshot!(transfer::summary(Direction::Pull, &outcome).join("\n"), @"1 older commit received without its data, which is not on the remote");
    outcome.without_data = 0;
    outcome.not_filled = Some(ErrorBody::new(
        ErrorCode::NoSpace,
        "the hub has no space left",
    ));
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @"The remote lacks the data of older commits, and sending it failed: the hub has no space left. The next push tries again.");

    let mut log = given::log();
    log.without_data.insert(given::id(0xa1));
    let lines = log::oneline(&log);
    assert!(lines.contains("(master) [no data] Empty state"), "{lines}");
    let full = log::full(&log, &jiff::tz::TimeZone::UTC);
    assert!(
        full.contains("data: neither here nor at https://dothub.com, dot alice/app"),
        "{full}"
    );
}

#[test]
fn errors_say_what_why_and_what_next() {
    let body = ErrorBody::new(
        ErrorCode::Dirty,
        "there are 1.00 MiB of uncommitted changes",
    )
    .hint("Commit them with 'dm commit'.");
    let refused = CliError::from(body);
    assert_snapshot!(refused.render(), @r"
    Error: there are 1.00 MiB of uncommitted changes
    hint: Commit them with 'dm commit'.
    ");
    assert_eq!(refused.exit_code(), 1);

    let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let quiet = CliError::output(gone);
    assert_eq!((quiet.render().as_str(), quiet.exit_code()), ("", 0));

    let hub = CliError::from(ErrorBody::new(
        ErrorCode::Unreachable,
        "cannot reach the hub",
    ));
    assert_eq!(hub.exit_code(), 3);
    assert_eq!(CliError::cancelled().exit_code(), 130);
    assert_snapshot!(CliError::cancelled().render(), @"Cancelled. Nothing was changed on the receiving side.");
}

#[test]
fn metadata_is_split_at_the_first_equals_sign() {
    let parse = |pair: &str| match commit::parse_metadata(&[pair.to_owned()]) {
        Ok(metadata) => format!("{metadata:?}"),
        Err(error) => error.render(),
    };
    assert_snapshot!(parse("url=a=b,c=d"), @r#"{"url": "a=b,c=d"}"#);
    assert_snapshot!(parse("empty="), @r#"{"empty": ""}"#);
    assert_snapshot!(parse("nothing"), @"Error: Each metadata value must be a name=value pair: nothing");
    assert_snapshot!(parse("Upper=x"), @"Error: Metadata field names must start with lowercase characters: Upper");
}

#[test]
fn a_commit_says_where_it_is_and_which_code_it_records() {
    let describe = |code: Option<CodeVersion>| {
        let commit = NewCommit {
            code,
            ..given::new_commit()
        };
        commit.describe().join("\n")
    };
    let code = CodeVersion {
        remote: None,
        branch: Some("main".to_owned()),
        commit: "0123456789abcdef".to_owned(),
        dirty: false,
        work_tree: None,
    };
    assert_snapshot!(describe(None), @"[mobycounter_app feature/login b2b2b2b2b2] Empty state");
    assert_snapshot!(describe(Some(code.clone())), @r"
    [mobycounter_app feature/login b2b2b2b2b2] Empty state
    Code: git commit main 0123456789, clean
    ");
    let detached = CodeVersion {
        branch: None,
        dirty: true,
        ..code
    };
    assert_snapshot!(describe(Some(detached)), @r"
    [mobycounter_app feature/login b2b2b2b2b2] Empty state
    Code: git commit 0123456789, with uncommitted changes
    ");
}

#[test]
fn a_commit_warns_when_its_code_is_not_that_of_the_project() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    for folder in ["app/.git", "app/compose", "other/.git", "plain"] {
        std::fs::create_dir_all(home.join(folder)).unwrap();
    }
    std::os::unix::fs::symlink(home.join("app"), home.join("link")).unwrap();
    let code = CodeVersion {
        remote: None,
        branch: None,
        commit: "0123456789abcdef".to_owned(),
        dirty: false,
        work_tree: None,
    };
    let check = |folder: &str, code: Option<&CodeVersion>, projects: &[&str]| {
        let images: Vec<_> = projects
            .iter()
            .map(|place| ImageUse {
                compose: Some(ComposeUse {
                    project: "moby".to_owned(),
                    service: "db".to_owned(),
                    working_dir: home.join(place).display().to_string(),
                    config_files: Vec::new(),
                }),
                ..ImageUse::default()
            })
            .collect();
        commit::other_code(&home.join(folder), code, &images)
            .unwrap_or_default()
            .replace(home.to_str().unwrap(), "$HOME")
    };
    let code = Some(&code);
    assert_eq!(check("app", code, &["app"]), "");
    assert_eq!(check("app/compose", code, &["link"]), "");
    assert_eq!(check("link", code, &["app/compose", "app"]), "");
    assert_eq!(check("app", code, &[]), "", "no container of Compose");
    assert_eq!(check("plain", None, &["plain"]), "", "no git at all");
    assert_eq!(check("app", None, &["app"]), "", "no commits in it yet");
    assert_eq!(
        check("app", code, &["other", "app"]),
        "",
        "one of two projects"
    );
    assert_snapshot!(check("app", code, &["other"]), @"the commit records the code in $HOME/app, but Compose project 'moby' runs from $HOME/other; run 'dm commit' there to record its code");
    assert_snapshot!(check("app", code, &["plain"]), @"the commit records the code in $HOME/app, but Compose project 'moby' runs from $HOME/plain");
    assert_snapshot!(check("plain", None, &["app"]), @"the commit records no code version, but Compose project 'moby' runs from $HOME/app; run 'dm commit' there to record its code");
    assert_snapshot!(check("other", None, &["app"]), @"the commit records no code version, but Compose project 'moby' runs from $HOME/app; run 'dm commit' there to record its code");
}

#[test]
fn all_that_a_machine_lacks_is_told_at_once() {
    let bare = machine::Machine {
        dotmeshd: None,
        docker: false,
        btrfs: false,
        mkfs: false,
    };
    assert_snapshot!(bare.ready().unwrap_err().render(), @r"
    Error: this machine lacks what Dotmesh needs: btrfs in the kernel, dotmeshd, docker, mkfs.btrfs
    hint: RHEL, CentOS Stream, Rocky and Alma need another kernel, e.g. ELRepo's kernel-ml. Others: install the kernel's extra modules.
    hint: Put 'dotmeshd' beside 'dm', or into a folder of PATH.
    hint: Install Docker, see https://docs.docker.com/engine/install/, or do without it: --docker-plugin none
    hint: Install it: 'apt-get install btrfs-progs', or 'dnf install btrfs-progs'.
    ");
}

#[test]
fn the_unit_starts_the_daemon_with_what_was_given() {
    let args = init::Args {
        root: "/var/lib/dot mesh".into(),
        socket: None,
        docker_plugin: Some("none".to_owned()),
        docker_host: None,
        pool: Some("/dev/sdb".into()),
        pool_size: Some("20G".to_owned()),
        pool_limit: Some("100G".to_owned()),
        https_proxy: Some("http://proxy:3128".to_owned()),
        http_proxy: None,
        no_proxy: Some("localhost,10.0.0.0/8".to_owned()),
        ca_file: Some("/etc/ssl/own.pem".into()),
    };
    let words = args.for_daemon(
        Path::new("/run/dotmesh/api.sock"),
        Some("tcp://127.0.0.1:2375"),
    );
    assert_snapshot!(service::unit(Path::new("/usr/bin/dotmeshd"), &words), @r#"
    [Unit]
    Description=Dotmesh: git for the state of a running app
    After=local-fs.target
    Before=docker.service podman-restart.service

    [Service]
    EnvironmentFile=-/etc/dotmesh/dotmeshd.env
    ExecStart=/usr/bin/dotmeshd --root "/var/lib/dot mesh" --socket /run/dotmesh/api.sock --docker-plugin none --docker-host tcp://127.0.0.1:2375 --pool /dev/sdb --pool-limit 100G --https-proxy http://proxy:3128 --no-proxy localhost,10.0.0.0/8 --ca-file /etc/ssl/own.pem
    Restart=always
    RestartSec=1
    KillMode=process
    UMask=0077

    [Install]
    WantedBy=multi-user.target
    "#);
}

#[test]
fn systemd_makes_the_volume_drivers_socket() {
    let words = ["--docker-plugin", "/run/docker/plugins/other.sock"].map(Into::into);
    assert_snapshot!(service::socket_unit(&words).unwrap(), @r"
    [Unit]
    Description=Docker's way to the volume driver of Dotmesh
    Before=docker.service

    [Socket]
    ListenStream=/run/docker/plugins/other.sock
    SocketMode=0600
    RemoveOnStop=yes

    [Install]
    WantedBy=sockets.target
    ");
    let unit = service::unit(Path::new("/usr/bin/dotmeshd"), &words);
    assert!(unit.contains("Requires=dotmeshd.socket\n"), "{unit}");
    assert_eq!(
        service::socket_unit(&["--docker-plugin", "none"].map(Into::into)),
        None
    );
}

#[test]
fn the_unit_is_read_back_as_it_was_written() {
    let words: Vec<_> = ["--root", "/a \"b\"\\c 100% $HOME", "--pool=/srv/pool"]
        .iter()
        .map(std::ffi::OsString::from)
        .collect();
    let unit = service::unit(Path::new("/usr/bin/dotmeshd"), &words);
    let read = service::words_in(&unit).unwrap();
    assert_eq!(read[0], "/usr/bin/dotmeshd");
    assert_eq!(
        service::option_of(&read, "--root").as_deref(),
        words[1].to_str()
    );
    assert_eq!(
        service::option_of(&read, "--pool").as_deref(),
        Some("/srv/pool")
    );
    assert_eq!(service::option_of(&read, "--socket"), None);
}

#[test]
fn a_reset_says_what_it_stops_unmounts_and_deletes() {
    let sockets = ["/run/dotmesh/api.sock", "/run/docker/plugins/dm.sock"];
    let mut plan = cluster_reset::Plan {
        pid: Some(123),
        has_unit: true,
        sockets: sockets.map(Into::into).to_vec(),
        root: "/var/lib/dotmesh".into(),
        has_data: true,
        deletion: None,
    };
    assert_snapshot!(plan.render(), @r"
    This is what 'dm cluster reset' does here:
      stops      dotmeshd, process 123, and removes its systemd service
      removes    the sockets /run/dotmesh/api.sock, /run/docker/plugins/dm.sock
      unmounts   nothing
      deletes    nothing
      keeps      the dots, in /var/lib/dotmesh
    ");
    plan.has_unit = false;
    plan.deletion = Some(cluster_reset::Deletion {
        dots: vec!["app".to_owned(), "shop".to_owned()],
        places: Places {
            own: vec!["/mnt/app".into(), "/var/lib/dotmesh/pool".into()],
            ..Places::default()
        },
        ..Default::default()
    });
    assert_snapshot!(plan.render(), @r"
    This is what 'dm cluster reset' does here:
      stops      dotmeshd, process 123
      removes    the sockets /run/dotmesh/api.sock, /run/docker/plugins/dm.sock
      unmounts   /mnt/app, /var/lib/dotmesh/pool
      deletes    /var/lib/dotmesh, with 2 dots: app, shop
    ");
    plan.pid = None;
    plan.deletion = Some(cluster_reset::Deletion {
        elsewhere: Some("/dev/sdb".to_owned()),
        keeps_folder: true,
        ..Default::default()
    });
    assert_snapshot!(plan.render(), @r"
    This is what 'dm cluster reset' does here:
      stops      nothing, as dotmeshd does not run
      removes    the sockets /run/dotmesh/api.sock, /run/docker/plugins/dm.sock
      unmounts   nothing
      deletes    everything in /var/lib/dotmesh
      keeps      the pool with the dots, at /dev/sdb
    ");
}

#[test]
fn a_reset_knows_the_mounts_that_are_dotmeshs() {
    let root = Path::new("/var/lib/dotmesh");
    let check = |table: &str, pool: PoolPlace| {
        let places = Places::of(table, root, &pool);
        let error = places.refuse_foreign(root).err();
        format!(
            "own {}\nroot is mount: {}\n{}",
            list_places(&places.own),
            places.root_is_mount,
            error.map(|error| error.render()).unwrap_or_default()
        )
    };
    // Disk for the root, pool on it, a container's mount, a 'dm mount' elsewhere, and another node's pool.
    let table = "\
36 35 98:0 / / rw - ext4 /dev/sda rw
37 36 98:1 / /var/lib/dotmesh rw - ext4 /dev/sdb rw
40 37 0:50 / /var/lib/dotmesh/pool rw - btrfs /dev/loop0 rw
41 37 0:50 /dots/admin/app/branches/master/data/db /var/lib/dotmesh/mounts/3 rw - btrfs /dev/loop0 rw
42 36 0:50 /dots/admin/app/branches/master/data/db /home/a/my\\040data rw - btrfs /dev/loop0 rw
43 36 0:51 / /var/lib/dotmesh2/pool rw - btrfs /dev/loop1 rw
";
    assert_snapshot!(check(table, PoolPlace::Mounted), @r"
    own /home/a/my data, /var/lib/dotmesh/mounts/3, /var/lib/dotmesh/pool
    root is mount: true
    ");
    let foreign = format!(
        "{table}44 40 0:52 / /var/lib/dotmesh/pool/dots/admin rw - tmpfs none rw\n45 37 98:0 /home /var/lib/dotmesh/backup rw - ext4 /dev/sda rw\n"
    );
    assert_snapshot!(check(&foreign, PoolPlace::Mounted), @r"
    own /home/a/my data, /var/lib/dotmesh/mounts/3, /var/lib/dotmesh/pool
    root is mount: true
    Error: these mounts below /var/lib/dotmesh are not Dotmesh's: /var/lib/dotmesh/pool/dots/admin, /var/lib/dotmesh/backup
    hint: Unmount them with 'umount', then try again.
    ");
    // If the pool's place is unknown, no mount counts as the pool.
    assert_snapshot!(check(table, PoolPlace::Unknown), @r"
    own /var/lib/dotmesh/mounts/3
    root is mount: true
    Error: these mounts below /var/lib/dotmesh are not Dotmesh's: /var/lib/dotmesh/pool
    hint: Unmount them with 'umount', then try again.
    ");
    // The pool is in a folder of the user's own btrfs. The user's other mounts of that filesystem stay.
    let table = "\
36 35 98:0 / / rw - ext4 /dev/sda rw
40 36 0:50 / /srv rw - btrfs /dev/sdc rw
41 36 0:50 /home /home rw - btrfs /dev/sdc rw
42 36 0:50 /pool/dots/admin/app/branches/master/data/db /var/lib/dotmesh/mounts/1 rw - btrfs /dev/sdc rw
43 36 0:50 /pool/dots/admin/app/branches/master/data/db /mnt/app rw - btrfs /dev/sdc rw
";
    assert_snapshot!(check(table, PoolPlace::Folder("/srv/pool".into())), @r"
    own /mnt/app, /var/lib/dotmesh/mounts/1
    root is mount: false
    ");
}

#[test]
fn what_is_deleted_is_gone_and_what_is_not_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (root, outside) = (home.path().join("root"), home.path().join("outside"));
    std::fs::create_dir_all(root.join("mounts/user")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(root.join("pool.img"), "pool").unwrap();
    std::fs::write(outside.join("kept"), "kept").unwrap();
    std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
    cluster_reset::delete_content(&root).unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    assert!(outside.join("kept").exists());
    let error = cluster_reset::delete_content(&home.path().join("gone")).unwrap_err();
    assert!(error.render().contains("cannot look into"), "{error:?}");
}

#[test]
fn the_file_of_variables_is_read_as_systemd_does() {
    let text = "# proxies\n; of the company\n\nHTTPS_PROXY=http://proxy:3128\n NO_PROXY = \"a, b\" \nX='y=z'\nnothing\n=x\n";
    let variables = service::variables_in(text);
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        variables,
        [
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("NO_PROXY", "a, b"),
            ("X", "y=z")
        ]
    );
}

#[test]
fn variables_that_only_the_shell_has_are_told_where_they_matter() {
    let names =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    for (ours, daemons, hub, missing) in [
        ("HTTPS_PROXY", "", "https://hub", "HTTPS_PROXY"),
        (
            "HTTPS_PROXY NO_PROXY",
            "",
            "https://hub",
            "HTTPS_PROXY NO_PROXY",
        ),
        ("HTTPS_PROXY", "", "http://hub", ""),
        ("HTTP_PROXY", "", "https://hub", ""),
        ("HTTP_PROXY", "", "http://hub", "HTTP_PROXY"),
        ("ALL_PROXY", "HTTP_PROXY", "https://hub", "ALL_PROXY"),
        ("ALL_PROXY", "HTTPS_PROXY", "https://hub", ""),
        ("NO_PROXY", "", "https://hub", ""),
        ("NO_PROXY", "HTTPS_PROXY", "https://hub", "NO_PROXY"),
        ("SSL_CERT_FILE", "", "https://hub", "SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "", "http://hub", ""),
        ("SSL_CERT_DIR", "SSL_CERT_FILE", "https://hub", ""),
        (
            "HTTPS_PROXY SSL_CERT_FILE",
            "HTTPS_PROXY",
            "https://hub",
            "SSL_CERT_FILE",
        ),
    ] {
        let found = network::missing(&names(ours), &names(daemons), hub);
        assert_eq!(found, names(missing), "{ours} / {daemons} / {hub}");
    }
    assert!(network::hints(&[], true).is_empty());
    let hints = network::hints(&names("HTTPS_PROXY SSL_CERT_FILE"), true).join("\n");
    assert_snapshot!(hints, @r"
    Your shell has HTTPS_PROXY, SSL_CERT_FILE, but the daemon does not, and the daemon is what connects to hubs.
    Give it to the daemon:
      sudo mkdir -p /etc/dotmesh
      env | grep -iE '^(HTTPS_PROXY|SSL_CERT_FILE)=' | sudo tee -a /etc/dotmesh/dotmeshd.env >/dev/null
      sudo systemctl restart dotmeshd
    ");
}
