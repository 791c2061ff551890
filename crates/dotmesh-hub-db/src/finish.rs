//! The one transaction that makes a push visible.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_api::identity::Meant;
use dotmesh_hub_model::event_kind::{EventKind, PushedBranch};
use dotmesh_hub_model::quota::Usage;
use dotmesh_model::{BranchName, CommitId, DotIdentity, DotName, History, UserName};
use jiff::Timestamp;

use crate::branches;
use crate::commits::{self, NewCommit};
use crate::dots::{self, DotFacts};
use crate::events::{self, Event};
use crate::facts;
use crate::ids::{self, DotId, UploadId, UserId};
use crate::names;
use crate::objects;
use crate::objects::walk::Walk;
use crate::{Database, DatabaseError, quotas};

/// A push whose commits and objects have been verified.
#[derive(Debug)]
pub struct VerifiedPush<'a> {
    /// The upload.
    pub upload: UploadId,
    /// SHA-256 of the request, stored so that a repeated request is recognised.
    pub digest: &'a [u8],
    /// The pushing user.
    pub user: UserId,
    /// The pushing user's name.
    pub user_name: &'a UserName,
    /// The user whose namespace the dot is in.
    pub owner: UserId,
    /// The dot that is pushed to.
    pub dot: &'a DotName,
    /// The dot that the request means, if it says so.
    pub meant: Option<Meant>,
    /// The commits that the dot lacked, or had without their data, when they were verified. Oldest first.
    pub commits: &'a [NewCommit],
}

/// The state of a dot. All parts are of the same instant.
#[derive(Debug)]
pub struct DotState {
    /// The dot, and the facts about the user's access.
    pub facts: DotFacts,
    /// Every branch. Empty when there is no dot.
    pub heads: BTreeMap<BranchName, CommitId>,
    /// The names of protected branches, whether the branches exist or not.
    pub protected: BTreeSet<BranchName>,
    /// Every commit.
    pub history: History,
    /// The commits that are without their data.
    pub without_data: BTreeSet<CommitId>,
    /// The upload.
    pub upload: UploadState,
}

/// The state of an upload.
#[derive(Debug, PartialEq, Eq)]
pub enum UploadState {
    /// It can be finished.
    Open,
    /// It was finished by the request with this SHA-256.
    Finished(Vec<u8>),
    /// It no longer exists.
    Gone,
}

impl VerifiedPush<'_> {
    /// Returns the push's entry in the audit log.
    fn event(&self, dot: DotId, before: &DotState, updates: &RefUpdates) -> Event {
        let branches = updates.iter().map(|(name, new)| PushedBranch {
            name: name.clone(),
            head: new.head,
            is_new: !before.heads.contains_key(name),
            replaced: new.replaced,
        });
        Event {
            actor: self.user_name.clone(),
            dot: Some((dot, self.dot.clone())),
            kind: EventKind::Push {
                branches: branches.collect(),
                commits: self.commits.iter().filter(|commit| !commit.fills).count() as u64,
                filled: self.commits.iter().filter(|commit| commit.fills).count() as u64,
            },
        }
    }
}

/// The ref updates of a push: the new head of each branch that changes.
pub type RefUpdates = BTreeMap<BranchName, NewHead>;

/// The new head of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewHead {
    pub head: CommitId,
    /// The old head, if the branch leaves it and no other branch is made of it.
    pub replaced: Option<CommitId>,
}

impl NewHead {
    /// A new branch, or an update that leaves nothing.
    pub fn forward(head: CommitId) -> Self {
        let replaced = None;
        Self { head, replaced }
    }
}

impl Database {
    /// Returns the state that a push is judged against when it finishes.
    pub async fn dot_state(
        &self,
        dot: &DotName,
        meant: Option<Meant>,
        user: UserId,
        upload: UploadId,
    ) -> Result<DotState, DatabaseError> {
        let mut tx = self.begin_read().await?;
        dot_state(&mut tx, dot, meant, user, upload).await
    }

