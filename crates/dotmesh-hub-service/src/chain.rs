//! Verifies the chain of seals: whether pushed commits match their seals, and whether each follows its parent. Pure.

use std::collections::HashMap;

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::SealedCommit;
use dotmesh_hub_db::commits::{KnownCommit, NewCommit};
use dotmesh_hub_model::limits::LEFT_OUT;
use dotmesh_model::commit::InvalidRecord;
use dotmesh_model::limits::{self, TooMuchSaid};
use dotmesh_model::{CommitId, CommitRecord, LeftOut};
use dotmesh_store::{ROOT_SEAL, seal};

/// Why pushed commits are refused.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A record is malformed.
    #[error("commit {number} of the push: {source}")]
    Record {
        number: usize,
        source: InvalidRecord,
    },
    /// The push contains a commit twice.
    #[error("the push contains the commit {id} twice")]
    Twice { id: CommitId },
    /// A commit's list of left-out files is too long or inconsistent.
    #[error("commit {number} of the push: its list of left-out items is invalid")]
    LeftOut { number: usize },
    /// A new commit's record is beyond a limit.
    #[error("the hub refuses the commit {id}: {source}")]
    TooMuchSaid { id: CommitId, source: TooMuchSaid },
    /// The parent is neither on the hub nor earlier in the push.
    #[error(
        "the parent {parent} of the commit {id} is neither on the hub nor before it in the push"
    )]
    NoParent { id: CommitId, parent: CommitId },
    /// The seal does not cover the record, the tree and the history.
    #[error("the seal of the commit {id} is wrong: its record, files or history were changed")]
    WrongSeal { id: CommitId },
    /// The dot has a commit of the same id with another seal.
    #[error("the hub has a different commit with the id {id}")]
    OtherCommit { id: CommitId },
}

impl ChainError {
    /// Returns the error code for programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Record { .. } | Self::WrongSeal { .. } => ErrorCode::Corrupt,
            Self::Twice { .. } | Self::LeftOut { .. } => ErrorCode::Invalid,
            Self::TooMuchSaid { .. } => ErrorCode::TooLarge,
            Self::NoParent { .. } => ErrorCode::Incomplete,
            Self::OtherCommit { .. } => ErrorCode::Exists,
        }
    }

    /// Returns the hint for people.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoParent { .. } => "push again",
            Self::TooMuchSaid { .. } => {
                "commit the same state again on the parent commit, with shorter texts, and push that"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// A commit whose record is decoded.
#[derive(Debug)]
pub(crate) struct ReadCommit {
    record: CommitRecord,
    sealed: SealedCommit,
}

/// Decodes the records.
pub(crate) fn read(commits: &[SealedCommit]) -> Result<Vec<ReadCommit>, ChainError> {
    let mut read = Vec::with_capacity(commits.len());
    for (n, sealed) in commits.iter().enumerate() {
        let record = CommitRecord::decode(sealed.record.as_bytes()).map_err(|source| {
            ChainError::Record {
                number: n + 1,
                source,
            }
        })?;
        if !sealed.left_out.as_ref().is_none_or(LeftOut::is_valid) {
            return Err(ChainError::LeftOut { number: n + 1 });
        }
        read.push(ReadCommit {
            record,
            sealed: sealed.clone(),
        });
    }
    Ok(read)
}

/// Returns the ids of the commits that [`verify`] must know: the pushed ones and their parents.
pub(crate) fn named(commits: &[ReadCommit]) -> Vec<CommitId> {
    let mut named: Vec<_> = commits
        .iter()
        .flat_map(|commit| [commit.record.id, commit.record.parent])
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

/// Verifies commits, oldest first, against the dot's `known` commits. Returns the new commits, and those whose data was
/// missing on the hub and is in this push.
pub(crate) fn verify(
    commits: Vec<ReadCommit>,
    known: &HashMap<CommitId, KnownCommit>,
) -> Result<Vec<NewCommit>, ChainError> {
    let mut pushed: HashMap<CommitId, KnownCommit> = HashMap::new();
    let mut new = Vec::new();
    for ReadCommit { record, sealed } in commits {
        let (id, parent) = (record.id, record.parent);
        let before = match pushed.get(&parent).or(known.get(&parent)) {
            _ if parent == CommitId::ROOT => None,
            None => return Err(ChainError::NoParent { id, parent }),
            before => before.copied(),
        };
        let parent_seal = before.map_or(ROOT_SEAL, |before| before.seal);
        let parent_tree = before.and_then(|before| before.tree);
        if seal(parent_seal, sealed.record.as_bytes(), sealed.root) != sealed.seal {
            return Err(ChainError::WrongSeal { id });
        }
        let here = known.get(&id);
        if here.is_some_and(|here| here.seal != sealed.seal) {
            return Err(ChainError::OtherCommit { id });
        }
        // If the hub has the data already, it stays, whatever the push claims.
        let without_data = sealed.without_data && here.is_none_or(|here| here.without_data);
        let commit = KnownCommit {
            seal: sealed.seal,
            without_data,
            tree: match without_data {
                true => parent_tree,
                false => Some(sealed.root),
            },
        };
        if pushed.insert(id, commit).is_some() {
            return Err(ChainError::Twice { id });
        }
        let fills = here.is_some_and(|here| here.without_data && !without_data);
        if here.is_none() {
            limits::check_new(&record, sealed.record.len())
                .map_err(|source| ChainError::TooMuchSaid { id, source })?;
        }
        if here.is_none() || fills {
            let left_out = sealed.left_out.map(|list| list.within(LEFT_OUT.most));
            new.push(NewCommit {
                id,
                parent,
                parent_tree,
                fills,
                author: record.author,
                time: record.time,
                message: record.message,
                sealed: SealedCommit { left_out, ..sealed },
            });
        }
    }
    Ok(new)
}
