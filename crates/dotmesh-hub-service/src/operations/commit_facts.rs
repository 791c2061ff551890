//! The statistics of commits. They are counted once and stored, because commits never change.

use std::sync::Arc;

use dotmesh_browse::diff::SubdotChange;
use dotmesh_browse::facts::{self, CommitFacts};
use dotmesh_model::{CommitId, CommitRecord};

use super::objects_of_dot::reader;
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::rate_limit::Subject;
use crate::state::Hub;

/// The most tree pages that are read while a user waits for a page.
pub(super) const TREE_PAGES_FOR_A_REQUEST: usize = 500;

/// The most tree pages that are read in the background.
pub(super) const TREE_PAGES_AT_LEISURE: usize = 4_000_000;

/// Returns the statistics of a commit that has its data. If counting takes long, the result is incomplete. The hub then
/// continues in the background, unless it already counts other commits there.
pub async fn commit_facts(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<CommitFacts, HubError> {
    let id = dot.existing()?;
    if let Some(facts) = hub.database.facts(id, commit).await? {
        return Ok(facts);
    }
    let mut task = Counting {
        hub: hub.clone(),
        dot: dot.clone(),
        commit,
    };
    let facts = task.keep(TREE_PAGES_FOR_A_REQUEST).await?;
    if !facts.complete
        && let Ok(turn) = Arc::clone(&hub.counting).try_acquire_owned()
    {
        // No client waits for it, so the hub itself is the subject.
        task.dot.subject = Subject::Hub;
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = task.keep(TREE_PAGES_AT_LEISURE).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a commit's files could not be counted");
            }
        });
    }
    Ok(facts)
}

/// A commit that is to be counted.
pub(super) struct Counting {
    pub(super) hub: Hub,
    pub(super) dot: OpenDot,
    pub(super) commit: CommitId,
}

impl Counting {
    /// Counts the commit and reads at most `pages` tree pages. Stores the result if it is complete, or if `pages` is
    /// the limit of the background count.
    pub(super) async fn keep(&self, pages: usize) -> Result<CommitFacts, HubError> {
        let facts = self.count(pages).await?;
        if facts.complete || pages == TREE_PAGES_AT_LEISURE {
            let database = &self.hub.database;
            let dot = self.dot.existing()?;
            let unknown = facts.change_unknown;
            database
                .keep_facts(dot, self.commit, &facts, unknown)
                .await?;
        }
        Ok(facts)
    }

    async fn count(&self, pages: usize) -> Result<CommitFacts, HubError> {
        let dot = self.dot.existing()?;
        let database = &self.hub.database;
        let line = database
            .ancestry(dot, self.commit, CommitId::ROOT, 2)
            .await?;
        let mut line = line.commits.iter();
        let commit = line.next().ok_or_else(|| HubError::NoSuchCommit {
            dot: self.dot.name.clone(),
            commit: self.commit,
        })?;
        if commit.without_data {
            return Err(HubError::WithoutData {
                dot: self.dot.name.clone(),
                commit: self.commit,
            });
        }
        let (root, parent) = (commit.root, line.next());
        let change_unknown = parent.is_some_and(|parent| parent.without_data);
        let before = parent.filter(|parent| !parent.without_data);
        let before = before.map(|parent| parent.root);
        let known = match before {
            Some(_) => {
                let record = CommitRecord::decode(commit.record.as_bytes())?;
                database.facts(dot, record.parent).await?
            }
            None => None,
        };
        let reader = reader(&self.hub, self.dot.share(&self.hub), self.dot.owner, dot);
        let mut facts = facts::count(&reader, before, known, root, pages).await?;
        if change_unknown {
            facts.change_unknown = true;
            for subdot in &mut facts.subdots {
                subdot.change = SubdotChange::default();
            }
        }
        Ok(facts)
    }
}
