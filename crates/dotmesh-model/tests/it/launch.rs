//! The commands that start an app. Whatever a record contains, they run only what is intended.

use dotmesh_model::commit::ComposeUse;
use dotmesh_model::launch::{project_for, quote};
use dotmesh_model::{CodeVersion, ImageUse, Launch};
use proptest::prelude::*;

fn code(remote: Option<&str>) -> CodeVersion {
    CodeVersion {
        remote: remote.map(str::to_owned),
        branch: Some("main".to_owned()),
        commit: "cafe".to_owned(),
        dirty: false,
        work_tree: Some("/home/alice/shop".to_owned()),
    }
}

fn container(project: &str, folder: &str, files: &[&str]) -> ImageUse {
    ImageUse {
        compose: Some(ComposeUse {
            project: project.to_owned(),
            service: "web".to_owned(),
            working_dir: folder.to_owned(),
            config_files: files.iter().map(|file| (*file).to_owned()).collect(),
        }),
        ..ImageUse::default()
    }
}

/// All commands for one container.
fn commands(remote: Option<&str>, folder: &str, files: &[&str]) -> Vec<String> {
    let launch = Launch::new(Some(&code(remote)), &[container("shop", folder, files)]);
    let enter = launch.enter();
    let mut lines = launch.code;
    lines.extend(enter);
    lines.extend(launch.start);
    lines
}

#[test]
fn code_and_project_of_every_kind() {
    let remote = Some("https://example.com/team/shop.git");
    let top = [
        "git clone https://example.com/team/shop.git",
        "cd shop",
        "git checkout cafe",
    ];
    for (folder, files, rest) in [
        // Compose 2 stores absolute paths. Compose 1 stores the given paths, and older versions nothing.
        (
            "/home/alice/shop",
            &["/home/alice/shop/docker-compose.yml"][..],
            &["docker compose -p shop up -d"][..],
        ),
        (
            "/home/alice/shop",
            &["docker-compose.yml"],
            &["docker compose -p shop up -d"],
        ),
        (
            "/home/alice/shop",
            &["./docker-compose.yml"],
            &["docker compose -p shop up -d"],
        ),
        ("/home/alice/shop", &[], &["docker compose -p shop up -d"]),
        (
            "/home/alice/shop",
            &[
                "/home/alice/shop/compose.yaml",
                "/home/alice/shop/compose.override.yaml",
            ],
            &["docker compose -p shop up -d"],
        ),
        (
            "/home/alice/shop/deploy/local",
            &["/home/alice/shop/deploy/local/compose.yml"],
            &["cd deploy/local", "docker compose -p shop up -d"],
        ),
        (
            "/home/alice/shop/deploy",
            &["deploy/docker-compose.yml"],
            &["cd deploy", "docker compose -p shop up -d"],
        ),
        (
            "/home/alice/shop/deploy",
            &[
                "/home/alice/shop/deploy/test.yml",
                "/home/alice/shop/more.yml",
            ],
            &[
                "cd deploy",
                "docker compose -p shop -f test.yml -f ../more.yml up -d",
            ],
        ),
        (
            "/home/alice/shop",
            &["deploy/local.yml"],
            &["docker compose -p shop --project-directory . -f deploy/local.yml up -d"],
        ),
        // These folders are outside the work tree, so no clone has them.
        (
            "/srv/shop",
            &["/srv/shop/docker-compose.yml"],
            &["docker compose -p shop up -d"],
        ),
        ("", &["x.yml"], &["docker compose -p shop -f x.yml up -d"]),
    ] {
        let expected = [&top[..], rest].concat();
        assert_eq!(
            commands(remote, folder, files),
            expected,
            "{folder} {files:?}"
        );
    }
}

