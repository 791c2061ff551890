//! The history of a dot's size: the statistics of its newest commits, as far as they have been counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dotmesh_browse::facts::CommitFacts;
use dotmesh_hub_model::commit_summary::CommitSummary;
use dotmesh_model::CommitId;

use super::commit_facts::{Counting, TREE_PAGES_AT_LEISURE, TREE_PAGES_FOR_A_REQUEST};
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::operations::commit_graph;
use crate::rate_limit::Subject;
use crate::state::Hub;

/// How long the hub counts commits while a user waits for the page.
const PATIENCE: Duration = Duration::from_millis(20);

/// A commit and its statistics. `None` if they are not counted yet, or if the hub lacks the commit's data.
#[derive(Debug, Clone)]
pub struct CountedCommit {
    pub commit: CommitSummary,
    pub facts: Option<CommitFacts>,
}

/// Returns the newest commits of all branches, oldest first. If counting takes long, the hub continues in the
/// background.
pub async fn size_history(
    hub: &Hub,
    dot: &OpenDot,
    limit: u32,
) -> Result<Vec<CountedCommit>, HubError> {
    let id = dot.existing()?;
    let newest = hub.database.newest_commits(id, limit).await?;
    // Parents come before children, even if clocks were wrong.
    let placed = commit_graph::place(newest, None).into_iter().rev();
    let commits: Vec<CommitSummary> = placed.map(|placed| placed.commit).collect();
    let with_data = commits.iter().filter(|commit| !commit.without_data);
    let ids: Vec<CommitId> = with_data.map(|commit| commit.id).collect();
    let mut known = hub.database.all_facts(id, &ids).await?;
    // The oldest commits are counted first, because a commit is counted quickly once its parent is.
    let unknown = ids.into_iter().filter(|id| !known.contains_key(id));
    let mut unknown: VecDeque<Counting> = unknown
        .map(|commit| Counting {
            hub: hub.clone(),
            dot: dot.clone(),
            commit,
        })
        .collect();
    let start = Instant::now();
    while let Some(next) = unknown.front()
        && start.elapsed() < PATIENCE
    {
        let facts = next.keep(TREE_PAGES_FOR_A_REQUEST).await?;
        if !facts.complete {
            break;
        }
        known.insert(next.commit, facts);
        unknown.pop_front();
    }
    if !unknown.is_empty() {
        count_at_leisure(hub, unknown);
    }
    let counted = commits.into_iter().map(|commit| CountedCommit {
        facts: known.remove(&commit.id),
        commit,
    });
    Ok(counted.collect())
}

/// Counts the commits in the background, unless the hub already counts others there. Then the next visit to the page
/// tries again.
fn count_at_leisure(hub: &Hub, commits: VecDeque<Counting>) {
    let Ok(turn) = Arc::clone(&hub.counting).try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let _turn = turn;
        for mut commit in commits {
            commit.dot.subject = Subject::Hub;
            if let Err(error) = commit.keep(TREE_PAGES_AT_LEISURE).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a commit's files could not be counted");
                return;
            }
        }
    });
}
