//! What commands print, from data.

use std::path::Path;

use dotmesh_api::HubVisitor;
use dotmesh_api::hub::{DeviceLogin, ResolvedRef};
use dotmesh_api::node::{BranchOutcome, SkippedSockets, TransferOutcome, TransferProgress};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_cli::browser;
use dotmesh_cli::commands::cluster::{init, machine, reset as cluster_reset, service};
use dotmesh_cli::commands::dot::{delete, show};
use dotmesh_cli::commands::{branch, clone, commit, list, log, login, push, remote, reset};
use dotmesh_cli::config::{ApiKey, Config, NodeConfig, Remote};
use dotmesh_cli::error::CliError;
use dotmesh_cli::resolve::State;
use dotmesh_cli::transfer;
use dotmesh_cli::ui::printable;
use dotmesh_model::CommitId;
use insta::assert_snapshot;
use jiff::tz::TimeZone;

use crate::given;

#[test]
fn dots_are_listed() {
    let dots = given::dots();
    assert_snapshot!(list::for_people(&dots, Some(&dots[1].name)), @r"
      DOT              BRANCH      SERVER            CONTAINERS    SIZE       COMMITS  DIRTY
      alice/shop       master      4b4e13b2bfff64ce                -          0        -
    * mobycounter_app  many-users  4b4e13b2bfff64ce  /web_1,/db_1  30.00 MiB  2        1.00 kiB
    ");
    assert_snapshot!(list::for_scripts(&dots).replace('\t', "<tab>"), @r"
    alice/shop<tab>master<tab>4b4e13b2bfff64ce<tab><tab>0<tab>0<tab>0<tab>
    mobycounter_app<tab>many-users<tab>4b4e13b2bfff64ce<tab>/web_1,/db_1<tab>31457286<tab>2<tab>1024<tab>
    ");
}

#[test]
fn the_log_is_shown() {
    let log = given::log();
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    assert_snapshot!(log::full(&log, &zone).replace('\u{1b}', "<escape>"), @r"
    commit b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2 (HEAD -> many-users, aspect-ratios)
    author: bob@laptop
    date: Wed Jul 1 10:30:59 2026 +0200
    branch: many-users
    issue: 12
    lines: one
        author: two
    image: clicks: redis:7 (redis@sha256:beef)
    code: https://example.com/moby-counter multiple-services cafe (with uncommitted changes)

        Log in as 'fred'

          twice
        <escape>[31mred

    commit a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 (master)
    author: Alice <alice@example.com>
    date: Sat Jan 31 13:00:00 2026 +0100
    branch: master
    data: at https://dothub.com, dot alice/app, not here

        Empty state
    ");
    assert_snapshot!(log::oneline(&log), @r"
    b2b2b2b2b2 (HEAD -> many-users, aspect-ratios) Log in as 'fred'
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
fn branches_are_listed() {
    assert_snapshot!(branch::render(&given::dot()), @r"
    * many-users
      master
    ");
}

#[test]
fn a_dot_is_shown() {
    let mut config = NodeConfig::default();
    let dot = given::dot();
    config.current_dot = Some(dot.summary.name.clone());
    let upstream = "alice/mobycounter_app".parse().unwrap();
    let upstreams = [(dot.summary.name.clone(), upstream)].into();
    config.upstreams.insert("hub".parse().unwrap(), upstreams);
    assert_snapshot!(show::for_people(&dot, &config), @r"
    Dot admin/mobycounter_app:
    Master branch ID: d33da9d6788e1243c2816cb26ba01509
    Dot is currently selected.
    Commits: 2
    Dot size: 30.00 MiB (1.00 kiB dirty)
    Branches:
    * many-users (b2b2b2b2b2) (containers: /db_1,/web_1)
      master (a1a1a1a1a1)
    Tracks dot alice/mobycounter_app on remote hub
    ");
    assert_snapshot!(show::for_scripts(&dot, &config).replace('\t', "<tab>"), @r"
    namespace<tab>admin
    name<tab>mobycounter_app
    masterBranchId<tab>d33da9d6788e1243c2816cb26ba01509
    selected
    commitCount<tab>2
    size<tab>31457286
    dirty<tab>1024
    currentBranch<tab>many-users
    branch<tab>b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2<tab>many-users
    container<tab>many-users<tab>/db_1
    container<tab>many-users<tab>/web_1
    branch<tab>a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1<tab>master
    defaultUpstreamDot<tab>hub<tab>alice/mobycounter_app
    ");
}

#[test]
fn what_a_deletion_loses_is_told() {
    let mut dot = given::dot();
    assert_snapshot!(delete::loss(&dot, 2), @"Dot mobycounter_app has 2 branches (many-users, master), 2 commits, and 1.00 kiB uncommitted on branch many-users");
    dot.branches.remove(0);
    dot.summary.dirty = 0;
    assert_snapshot!(delete::loss(&dot, 1), @"Dot mobycounter_app has 1 branch (master), 1 commit");
    assert_snapshot!(cluster_reset::loss(&given::dots(), Path::new("/var/lib/dotmesh")), @"/var/lib/dotmesh holds 2 dots: alice/shop, mobycounter_app");
}

#[test]
fn a_reset_says_where_head_is() {
    assert_snapshot!(reset::describe(given::id(0xa1), Some("Empty state\n\nmore")), @"HEAD is now at a1a1a1a1a1 Empty state");
    assert_snapshot!(reset::describe(given::id(0xa1), None), @"HEAD is now at a1a1a1a1a1");
    assert_snapshot!(reset::describe(CommitId::ROOT, None), @"HEAD is now at the empty state before the first commit");
}

#[test]
fn remotes_are_listed() {
    let mut config = Config::default();
    let mut add = |name: &str, address: &str| {
        let remote = Remote {
            user: "alice".parse().unwrap(),
            address: address.to_owned(),
            api_key: ApiKey::new("secret".to_owned()),
        };
        config.remotes.insert(name.parse().unwrap(), remote);
    };
    add("hub", "https://dothub.com");
    add("lab", "http://10.0.0.1:8080");
    add("here", "http://localhost:8080");
    config.default_remote = Some("hub".parse().unwrap());
    assert_snapshot!(remote::render(&config, false), @r"
    here
    hub
    lab
    ");
    assert_snapshot!(remote::render(&config, true).replace('\t', "<tab>"), @r"
      here<tab>alice@localhost:8080
    * hub<tab>alice@dothub.com
      lab<tab>alice@http://10.0.0.1:8080
    ");
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn a_clone_may_leave_the_remote_out() {
    let mut config = Config::default();
    let remote = Remote {
        user: "alice".parse().unwrap(),
        address: "https://dothub.com".to_owned(),
        api_key: ApiKey::new("secret".to_owned()),
    };
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
        let remote = Remote {
            user: user.parse().unwrap(),
            address: address.to_owned(),
            api_key: ApiKey::new("secret".to_owned()),
        };
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

    assert_snapshot!(check(&config, "https://10.0.0.1:8080/alice/app"), @r"
    Error: no remote is a login at https://10.0.0.1:8080
    hint: Log in there first: dm login https://10.0.0.1:8080
    ");
    assert_snapshot!(check(&config, "https://hub.example.com/alice/app/compare/master...v1"), @r"
    Error: the address compares two states, master and v1
    hint: Clone one of them: open its page, and paste the address of that.
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
        let state = State::of(&resolved, &reference.parse().unwrap());
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
}

#[test]
fn what_was_pushed_has_an_address() {
    let branch = |name: &str, head, receiver_ahead| BranchOutcome {
        name: given::branch(name),
        head: given::id(head),
        commits: 1,
        stashed: None,
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
    assert_snapshot!(push::permalinks(&hub, &dot, &outcome), @r"
    http://localhost:8180/admin/app/commit/a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
    http://localhost:8180/admin/app/commit/b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2
    ");
}

#[test]
fn a_login_is_named_after_its_host() {
    let mut config = Config::default();
    let mut name = |user: &str, address: &str| {
        let remote = Remote {
            user: user.parse().unwrap(),
            address: address.to_owned(),
            api_key: ApiKey::new("secret".to_owned()),
        };
        let host = remote.hub().unwrap();
        let name = login::name_for(&config, host.host(), &remote);
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
    let good = "/-/authorize?code=BCDF-GHJK";
    assert_eq!(page(good), Some(format!("https://hub.example.com{good}")));
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
fn a_transfer_is_summed_up() {
    let plain = BranchOutcome {
        name: given::branch("many-users"),
        head: given::id(0xb2),
        commits: 2,
        stashed: None,
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
        progress: TransferProgress {
            wire: 3 << 19,
            deduplicated: 5 << 20,
            ..TransferProgress::default()
        },
        sockets: SkippedSockets {
            count: 1,
            first: vec!["run/app.sock".to_owned()],
        },
    };
    assert_snapshot!(transfer::summary(Direction::Push, &outcome).join("\n"), @r"
    many-users: 2 commits, now at b2b2b2b2b2
    many-users: 1 commit, now at b2b2b2b2b2
    many-users: up to date, at b2b2b2b2b2
    many-users: the remote is ahead, nothing to do; 'dm pull' fetches its commits
    many-users: diverged, the remote's line is now branch 'master-DIVERGED-2026-01-31T12-00-00Z'; 2 commits, now at b2b2b2b2b2
    Done! 1.50 MiB sent (saved 5.00 MiB by deduplication)
    Passed over a socket, which holds nothing to keep: run/app.sock
    ");
    assert_snapshot!(transfer::summary(Direction::Pull, &outcome).join("\n"), @r"
    many-users: 2 commits, now at b2b2b2b2b2
    many-users: 1 commit, now at b2b2b2b2b2
    many-users: up to date, at b2b2b2b2b2
    many-users: ahead of the remote, nothing to do; 'dm push' sends your commits
    many-users: diverged, the local line is now branch 'master-DIVERGED-2026-01-31T12-00-00Z'; 2 commits, now at b2b2b2b2b2
    Done! 1.50 MiB received (saved 5.00 MiB by deduplication)
    Passed over a socket, which holds nothing to keep: run/app.sock
    ");
    assert_snapshot!(transfer::summary(Direction::Clone, &outcome).join("\n"), @r"
    many-users: 2 commits, now at b2b2b2b2b2
    many-users: 1 commit, now at b2b2b2b2b2
    many-users: at b2b2b2b2b2
    many-users: ahead of the remote, nothing to do; 'dm push' sends your commits
    many-users: diverged, the local line is now branch 'master-DIVERGED-2026-01-31T12-00-00Z'; 2 commits, now at b2b2b2b2b2
    Done! 1.50 MiB received (saved 5.00 MiB by deduplication)
    Passed over a socket, which holds nothing to keep: run/app.sock
    ");
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
fn all_that_a_machine_lacks_is_told_at_once() {
    let bare = machine::Machine {
        dotmeshd: None,
        docker: false,
        btrfs: false,
        mkfs: false,
    };
    assert_snapshot!(bare.ready().unwrap_err().render(), @r"
    Error: this machine lacks what Dotmesh needs: dotmeshd, docker, btrfs in the kernel, mkfs.btrfs
    hint: Put 'dotmeshd' beside 'dm', or into a folder of PATH.
    hint: Install Docker, see https://docs.docker.com/engine/install/, or do without it: --docker-plugin none
    hint: Load it with 'modprobe btrfs'; a kernel without it needs its package of extra modules, or another kernel.
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
        pool_limit: None,
    };
    let words = args.for_daemon(
        Path::new("/run/dotmesh/api.sock"),
        Some("tcp://127.0.0.1:2375"),
    );
    assert_snapshot!(service::unit(Path::new("/usr/bin/dotmeshd"), &words), @r#"
    [Unit]
    Description=Dotmesh: git for the state of a running app
    After=local-fs.target
    Before=docker.service

    [Service]
    ExecStart=/usr/bin/dotmeshd --root "/var/lib/dot mesh" --socket /run/dotmesh/api.sock --docker-plugin none --docker-host tcp://127.0.0.1:2375 --pool /dev/sdb --pool-size 20G
    Restart=always
    RestartSec=1
    KillMode=process

    [Install]
    WantedBy=multi-user.target
    "#);
}

#[test]
fn mounts_are_taken_away_from_the_innermost() {
    let table = "\
36 35 98:0 / / rw - ext4 /dev/sda rw
40 36 0:50 / /var/lib/dotmesh/pool rw - btrfs /dev/loop0 rw
41 40 0:51 / /var/lib/dotmesh/pool/a\\040b rw - tmpfs none rw
42 36 0:52 / /var/lib/dotmesh2/pool rw - btrfs /dev/loop1 rw
";
    let places = cluster_reset::mounts_below(table, Path::new("/var/lib/dotmesh"));
    assert_eq!(
        places,
        [
            Path::new("/var/lib/dotmesh/pool/a b"),
            Path::new("/var/lib/dotmesh/pool")
        ]
    );
}
