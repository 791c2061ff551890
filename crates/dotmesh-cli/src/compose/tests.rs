//! What Compose prints of an app, and what a fork of it gets, as snapshots: one for each file of `tests/compose`.

use std::path::{Path, PathBuf};

use dotmesh_api::node::ForkPort;
use dotmesh_model::DotName;

use super::document::{Document, Generation, Origin, project_of};
use super::fork::{self, Fork};
use super::of_file;

fn read(name: &str, generation: Generation) -> Document {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose");
    let text = std::fs::read_to_string(folder.join(name)).expect("a configuration");
    let origin = Origin {
        generation,
        project: "login".to_owned(),
        profiles: vec!["metrics".to_owned()],
        driver: "dm:latest".to_owned(),
        folder: PathBuf::from("/home/alice/login"),
    };
    Document::read(&text, origin).expect("a document")
}

fn forked(document: &Document) -> serde_json::Value {
    let dot: DotName = "shop_app".parse().expect("a name");
    let ports = document.ports().into_iter().zip(23_000..);
    let fork = Fork {
        project: "shop-feature-login".to_owned(),
        dot,
        branch: "feature/login".parse().expect("a name"),
        suffix: "feature-login".to_owned(),
        stem: "shop".to_owned(),
        ports: ports
            .map(|(port, number)| ForkPort {
                service: port.service,
                target: port.target,
                protocol: port.protocol,
                published: port.published,
                port: number,
            })
            .collect(),
        images: [("reused".to_owned(), "login-reused".to_owned())].into(),
    };
    document.fork(&fork).expect("a fork")
}

#[test]
fn forks_of_many_apps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let generation = match name.contains("1.29") {
            true => Generation::One,
            false => Generation::Two,
        };
        let document = read(&name, generation);
        let notes: Vec<String> = document.notes().iter().map(ToString::to_string).collect();
        let forked = forked(&document);
        let json = serde_json::to_string_pretty(&forked).expect("JSON");
        let text = format!("{}\n\n{json}\n", notes.join("\n"));
        insta::assert_snapshot!(name.as_str(), text);
    }
}

/// Both generations resolve the same file, and its fork is the same app.
#[test]
fn a_fork_says_nothing_of_the_app_that_is_not_its_own() {
    for (name, generation) in [
        ("everything.1.29.yaml", Generation::One),
        ("everything.2.26.yaml", Generation::Two),
        ("everything.2.40.yaml", Generation::Two),
    ] {
        let document = read(name, generation);
        let app: DotName = "login_app".parse().expect("a name");
        let dots = document.dots().expect("names");
        assert_eq!(dots, [(app, "app".to_owned())], "{name}");
        let text = forked(&document).to_string();
        for own in ["8100", "10.77", "login_app", "\"login_cache"] {
            assert!(!text.contains(own), "{name}: {own} in {text}");
        }
        assert!(
            text.contains("shop_app@feature~2flogin.db"),
            "{name}: {text}"
        );
        // A text stays a text, although YAML 1.2 reads it as a number.
        assert!(text.contains(r#""E1":"1e3""#), "{name}: {text}");
        // What Compose escaped stays so.
        assert!(text.contains("echo $$HOME"), "{name}: {text}");
    }
}

#[test]
fn names_of_projects() {
    let branch = |name: &str| name.parse().expect("a name");
    assert_eq!(fork::slug(&branch("feature/Login.2")), "feature-login-2");
    assert_eq!(fork::slug(&branch("ä")), "fork");
    assert_eq!(fork::project("Shop", &branch("a/b"), false), "shop-a-b");
    let hashed = fork::project("shop", &branch("a/b"), true);
    assert_ne!(hashed, fork::project("shop", &branch("a-b"), true));
    let stem = |dot: &str, short| fork::stem(&dot.parse().expect("a name"), short);
    assert_eq!(stem("shop_app", "app"), "shop");
    assert_eq!(stem("app", "app"), "app");
    assert_eq!(stem("alice/other", "app"), "other");
    assert_eq!(
        project_of(Path::new("/home/alice/Moby Counter")),
        "mobycounter"
    );
    let file = "# a comment\nA=1\nexport COMPOSE_PROJECT_NAME='shop'\nB=\n";
    assert_eq!(
        of_file(file, "COMPOSE_PROJECT_NAME").as_deref(),
        Some("shop")
    );
    assert_eq!(of_file(file, "B"), None);
}