#[test]
fn the_folder_is_the_one_that_git_makes() {
    for (remote, folder) in [
        ("git@example.com:team/shop.git", "shop"),
        ("ssh://git@example.com/shop/", "shop"),
        ("/srv/git/shop/.git", "shop"),
        ("/tmp/shop", "shop"),
        ("example.com:shop", "shop"),
    ] {
        let lines = commands(Some(remote), "/home/alice/shop", &[]);
        assert_eq!(
            lines[..2],
            [format!("git clone {remote}"), format!("cd {folder}")]
        );
    }
    for remote in [
        "https://example.com",
        "https://example.com/",
        "/srv/a b",
        "/srv/.hidden",
    ] {
        let lines = commands(Some(remote), "/home/alice/shop", &[]);
        assert!(
            lines[0].ends_with(" app") && lines[1] == "cd app",
            "{lines:?}"
        );
    }
    // No other user can clone from these.
    for remote in [None, Some("../shop"), Some("--upload-pack=x")] {
        let lines = commands(remote, "/home/alice/shop", &[]);
        assert_eq!(lines, ["git checkout cafe", "docker compose -p shop up -d"]);
    }
}

#[test]
fn several_projects_are_started_from_the_top() {
    let images = [
        container(
            "shop",
            "/home/alice/shop/a",
            &["/home/alice/shop/a/docker-compose.yml"],
        ),
        container(
            "shop",
            "/home/alice/shop/a",
            &["/home/alice/shop/a/docker-compose.yml"],
        ),
        container("jobs", "/home/alice/shop/b", &[]),
        ImageUse::default(),
    ];
    let launch = Launch::new(Some(&code(None)), &images);
    assert_eq!(launch.enter(), None);
    assert_eq!(
        launch.start,
        [
            "docker compose -p shop -f a/docker-compose.yml up -d",
            "docker compose -p jobs --project-directory b up -d",
        ]
    );
    assert_eq!(Launch::new(None, &[ImageUse::default()]), Launch::default());
}

#[test]
fn a_dot_of_another_name_has_a_project_of_another_name() {
    let other = |project: &str, dot: &str, other: &str| {
        project_for(project, &dot.parse().unwrap(), &other.parse().unwrap())
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(other("shop", "shop_app", "shop_app"), some("shop"));
    assert_eq!(other("shop", "shop_app", "copy_app"), some("copy"));
    assert_eq!(other("shop", "shop_app", "copy_of_app"), some("copy_of"));
    // A volume with an explicit name belongs to any project.
    assert_eq!(other("shop", "app", "app"), some("shop"));
    for name in ["copy", "copy_ap", "_app", "Copy_app", "bob/copy_app"] {
        assert_eq!(other("shop", "shop_app", name), None, "{name}");
    }
    assert_eq!(other("shop", "app", "copy"), None);
}

#[test]
fn what_is_in_a_record_runs_nothing() {
    assert_eq!(quote("git@github.com:a/b.git"), "git@github.com:a/b.git");
    assert_eq!(quote("a; rm -rf /"), "'a; rm -rf /'");
    assert_eq!(quote("a'\n$(b)"), r"'a'\''$(b)'");
    let evil = "$(touch /evil)";
    let code = CodeVersion {
        commit: evil.to_owned(),
        ..code(Some(evil))
    };
    let launch = Launch::new(
        Some(&code),
        &[container(evil, "/home/alice/shop/-x", &[evil])],
    );
    assert_eq!(launch.enter().unwrap(), "cd ./-x");
    assert_eq!(launch.code, ["git clone '$(touch /evil)' app", "cd app"]);
    assert_eq!(
        launch.start,
        ["docker compose -p '$(touch /evil)' --project-directory . -f '$(touch /evil)' up -d"]
    );
}

proptest! {
    #[test]
    fn any_record_has_whole_commands(
        remote in "\\PC{0,20}", commit in "\\PC{0,8}", work_tree in "[/a.]{0,9}",
        project in "\\PC{0,9}", folder in "[/a.]{0,9}", files in proptest::collection::vec("[/a.]{0,9}", 0..3),
    ) {
        let code = CodeVersion {
            remote: Some(remote), branch: None, commit, dirty: false, work_tree: Some(work_tree),
        };
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let launch = Launch::new(Some(&code), &[container(&project, &folder, &files)]);
        for line in launch.code.iter().chain(&launch.start) {
            // Outside of quotes, the shell finds nothing special.
            let outside: String = line.replace(r"'\''", "").split('\'').step_by(2).collect();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=, \\".contains(c);
            prop_assert!(outside.chars().all(plain), "{line}");
        }
    }
}
