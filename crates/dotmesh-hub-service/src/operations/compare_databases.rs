//! Compares the databases of two commits by their summaries, which clients have sent.

use dotmesh_model::CommitId;
use dotmesh_rows::compose::{Composer, Composition, TableDiff};
use dotmesh_rows::model::DatabaseSummary;

use super::keep_databases::databases;
use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// The most commits whose changes are put together.
const MAX_STEPS: u32 = 50;

/// The databases of two commits.
#[derive(Debug)]
pub struct DatabasesCompared {
    /// The summary of the first commit, if there is one.
    pub before: Option<DatabaseSummary>,
    /// The summary of the second commit, if there is one.
    pub after: Option<DatabaseSummary>,
    /// What changed, or why the hub cannot tell.
    pub changes: Result<Composition, NotComposed>,
}

/// Why the hub cannot tell what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotComposed {
    /// Neither commit is an ancestor of the other, or there are too many commits between them.
    NotOnOneLine,
    /// So many of the commits between have no summary, of so many.
    WithoutSummary(usize, usize),
}

/// Compares the databases of two commits. `None` if the hub has no summary of either.
pub async fn compare_databases(
    hub: &Hub,
    dot: &OpenDot,
    from: CommitId,
    to: CommitId,
) -> Result<Option<DatabasesCompared>, HubError> {
    let before = databases(hub, dot, from).await?;
    let after = databases(hub, dot, to).await?;
    if from == to || before.is_none() && after.is_none() {
        return Ok(None);
    }
    let changes = match steps(hub, dot, from, to).await? {
        Some(steps) => compose(hub, dot, &steps).await?,
        None => match steps(hub, dot, to, from).await? {
            Some(steps) => compose(hub, dot, &steps).await?.map(reversed),
            None => Err(NotComposed::NotOnOneLine),
        },
    };
    Ok(Some(DatabasesCompared {
        before,
        after,
        changes,
    }))
}

/// Returns the commits after `from` up to `to`, the oldest first. `None` if `from` is no near ancestor of `to`.
async fn steps(
    hub: &Hub,
    dot: &OpenDot,
    from: CommitId,
    to: CommitId,
) -> Result<Option<Vec<CommitId>>, HubError> {
    let (line, next) = hub
        .database
        .line(dot.existing()?, to, MAX_STEPS + 1)
        .await?;
    let mut steps: Vec<CommitId> = line.into_iter().map(|commit| commit.id).collect();
    match steps.iter().position(|commit| *commit == from) {
        Some(place) => steps.truncate(place),
        None if next == from => {}
        None => return Ok(None),
    }
    steps.reverse();
    Ok(Some(steps))
}

async fn compose(
    hub: &Hub,
    dot: &OpenDot,
    steps: &[CommitId],
) -> Result<Result<Composition, NotComposed>, HubError> {
    let mut composer = Composer::default();
    let mut without = 0;
    for commit in steps {
        match databases(hub, dot, *commit).await? {
            Some(summary) => composer.add(summary),
            None => without += 1,
        }
    }
    Ok(match without {
        0 => Ok(composer.finish()),
        without => Err(NotComposed::WithoutSummary(without, steps.len())),
    })
}

fn reversed(mut composition: Composition) -> Composition {
    let tables = composition.tables.into_iter().map(TableDiff::reversed);
    composition.tables = tables.collect();
    composition
}
