//! What `dm clone` tells about starting the app.

use dotmesh_cli::start::Start;
use dotmesh_model::commit::ComposeUse;
use dotmesh_model::{CommitRecord, DotName, ImageUse};

use crate::given;

fn record(dot: Option<&str>, projects: &[&str]) -> CommitRecord {
    let container = |project: &&str| ImageUse {
        compose: Some(ComposeUse {
            project: (*project).to_owned(),
            service: "db".to_owned(),
            working_dir: "/srv/shop/deploy".to_owned(),
            config_files: vec!["/srv/shop/deploy/docker-compose.yml".to_owned()],
        }),
        ..ImageUse::default()
    };
    let mut record = given::log().commits.remove(0);
    record.images = projects.iter().map(container).collect();
    record.dot = dot.map(|name| name.parse().unwrap());
    if let Some(code) = &mut record.code {
        code.work_tree = Some("/srv/shop".to_owned());
    }
    record
}

fn start(record: &CommitRecord, local: &str) -> Start {
    Start::of(record, &local.parse().unwrap())
}

fn with(project: &str) -> Start {
    let up = format!("docker compose -p {project} up -d");
    Start::With(vec!["cd deploy".to_owned(), up])
}

#[test]
fn the_commands_are_those_of_the_compose_that_is_here() {
    let shop = start(&record(Some("shop_app"), &["shop"]), "shop_app");
    let up = "docker-compose -p shop up -d".to_owned();
    let expected = Start::With(vec!["cd deploy".to_owned(), up]);
    assert_eq!(shop.with("docker-compose"), expected);
}

#[test]
fn the_project_is_the_one_that_finds_the_dot() {
    let shop = record(Some("shop_app"), &["shop", "shop"]);
    assert_eq!(start(&shop, "shop_app"), with("shop"));
    assert_eq!(start(&shop, "copy_app"), with("copy"));
    let other: DotName = "shop_app".parse().unwrap();
    assert_eq!(start(&shop, "app-fork"), Start::Of(other));
    // Commits of earlier versions do not record the name of the dot.
    assert_eq!(start(&record(None, &["shop"]), "shop_app"), with("shop"));
    assert_eq!(
        start(&record(Some("shop_app"), &[]), "shop_app"),
        Start::Unknown
    );
}
