//! Decides how a push may update branches: forward, or to a diverged line if the old line is kept as a branch or the
//! push replaces it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::BranchUpdate;
use dotmesh_hub_db::finish::{NewHead, RefUpdates};
use dotmesh_model::{BranchName, CommitId, History, InvalidName, Relation};

/// Why a ref update is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefUpdateError {
    /// The dot does not have the commit.
    #[error("the branch {branch} cannot point to {commit}: the hub has no such commit")]
    NoSuchCommit {
        branch: BranchName,
        commit: CommitId,
    },
    /// Nobody could clone the branch, because the hub lacks the commit's data.
    #[error(
        "the branch {branch} cannot point to {commit}: the data of that commit is neither in the push nor on the hub"
    )]
    WithoutData {
        branch: BranchName,
        commit: CommitId,
    },
    /// The hub's line contains the pushed line.
    #[error(
        "the branch {branch} on the hub has commits that yours lacks, and yours has no new commits"
    )]
    Behind { branch: BranchName },
    /// Each line has commits that the other does not have.
    #[error("the branch {branch} has diverged: the hub and the push each have commits since {}", base.short())]
    Diverged { branch: BranchName, base: CommitId },
    /// The branch has moved since the client looked at it.
    #[error("the branch {branch} on the hub has changed during the push")]
    Moved { branch: BranchName },
    /// The name for the old line is taken.
    #[error("the hub already has a branch {branch}")]
    NameTaken { branch: BranchName },
    /// The branch is protected, so it can only move forward.
    #[error("the branch {branch} is protected: it accepts only fast-forward pushes")]
    Protected { branch: BranchName },
    /// A new name is not allowed for branches.
    #[error("the hub cannot create this branch: {0}")]
    Name(#[from] InvalidName),
    /// The push names a branch twice.
    #[error("the push names the branch {branch} twice")]
    Twice { branch: BranchName },
}

impl RefUpdateError {
    /// Returns the error code for programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchCommit { .. } | Self::WithoutData { .. } => ErrorCode::Incomplete,
            Self::Behind { .. } | Self::Moved { .. } => ErrorCode::Behind,
            Self::Diverged { .. } => ErrorCode::Diverged,
            Self::NameTaken { .. } => ErrorCode::Exists,
            Self::Protected { .. } => ErrorCode::Forbidden,
            Self::Twice { .. } | Self::Name(_) => ErrorCode::Invalid,
        }
    }

    /// Returns the hint for people.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Behind { .. } => {
                "pull first, or take the branch back on the hub with --force-with-lease"
            }
            Self::Diverged { .. } => {
                "pull first. Or push with --stash-on-divergence to keep the hub's commits as a separate branch, or with --force-with-lease to replace them"
            }
            Self::Moved { .. } | Self::NoSuchCommit { .. } => "push again",
            Self::NameTaken { .. } => {
                "push again: the hub then keeps its old commits under another branch name"
            }
            Self::WithoutData { .. } => {
                "push it from a machine that has the data, or push a later commit"
            }
            Self::Protected { .. } => {
                "push to another branch, or ask a maintainer of the dot to lift the protection"
            }
            Self::Name(_) => {
                "push it as a branch with another name: `dm checkout -b NAME` creates one"
            }
            Self::Twice { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Decides on all ref updates of a push together.
///
/// `history` contains the dot's commits and the pushed ones. `without_data` contains those that lack their data after
/// the push. No branch may move to one of them, so that each branch can be cloned.
///
/// A branch that is at its target already is left alone, wherever the client last saw it. The old line is stashed or
/// replaced only if the branch cannot move forward, and never for a protected branch.
pub(crate) fn plan(
    heads: &BTreeMap<BranchName, CommitId>,
    protected: &BTreeSet<BranchName>,
    history: &History,
    without_data: &BTreeSet<CommitId>,
    asked: &[BranchUpdate],
) -> Result<RefUpdates, RefUpdateError> {
    let mut names = BTreeSet::new();
    for update in asked {
        for name in [Some(&update.name), update.stash.as_ref()]
            .into_iter()
            .flatten()
        {
            if !names.insert(name) {
                return Err(RefUpdateError::Twice {
                    branch: name.clone(),
                });
            }
        }
    }
    let mut updates = RefUpdates::new();
    for update in asked {
        let branch = || update.name.clone();
        if !history.contains(update.new) {
            return Err(RefUpdateError::NoSuchCommit {
                branch: branch(),
                commit: update.new,
            });
        }
        if without_data.contains(&update.new) {
            return Err(RefUpdateError::WithoutData {
                branch: branch(),
                commit: update.new,
            });
        }
        let Some(current) = heads.get(&update.name).copied() else {
            if update.old.is_some() {
                return Err(RefUpdateError::Moved { branch: branch() });
            }
            update.name.check_no_id()?;
            updates.insert(branch(), NewHead::forward(update.new));
            continue;
        };
        let as_seen = update.old == Some(current);
        let relation = history.relation(current, update.new);
        let may_leave = update.stash.is_some() || update.force;
        match relation {
            Relation::Same => continue,
            Relation::Ahead if as_seen => {}
            Relation::Ahead => return Err(RefUpdateError::Moved { branch: branch() }),
            _ if may_leave && protected.contains(&update.name) => {
                return Err(RefUpdateError::Protected { branch: branch() });
            }
            _ if may_leave && as_seen => {}
            _ if may_leave => return Err(RefUpdateError::Moved { branch: branch() }),
            Relation::Behind => return Err(RefUpdateError::Behind { branch: branch() }),
            Relation::Diverged { base } => {
                return Err(RefUpdateError::Diverged {
                    branch: branch(),
                    base,
                });
            }
        }
        let mut new_head = NewHead::forward(update.new);
        match &update.stash {
            _ if relation == Relation::Ahead => {}
            None => new_head.replaced = Some(current),
            Some(stash) if heads.contains_key(stash) => {
                return Err(RefUpdateError::NameTaken {
                    branch: stash.clone(),
                });
            }
            Some(stash) => {
                stash.check_no_id()?;
                updates.insert(stash.clone(), NewHead::forward(current));
            }
        }
        updates.insert(branch(), new_head);
    }
    Ok(updates)
}
