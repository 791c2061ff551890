//! `dothub check`: every kind of damage is found, and a repair lets the next push bring what is lost.

use std::path::PathBuf;

use dotmesh_api::{ErrorCode, HubClient};
use dotmesh_hub_service::operations::check::{CheckReport, Defect};
use dotmesh_store::PackId;
use serde_json::Value;

use crate::backup::has;
use crate::bounds;
use crate::place::Place;
use crate::repack::{Line, check, collect, repack};
use crate::support::{TestHub, dot, finish, pack, refused};

const NAME: &str = "alice/app";

struct Scene {
    hub: TestHub,
    alice: HubClient,
    line: Line,
}

impl Scene {
    /// A dot with three commits. `repacked` of them are repacked, and the others build on them.
    async fn new(place: Place, repacked: usize) -> Self {
        let hub = TestHub::start_in(place).await;
        let alice = hub.user("alice").await;
        let mut line = Line::new(&alice, NAME, 1);
        for number in 1..=3 {
            line.push().await;
            if number == repacked || repacked > 0 && number == 3 {
                repack(&hub).await;
                collect(&hub).await;
            }
        }
        assert_eq!(check(&hub, false).await.problems, []);
        Self { hub, alice, line }
    }

    async fn packs(&self) -> Vec<PackId> {
        let packs = self.hub.hub.packs.list().await.unwrap();
        packs.into_iter().map(|(pack, _)| pack).collect()
    }

