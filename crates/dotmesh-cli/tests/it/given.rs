//! Data that tests share.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_api::node::{BranchDetail, Committed, DotDetail, DotSummary, Log, Source};
use dotmesh_cli::commands::branch::{Branch, Branches};
use dotmesh_cli::commands::commit::NewCommit;
use dotmesh_cli::commands::dot::show::Dot;
use dotmesh_cli::config::Upstream;
use dotmesh_model::{
    BranchName, CodeVersion, CommitId, CommitRecord, DotName, ImageUse, LeftOut, LeftOutItem,
};

pub(crate) fn id(byte: u8) -> CommitId {
    CommitId::from_bytes([byte; 16])
}

pub(crate) fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

pub(crate) fn name(name: &str) -> DotName {
    name.parse().unwrap()
}

pub(crate) fn upstream() -> Upstream {
    Upstream {
        remote: "hub".parse().unwrap(),
        dot: name("alice/mobycounter_app"),
    }
}

pub(crate) fn branches() -> Branches {
    let titles = ["Created user1...user11", "Empty state"];
    let branches = dot().branches.into_iter().zip(titles);
    Branches {
        dot: name("mobycounter_app"),
        current: branch("many-users"),
        branches: branches
            .map(|(branch, title)| Branch {
                branch,
                title: Some(title.to_owned()),
            })
            .collect(),
        with_commits: false,
    }
}

pub(crate) fn shown_dot() -> Dot {
    Dot {
        detail: dot(),
        is_current: true,
        upstreams: vec![upstream()],
        scripting: false,
    }
}

pub(crate) fn new_commit() -> NewCommit {
    NewCommit {
        dot: name("mobycounter_app"),
        made: Committed {
            id: id(0xb2),
            branch: branch("feature/login"),
            images: Vec::new(),
        },
        message: "Empty state\n\nmore".to_owned(),
        code: None,
        replaced: None,
        warning: None,
    }
}

pub(crate) fn dots() -> Vec<DotSummary> {
    let row =
        |name: &str, branch_name: &str, containers: &[&str], size, commits, dirty| DotSummary {
            name: name.parse().unwrap(),
            branch: branch(branch_name),
            server: "4b4e13b2bfff64ce".to_owned(),
            containers: containers.iter().map(|&name| name.to_owned()).collect(),
            size,
            commits,
            dirty,
            problems: Vec::new(),
            left_out: LeftOut::default(),
        };
    vec![
        row("alice/shop", "master", &[], 0, 0, 0),
        row(
            "mobycounter_app",
            "many-users",
            &["web_1", "/db_1"],
            31_457_286,
            2,
            1024,
        ),
    ]
}

pub(crate) fn dot() -> DotDetail {
    let detail = |name: &str, head, containers: &[&str]| BranchDetail {
        name: branch(name),
        head: id(head),
        origin: None,
        containers: containers.iter().map(|&name| name.to_owned()).collect(),
    };
    DotDetail {
        summary: dots().remove(1),
        id: "d33da9d6788e1243c2816cb26ba01509".to_owned(),
        branches: vec![
            detail("many-users", 0xb2, &["db_1", "web_1"]),
            detail("master", 0xa1, &[]),
        ],
    }
}

pub(crate) fn log() -> Log {
    let first = CommitRecord {
        version: 1,
        id: id(0xa1),
        parent: CommitId::ROOT,
        branch: branch("master"),
        author: "Alice <alice@example.com>".to_owned(),
        time: "2026-01-31T12:00:00Z".parse().unwrap(),
        message: "Empty state".to_owned(),
        metadata: BTreeMap::new(),
        images: Vec::new(),
        code: None,
        dot: None,
    };
    let second = CommitRecord {
        id: id(0xb2),
        parent: id(0xa1),
        branch: branch("many-users"),
        author: "bob@laptop".to_owned(),
        time: "2026-07-01T08:30:59Z".parse().unwrap(),
        message: "Log in as 'fred'\nand look\n\n  twice\n\u{1b}[31mred".to_owned(),
        metadata: BTreeMap::from([
            ("issue".to_owned(), "12".to_owned()),
            ("lines".to_owned(), "one\nauthor: two".to_owned()),
        ]),
        images: vec![ImageUse {
            container: "clicks".to_owned(),
            image: "redis:7".to_owned(),
            digest: "redis@sha256:beef".to_owned(),
            ..ImageUse::default()
        }],
        code: Some(CodeVersion {
            remote: Some("https://example.com/moby-counter".to_owned()),
            branch: Some("multiple-services".to_owned()),
            commit: "cafe".to_owned(),
            dirty: true,
            work_tree: None,
        }),
        ..first.clone()
    };
    Log {
        commits: vec![second, first],
        branches: BTreeMap::from([
            (branch("aspect-ratios"), id(0xb2)),
            (branch("many-users"), id(0xb2)),
            (branch("master"), id(0xa1)),
        ]),
        current: branch("many-users"),
        absent: BTreeMap::from([(
            id(0xa1),
            Source {
                hub: "https://dothub.com".to_owned(),
                dot: "alice/app".parse().unwrap(),
            },
        )]),
        without_data: BTreeSet::new(),
        left_out: BTreeMap::from([(id(0xa1), left_out(2))]),
        ancestors: BTreeMap::new(),
        tags: BTreeMap::from([(branch("v1.2"), id(0xb2))]),
        unknown: 0,
    }
}

/// A list of left-out items: `count` in total, but only one with its details.
pub(crate) fn left_out(count: u64) -> LeftOut {
    LeftOut {
        count,
        items: vec![LeftOutItem {
            path: "dev/null".to_owned(),
            reason: "a device node".to_owned(),
        }],
    }
}
