//! The client accepts a hub's history only if every seal is right.

use dotmesh_api::hub::{CommitList, SealedCommit};
use dotmesh_model::{BranchName, CommitId, CommitRecord, ObjectHash};
use dotmesh_store::{ROOT_SEAL, seal};
use dotmesh_sync::{HistoryError, verify_commits};

fn id(n: u8) -> CommitId {
    CommitId::from_bytes([n; 16])
}

fn record(n: u8) -> String {
    let record = CommitRecord {
        version: 1,
        id: id(n),
        parent: id(n - 1),
        branch: BranchName::master(),
        author: "alice".to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
        message: format!("commit {n}"),
        metadata: Default::default(),
        images: Vec::new(),
        code: None,
        dot: None,
    };
    String::from_utf8(record.encode()).expect("JSON")
}

/// Commits 1 to `n`, newest first. Commit 0 is the root commit.
fn history(n: u8) -> CommitList {
    let mut commits = Vec::new();
    let mut parent = ROOT_SEAL;
    for n in 1..=n {
        let (record, root) = (record(n), ObjectHash::from_bytes([n; 32]));
        parent = seal(parent, record.as_bytes(), root);
        commits.insert(
            0,
            SealedCommit {
                seal: parent,
                root,
                record,
                left_out: None,
                without_data: false,
            },
        );
    }
    CommitList { commits }
}

fn check(list: &CommitList, head: u8, known: &[(u8, ObjectHash)]) -> Result<Vec<u8>, HistoryError> {
    let known = |commit| {
        known
            .iter()
            .find(|(n, _)| id(*n) == commit)
            .map(|(_, seal)| *seal)
    };
    let commits = verify_commits(list, id(head), known)?;
    Ok(commits
        .iter()
        .map(|commit| commit.record.id.as_bytes()[0])
        .collect())
}

#[test]
fn an_honest_history_is_returned_oldest_first_up_to_what_is_known() {
    let list = history(4);
    let seal_of_2 = list.commits[2].seal;
    assert_eq!(check(&list, 4, &[]).expect("verify"), [1, 2, 3, 4]);
    assert_eq!(check(&list, 4, &[(2, seal_of_2)]).expect("verify"), [3, 4]);
    assert_eq!(
        check(&list, 4, &[(4, list.commits[0].seal)]).expect("verify"),
        [0u8; 0]
    );
    let newest = CommitList {
        commits: list.commits[..2].to_vec(),
    };
    assert_eq!(
        check(&newest, 4, &[(2, seal_of_2)]).expect("verify"),
        [3, 4]
    );
    assert_eq!(
        check(
            &CommitList {
                commits: Vec::new()
            },
            0,
            &[]
        )
        .expect("verify"),
        [0u8; 0]
    );
}

#[test]
fn every_lie_is_found() {
    use HistoryError::*;
    let list = history(4);
    let lie = |change: &dyn Fn(&mut Vec<SealedCommit>)| {
        let mut list = list.clone();
        change(&mut list.commits);
        check(&list, 4, &[]).expect_err("a lie")
    };
    assert!(
        matches!(lie(&|commits| commits[1].root = ObjectHash::from_bytes([9; 32])), WrongSeal { commit } if commit == id(3))
    );
    assert!(
        matches!(lie(&|commits| commits[3].record = commits[3].record.replace("alice", "mallory")), WrongSeal { commit } if commit == id(1))
    );
    assert!(matches!(
        lie(&|commits| commits[0].seal = ROOT_SEAL),
        WrongSeal { .. }
    ));
    assert!(matches!(
        lie(&|commits| drop(commits.remove(2))),
        Broken { .. }
    ));
    assert!(matches!(lie(&|commits| drop(commits.pop())), Broken { .. }));
    assert!(matches!(
        lie(&|commits| drop(commits.remove(0))),
        WrongHead { .. }
    ));
    assert!(matches!(lie(&Vec::clear), Broken { .. }));
    assert!(matches!(
        lie(&|commits| commits[0].record = "{}".to_owned()),
        BadRecord(_)
    ));
    let other = [(2, ROOT_SEAL)];
    assert!(matches!(check(&list, 4, &other), Err(NotTheKnown { commit }) if commit == id(2)));
}
