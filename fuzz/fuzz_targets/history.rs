//! Valid and invalid histories from a hub. A history that passes must be a chain of seals from a known commit.

#![no_main]

use dotmesh_api::hub::{CommitList, SealedCommit};
use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::{ROOT_SEAL, seal};
use dotmesh_sync::verify_commits;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// A commit in the hub's answer. Ids and seals are small numbers, so that they often match.
#[derive(Debug, Arbitrary)]
struct Told {
    id: u8,
    parent: u8,
    /// The seal over which this commit's seal is computed. 0 is the root's, n is that of the n-th commit before. `None`
    /// is a made-up one.
    over: Option<u8>,
    root: u8,
}

#[derive(Debug, Arbitrary)]
struct Input {
    head: u8,
    known: Vec<(u8, u8)>,
    /// Oldest first, because each seal depends on the one before.
    told: Vec<Told>,
}

fn id(number: u8) -> CommitId {
    CommitId::from_bytes([number; 16])
}

fn hash(number: u8) -> ObjectHash {
    ObjectHash::from_bytes([number; 32])
}

fuzz_target!(|input: Input| {
    let Input { head, known, told } = input;
    let mut commits: Vec<SealedCommit> = Vec::new();
    for Told {
        id: number,
        parent,
        over,
        root,
    } in told
    {
        let record = format!(
            r#"{{"version":1,"id":"{}","parent":"{}","branch":"b","author":"","time":"2026-01-31T12:00:00Z","message":""}}"#,
            id(number),
            id(parent)
        );
        let before = match over {
            Some(0) => ROOT_SEAL,
            Some(n) => commits
                .iter()
                .rev()
                .nth(usize::from(n) - 1)
                .map_or(hash(n), |commit| commit.seal),
            None => hash(root),
        };
        let seal = seal(before, record.as_bytes(), hash(root));
        commits.push(SealedCommit {
            seal,
            root: hash(root),
            record,
            left_out: None,
            without_data: false,
        });
    }
    commits.reverse();
    let known = |wanted: CommitId| {
        let found = known
            .iter()
            .find(|(number, _)| id(*number) == wanted && wanted != CommitId::ROOT);
        found.map(|(_, number)| hash(*number))
    };
    let list = CommitList { commits };
    let Ok(new) = verify_commits(&list, id(head), known) else {
        return;
    };
    let is_known = |commit| commit == CommitId::ROOT || known(commit).is_some();
    let Some(last) = new.last() else {
        assert!(is_known(id(head)));
        return;
    };
    assert_eq!(last.record.id, id(head));
    let mut parent = new[0].record.parent;
    assert!(is_known(parent));
    let mut parent_seal = known(parent).unwrap_or(ROOT_SEAL);
    for commit in &new {
        assert_eq!(commit.record.parent, parent);
        let record = commit.sealed.record.as_bytes();
        assert_eq!(
            seal(parent_seal, record, commit.sealed.root),
            commit.sealed.seal
        );
        (parent, parent_seal) = (commit.record.id, commit.sealed.seal);
    }
});