    /// The pack with the first object that a commit has, and the one before has not.
    async fn pack_of(&self, commit: usize) -> PackId {
        let before = commit.checked_sub(1).map(|n| &self.line.made[n].1.objects);
        let objects = self.line.made[commit].1.objects.iter();
        let mut objects =
            objects.filter(|object| before.is_none_or(|before| !before.contains(object)));
        let first = objects.next().unwrap();
        let database = &self.hub.hub.database;
        let owner = database
            .user(&"alice".parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        let dots = database.dots_after(None, 9).await.unwrap();
        let hashes = [first.hash()];
        let found = database.locate(owner, dots[0].id, &hashes).await.unwrap();
        found[0].unwrap().pack
    }

    /// Checks that the damage is found, repaired, and found no more, and that a push brings everything again. Returns
    /// the problems.
    async fn is_repaired(&self, broken: &[usize]) -> Vec<Defect> {
        let found = check(&self.hub, false).await;
        assert_eq!(
            check(&self.hub, false).await,
            found,
            "a check changes nothing"
        );
        let commits = found.problems.iter().find_map(|problem| match problem {
            Defect::CommitsIncomplete { dot, commits, .. } if dot == NAME => Some(commits.clone()),
            _ => None,
        });
        let expected = broken
            .iter()
            .map(|n| self.line.made[*n].0.id)
            .collect::<Vec<_>>();
        assert_eq!(commits.unwrap_or_default(), expected, "{found:?}");
        let repaired = check(&self.hub, true).await;
        assert!(repaired.repaired);
        assert_eq!(repaired.problems, found.problems);
        let after = check(&self.hub, false).await;
        assert_eq!(
            (after.problems, after.repaired),
            (vec![], false),
            "{found:?}"
        );

        // What is whole can be had, and what is broken is said to be without its data.
        let app = dot(NAME);
        let told = self.alice.without_data(&app).await.unwrap().commits;
        assert_eq!(told.len(), broken.len());
        for (n, (_, files)) in self.line.made.iter().enumerate() {
            match broken.contains(&n) {
                false => has(&self.alice, NAME, files).await,
                true => {
                    let answer = self.alice.objects(&app, &files.hashes()).await;
                    refused(answer, ErrorCode::NotFound);
                }
            }
        }
        // A push is asked for what is lost, and not for everything.
        for n in broken {
            let (made, files) = &self.line.made[*n];
            let upload = self.alice.begin_upload(&app).await.unwrap();
            let hashes = files.hashes();
            let missing = self.alice.missing(&app, &upload, &hashes).await.unwrap();
            let wanted = files
                .objects
                .iter()
                .filter(|object| missing.contains(&object.hash()));
            self.alice
                .send_pack(&app, &upload, pack(wanted))
                .await
                .unwrap();
            let request = finish(&[made], vec![]);
            self.alice
                .finish_upload(&app, &upload, &request)
                .await
                .unwrap();
        }
        self.line.is_whole().await;
        assert_eq!(check(&self.hub, false).await.problems, []);
        // A repack stores anew what was beside the damage.
        repack(&self.hub).await;
        collect(&self.hub).await;
        collect(&self.hub).await;
        self.line.is_whole().await;
        for pack in self.packs().await {
            self.hub.hub.packs.get(pack).await.unwrap();
        }
        assert_eq!(check(&self.hub, false).await.problems, []);
        found.problems
    }
}

#[tokio::test]
async fn a_missing_pack() {
    let scene = Scene::new(Place::new().await, 0).await;
    let pack = scene.pack_of(1).await;
    scene.hub.hub.packs.delete(pack).await.unwrap();
    // The second push has changed a third of the pages. Most of them are in the third commit, too.
    let problems = scene.is_repaired(&[1, 2]).await;
    let missing =
        matches!(&problems[0], Defect::PackMissing { pack: lost, .. } if *lost == pack.to_string());
    assert!(missing, "{problems:?}");
}

#[tokio::test]
async fn a_missing_pack_that_others_build_on() {
    let scene = Scene::new(Place::new().await, 2).await;
    let base = scene.pack_of(0).await;
    assert_ne!(scene.pack_of(2).await, base);
    scene.hub.hub.packs.delete(base).await.unwrap();
    let problems = scene.is_repaired(&[0, 1, 2]).await;
    assert_eq!(problems.len(), 3, "{problems:?}");
}

fn path(place: &Place, pack: PackId) -> PathBuf {
    let name = pack.to_string();
    place
        .path()
        .join("objects/packs")
        .join(&name[..2])
        .join(&name)
}

fn flip(place: &Place, pack: PackId, at: impl Fn(usize) -> usize) {
    let path = path(place, pack);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
}

fn disk() -> Place {
    Place::folder(tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_flipped_byte_of_one_object() {
    let scene = Scene::new(disk(), 0).await;
    let pack = scene.pack_of(0).await;
    // The first object is a chunk of the first commit, and it is replaced by the third at the latest.
    flip(scene.hub.place(), pack, |_| 100);
    let found = check(&scene.hub, false).await;
    let broken: Vec<usize> = broken(&scene, &found);
    let problems = scene.is_repaired(&broken).await;
    assert_eq!(
        problems[0],
        Defect::PackDamaged {
            pack: pack.to_string(),
            lost_objects: 1
        }
    );
}

/// The numbers of the commits that are said to be incomplete.
fn broken(scene: &Scene, report: &CheckReport) -> Vec<usize> {
    let commits = report.problems.iter().flat_map(|problem| match problem {
        Defect::CommitsIncomplete { commits, .. } => commits.clone(),
        _ => Vec::new(),
    });
    let number = |id| scene.line.made.iter().position(|(made, _)| made.id == id);
    let numbers: Option<Vec<usize>> = commits.map(number).collect();
    numbers.unwrap()
}

#[tokio::test]
async fn a_flipped_byte_of_a_group_or_of_its_base() {
    for (of, at) in [(0, 3), (0, 0), (2, 2), (2, 0)] {
        let scene = Scene::new(disk(), 2).await;
        let pack = scene.pack_of(of).await;
        let place = |length: usize| match at {
            0 => 9,
            part => length * part / 4,
        };
        flip(scene.hub.place(), pack, place);
        let found = check(&scene.hub, false).await;
        let broken = broken(&scene, &found);
        assert!(!broken.is_empty(), "{found:?}");
        scene.is_repaired(&broken).await;
    }
}

#[tokio::test]
async fn a_byte_that_no_object_needs() {
    let scene = Scene::new(disk(), 0).await;
    let pack = scene.pack_of(0).await;
    let path = path(scene.hub.place(), pack);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.push(0);
    std::fs::write(&path, bytes).unwrap();
    let problems = scene.is_repaired(&[]).await;
    assert_eq!(
        problems,
        [Defect::PackDamaged {
            pack: pack.to_string(),
            lost_objects: 0
        }]
    );
}

#[tokio::test]
async fn a_missing_row() {
    let scene = Scene::new(Place::new().await, 0).await;
    // The objects of a pack are numbered by their hashes.
    let row = "SELECT min(id) FROM objects WHERE id / 1048576 = (SELECT min(id) FROM packs)";
    let statement = format!("DELETE FROM objects WHERE id = ({row})");
    bounds::run(scene.hub.place(), statement).await;
    let found = check(&scene.hub, false).await;
    let broken = broken(&scene, &found);
    let problems = scene.is_repaired(&broken).await;
    let incomplete = matches!(
        &problems[0],
        Defect::IndexIncomplete {
            rows_missing: 1,
            ..
        }
    );
    assert!(incomplete, "{problems:?}");
}

#[tokio::test]
async fn a_row_that_points_elsewhere() {
    for repacked in [0, 2] {
        let scene = Scene::new(Place::new().await, repacked).await;
        let of = "WHERE id / 1048576 = (SELECT min(id) FROM packs)";
        let statement = format!(
            "UPDATE objects SET frame = (SELECT frame FROM objects WHERE id = (SELECT max(id) FROM objects))
             WHERE id = (SELECT min(id) FROM objects {of})"
        );
        bounds::run(scene.hub.place(), statement).await;
        let found = check(&scene.hub, false).await;
        let broken = broken(&scene, &found);
        let problems = scene.is_repaired(&broken).await;
        let wrong = matches!(
            &problems[0],
            Defect::IndexWrong {
                lost_objects: 1,
                ..
            }
        );
        assert!(wrong, "{problems:?}");
    }
}

#[tokio::test]
async fn the_command_tells_what_is_lost() {
    let scene = Scene::new(disk(), 0).await;
    let pack = scene.pack_of(1).await;
    let commits = [1, 2].map(|n| scene.line.made[n].0.id.to_string());
    let place = scene.hub.stop().await;
    let whole = place.run(&["check"]);
    assert!(whole.status.success(), "{whole:?}");
    let text = String::from_utf8(whole.stdout).unwrap();
    assert!(text.starts_with("Checked 3 packs ("), "{text}");

    std::fs::remove_file(path(&place, pack)).unwrap();
    let found = place.run(&["check"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(
        text.contains(&format!("pack {pack} is missing: ")),
        "{text}"
    );
    let of_dot = format!(
        "alice/app has lost data of 2 commits: {}, {}",
        commits[0], commits[1]
    );
    assert!(text.contains(&of_dot), "{text}");
    let hint = String::from_utf8(found.stderr).unwrap();
    assert!(hint.contains("dothub check --repair"), "{hint}");

    let found = place.run(&["check", "--json"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(report["problems"][0]["problem"], "pack_missing");
    assert_eq!(report["problems"][0]["pack"], pack.to_string());
    assert_eq!(report["problems"][1]["problem"], "commits_incomplete");
    assert_eq!(report["problems"][1]["dot"], "alice/app");
    assert_eq!(report["problems"][1]["commits"], serde_json::json!(commits));
    assert_eq!(report["repaired"], false);

    let repaired = place.run(&["check", "--repair"]);
    assert!(repaired.status.success(), "{repaired:?}");
    let text = String::from_utf8(repaired.stdout).unwrap();
    assert!(text.contains("Push these dots again"), "{text}");
    assert!(place.run(&["check"]).status.success());
}
