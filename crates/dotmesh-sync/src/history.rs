//! Checks the history that a hub sends: every record, every parent, every seal.

use std::collections::HashSet;

use dotmesh_api::hub::{CommitList, SealedCommit};
use dotmesh_model::commit::InvalidRecord;
use dotmesh_model::{CommitId, CommitRecord, ObjectHash};
use dotmesh_store::{ROOT_SEAL, seal};

/// A commit whose seal is correct, if its parent's seal is.
#[derive(Debug, Clone)]
pub struct VerifiedCommit {
    /// The decoded record.
    pub record: CommitRecord,
    /// The commit as the hub sent it.
    pub sealed: SealedCommit,
}

/// The reason why a hub's history is wrong.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The history does not begin with the requested commit.
    #[error("the hub sent another history than that of commit {head}")]
    WrongHead { head: CommitId },
    /// A record can't be decoded.
    #[error("the hub sent a commit that cannot be read")]
    BadRecord(#[from] InvalidRecord),
    /// The next commit is not the parent, or a commit is there twice.
    #[error("the hub's history of commit {commit} has a gap or a circle")]
    Broken { commit: CommitId },
    /// A seal does not match the commit and its history.
    #[error("commit {commit} is not what its seal says: the hub's history was changed or damaged")]
    WrongSeal { commit: CommitId },
    /// The hub's commit has another seal than the known commit with the same id.
    #[error("commit {commit} on the hub is not the one that is known here by that id")]
    NotTheKnown { commit: CommitId },
}

/// Checks a list of commits, newest first. The list must begin with `head`. Returns the commits that are not known yet,
/// oldest first.
///
/// `known` returns the seal of a commit whose history was verified before. The check ends at such a commit.
pub fn verify_commits(
    list: &CommitList,
    head: CommitId,
    known: impl Fn(CommitId) -> Option<ObjectHash>,
) -> Result<Vec<VerifiedCommit>, HistoryError> {
    let mut expected = head;
    let mut met = HashSet::new();
    let mut unknown = Vec::new();
    let mut parent_seal = None;
    for sealed in &list.commits {
        let record = CommitRecord::decode(sealed.record.as_bytes())?;
        let commit = record.id;
        if commit != expected {
            return Err(match unknown.is_empty() {
                true => HistoryError::WrongHead { head },
                false => HistoryError::Broken { commit: head },
            });
        }
        if let Some(seal) = known(commit) {
            if seal != sealed.seal {
                return Err(HistoryError::NotTheKnown { commit });
            }
            parent_seal = Some(seal);
            break;
        }
        if !met.insert(commit) {
            return Err(HistoryError::Broken { commit });
        }
        expected = record.parent;
        unknown.push(VerifiedCommit {
            record,
            sealed: sealed.clone(),
        });
        if expected == CommitId::ROOT {
            parent_seal = Some(ROOT_SEAL);
            break;
        }
    }
    // A hub may leave out the commits that the caller has.
    let parent_seal = parent_seal
        .or_else(|| known(expected))
        .or_else(|| (expected == CommitId::ROOT).then_some(ROOT_SEAL));
    let mut parent_seal = parent_seal.ok_or(HistoryError::Broken { commit: head })?;
    unknown.reverse();
    for VerifiedCommit { record, sealed } in &unknown {
        if seal(parent_seal, sealed.record.as_bytes(), sealed.root) != sealed.seal {
            return Err(HistoryError::WrongSeal { commit: record.id });
        }
        parent_seal = sealed.seal;
    }
    Ok(unknown)
}
