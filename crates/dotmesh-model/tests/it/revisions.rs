//! Revisions: every form that names a commit, and the errors for those that name none.

use std::collections::BTreeMap;

use dotmesh_model::{BranchName, CommitId, History, Revision};
use proptest::prelude::*;

const A: &str = "aaaa0000000000000000000000000001";
const B: &str = "aaaa0000000000000000000000000002";
const C: &str = "cafe0000000000000000000000000003";

fn resolve(text: &str) -> String {
    let id = |text: &str| text.parse::<CommitId>().expect("an id");
    let mut history = History::default();
    history.insert(id(A), CommitId::ROOT);
    history.insert(id(B), id(A));
    history.insert(id(C), id(B));
    let branches: BTreeMap<BranchName, CommitId> = [
        ("master", B),
        ("cafe", C),
        ("feature/login", B),
        ("v1.2", C),
        (A, B),
        ("ffff0000000000000000000000000004", B),
    ]
    .map(|(name, head)| (name.parse().expect("a name"), id(head)))
    .into();
    let revision = match text.parse::<Revision>() {
        Ok(revision) => revision,
        Err(error) => return error.to_string(),
    };
    match revision.resolve(id(C), &branches, &history) {
        Ok(id) => id.to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_way_to_name_a_commit() {
    let texts = [
        "HEAD",
        "HEAD^",
        "HEAD^^",
        "HEAD~2",
        "HEAD~",
        "HEAD^~1",
        "HEAD~3",
        "HEAD~4",
        "master",
        "master^",
        "cafe",
        "cafe0",
        "CAFE0",
        "aaaa",
        "aaaa0000000000000000000000000001",
        "AAAA0000000000000000000000000001",
        "ffff0000000000000000000000000004",
        "aaa",
        "beef",
        "nothing",
        "",
        "^",
        "HEAD~x",
        "HEAD^2x",
        "a/b",
        "feature/login",
        "feature/login^",
        "v1.2~2",
        "v1.2~3",
        "a..b",
        "-a",
        "feature~2flogin",
        "HEAD~99999999999999999999",
    ];
    let lines: Vec<String> = texts
        .iter()
        .map(|text| format!("{text:?}: {}", resolve(text)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        let _ = resolve(&text);
    }
}
