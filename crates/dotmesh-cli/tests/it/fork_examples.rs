//! An example of what each command about forks returns.

use dotmesh_api::node::{Fork, ForkContainer, ForkPort, ForkState};
use dotmesh_cli::commands::*;
use dotmesh_cli::compose::powers::Powers;

use crate::given::{self, id, name};
use crate::json::Example;

fn fork() -> Fork {
    Fork {
        dot: name("shop_app"),
        branch: given::branch("feature/login"),
        head: id(0xb2),
        project: "shop-feature-login".to_owned(),
        folder: Some("/home/alice/shop-login".into()),
        state: ForkState::Running,
        containers: vec![ForkContainer {
            name: "shop-feature-login-web-1".to_owned(),
            service: "web".to_owned(),
            state: "running".to_owned(),
            health: Some("healthy".to_owned()),
            exit_code: None,
        }],
        ports: vec![
            ForkPort {
                service: "web".to_owned(),
                target: 80,
                protocol: "tcp".to_owned(),
                published: 8100,
                port: 23417,
            },
            ForkPort {
                service: "users-db".to_owned(),
                target: 5432,
                protocol: "tcp".to_owned(),
                published: 5432,
                port: 24009,
            },
        ],
        made: "2026-07-01T08:30:59Z".parse().unwrap(),
        expires: Some("2026-07-03T08:30:59Z".parse().unwrap()),
        size: 3 << 20,
        config: None,
    }
}

/// What is done with forks.
pub(crate) fn forks() -> Vec<Example> {
    let values = env::values(&fork(), &Default::default()).unwrap();
    vec![
        Example::of(
            "dm up",
            &up::Up {
                fork: fork(),
                is_new: true,
                notes: vec![
                    "volume shop_cache is not of driver dm: the fork begins with an empty one"
                        .to_owned(),
                ],
            },
        ),
        Example::of(
            "dm run",
            &run::Ran {
                repository: "https://github.com/dotmesh-io/moby-counter".to_owned(),
                code: "65074c81c348ba05841cea147bc4cb6e1e4a2e77".to_owned(),
                work_tree: "/home/alice/moby-counter-65074c8".into(),
                powers: Powers {
                    images: vec!["postgres:15".to_owned(), "redis:7".to_owned()],
                    builds: vec!["web".to_owned()],
                    outside: vec!["/etc/ssl in web".to_owned()],
                    privileges: vec!["web has cap_add NET_ADMIN".to_owned()],
                    ports: vec!["8100".to_owned()],
                },
                other_images: vec![run::OtherImage {
                    image: "redis:7".to_owned(),
                    recorded: "sha256:1d3b".to_owned(),
                    here: "sha256:9f86".to_owned(),
                }],
                up: up::Up {
                    fork: fork(),
                    is_new: false,
                    notes: Vec::new(),
                },
            },
        ),
        Example::of(
            "dm ps",
            &ps::Forks {
                forks: vec![fork()],
                names: false,
            },
        ),
        Example::of(
            "dm down",
            &down::Down {
                dot: name("shop_app"),
                branch: given::branch("feature/login"),
                deleted: false,
            },
        ),
        Example::of("dm env", &env::Values { values }),
        Example::of(
            "dm url",
            &url::Address {
                service: "web".to_owned(),
                port: 23417,
                url: "http://localhost:23417".to_owned(),
            },
        ),
        Example::of("dm compose", &compose::Nothing {}),
        Example::of(
            "dm hook install",
            &hook::install::Installed {
                file: "/home/alice/shop/.git/hooks/post-checkout".into(),
                folder: ".".to_owned(),
                changed: true,
                hints: Vec::new(),
            },
        ),
        Example::of(
            "dm hook uninstall",
            &hook::uninstall::Uninstalled {
                file: "/home/alice/shop/.git/hooks/post-checkout".into(),
                changed: true,
            },
        ),
    ]
}

#[test]
fn a_template_gives_programs_what_they_need() {
    let template = [(
        "DATABASE_URL".to_owned(),
        "postgres://localhost:${USERS_DB_PORT}/a$$b".to_owned(),
    )];
    let values = env::values(&fork(), &template.into()).unwrap();
    assert_eq!(values["WEB_URL"], "http://localhost:23417");
    assert_eq!(values["DATABASE_URL"], "postgres://localhost:24009/a$b");
    let wrong = [("A".to_owned(), "${NO_PORT}".to_owned())];
    let refused = env::values(&fork(), &wrong.into()).unwrap_err();
    assert!(
        refused.contains("A in dotmesh.toml uses NO_PORT"),
        "{refused}"
    );
}

#[test]
fn forks_are_listed_with_ages_and_ports() {
    let now = "2026-07-01T10:30:59Z".parse().unwrap();
    insta::assert_snapshot!(ps::listed(&[fork()], now), @r"
    FORK           DOT       STATE               AGE  EXPIRES  SIZE      PORTS                     FOLDER
    feature/login  shop_app  running, no folder  2h   in 1d    3.00 MiB  web:23417 users-db:24009  /home/alice/shop-login
    ");
}