    /// Makes a push visible and returns the identity of its dot, or changes nothing.
    ///
    /// `judge` sees the state within the transaction, so the state cannot change before the decision takes effect. If
    /// the namespace would exceed its quota, the usage is returned. `quota` is the hub's default.
    pub async fn finish<E: From<DatabaseError>>(
        &self,
        walk: &Walk,
        push: &VerifiedPush<'_>,
        now: Timestamp,
        quota: Option<u64>,
        judge: impl FnOnce(&DotState) -> Result<RefUpdates, E>,
    ) -> Result<Result<DotIdentity, Usage>, E> {
        let mut tx = self.begin().await?;
        let state = dot_state(&mut tx, push.dot, push.meant, push.user, push.upload).await?;
        let updates = judge(&state)?;
        let identity = apply(&mut tx, walk, push, &state, &updates, now).await?;
        if let Some(usage) = quotas::exceeded(&mut tx, push.owner, quota).await? {
            return Ok(Err(usage));
        }
        tx.commit().await.map_err(DatabaseError::from)?;
        Ok(Ok(identity))
    }
}

async fn dot_state(
    connection: &mut sqlx::AnyConnection,
    dot: &DotName,
    meant: Option<Meant>,
    user: UserId,
    upload: UploadId,
) -> Result<DotState, DatabaseError> {
    let facts = dots::dot_facts(connection, dot, Some(user), meant).await?;
    let (heads, protected, (history, without_data)) = match facts.dot {
        Some(dot) => (
            dots::heads(connection, dot).await?,
            branches::protected(connection, dot).await?,
            commits::history(connection, dot).await?,
        ),
        None => Default::default(),
    };
    let finished: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT finished FROM uploads WHERE id = $1")
            .bind(upload)
            .fetch_optional(connection)
            .await?;
    let upload = match finished {
        Some(None) => UploadState::Open,
        Some(Some(digest)) => UploadState::Finished(digest),
        None => UploadState::Gone,
    };
    Ok(DotState {
        facts,
        heads,
        protected,
        history,
        without_data,
        upload,
    })
}

async fn apply(
    connection: &mut sqlx::AnyConnection,
    walk: &Walk,
    push: &VerifiedPush<'_>,
    state: &DotState,
    updates: &RefUpdates,
    now: Timestamp,
) -> Result<DotIdentity, DatabaseError> {
    let dot = match state.facts.dot {
        Some(dot) => dot,
        None => create(connection, push, now).await?,
    };
    let mut texts = 0;
    for commit in push.commits {
        match commit.fills {
            true => commits::fill(connection, dot, commit).await?,
            false => texts += commits::insert(connection, dot, commit).await?,
        }
    }
    // While a commit had no data, its children's changes could not be counted. So the facts of the children are
    // forgotten.
    let filled = push.commits.iter().filter(|commit| commit.fills);
    let filled: BTreeSet<CommitId> = filled.map(|commit| commit.id).collect();
    let is_child = |id: &CommitId| {
        let parent = state.history.parent(*id);
        parent.is_some_and(|parent| filled.contains(&parent))
    };
    if !filled.is_empty() {
        let children: Vec<CommitId> = state.history.ids().filter(is_child).collect();
        facts::forget(connection, dot, &children).await?;
    }
    for (pack, numbers) in walk.reached() {
        objects::add_members(connection, dot, pack, numbers).await?;
    }
    for (branch, new) in updates {
        sqlx::query(
            "INSERT INTO branches (dot, name, head) VALUES ($1, $2, $3)
             ON CONFLICT (dot, name) DO UPDATE SET head = excluded.head",
        )
        .bind(dot)
        .bind(branch.as_str())
        .bind(new.head.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query("UPDATE dots SET pushed = $1, texts = texts + $2 WHERE id = $3")
        .bind(now.as_second())
        .bind(texts as i64)
        .bind(dot)
        .execute(&mut *connection)
        .await?;
    events::insert(connection, &push.event(dot, state, updates), now).await?;
    sqlx::query("UPDATE uploads SET finished = $1 WHERE id = $2")
        .bind(push.digest)
        .bind(push.upload)
        .execute(&mut *connection)
        .await?;
    let identity: Vec<u8> = sqlx::query_scalar("SELECT identity FROM dots WHERE id = $1")
        .bind(dot)
        .fetch_one(connection)
        .await?;
    ids::identity(&identity)
}

async fn create(
    connection: &mut sqlx::AnyConnection,
    push: &VerifiedPush<'_>,
    now: Timestamp,
) -> Result<DotId, DatabaseError> {
    names::room_for_dot(connection, push.owner).await?;
    names::take(connection, push.owner, push.dot.name()).await?;
    let dot = sqlx::query_scalar(
        "INSERT INTO dots (owner, name, created) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(push.owner)
    .bind(push.dot.name())
    .bind(now.as_second())
    .fetch_one(connection)
    .await?;
    Ok(dot)
}
