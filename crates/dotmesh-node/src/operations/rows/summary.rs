//! The database summary of a commit, for a hub: what is in its databases, and what differs from its parent.

use axum::body::Bytes;
use dotmesh_api::node::{DiffRows, DiffRowsEvent, ListRows, RowsEvent, RowsTold};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::{CommitId, DotName};
use dotmesh_rows::model::{DatabaseSummary, DiffEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{diff, list};
use crate::node::Node;
use crate::view::At;

/// The most row changes of a commit.
const MOST_ROWS: u64 = 1000;

/// The most bytes of all changes, and of everything else, as JSON. Hubs refuse more than 2 MiB.
const MOST_BYTES: usize = 1 << 20;
const MOST_OTHER_BYTES: usize = 768 << 10;

/// The most bytes of a value. The rest is left out.
const LONGEST: u64 = 1 << 10;

/// Reads the databases of a commit. `None` if it has none. Dropping the future ends the containers.
pub(crate) async fn summarise(
    node: &Node,
    dot: &DotName,
    commit: CommitId,
    what: RowsTold,
) -> Result<Option<DatabaseSummary>, ErrorBody> {
    let mut summary = DatabaseSummary {
        version: DatabaseSummary::VERSION,
        ..DatabaseSummary::default()
    };
    let request = ListRows {
        revision: Some(commit.to_string()),
        ..ListRows::default()
    };
    let mut events = match list::begin(node.clone(), At::from(dot), request).await {
        Ok(lines) => Events::new(lines),
        // There is no database.
        Err(error) => {
            return match ErrorBody::from(error) {
                error if error.code == ErrorCode::NotFound => Ok(None),
                error => Err(error),
            };
        }
    };
    let mut bytes = 0;
    loop {
        match events.next().await? {
            RowsEvent::Table(table) => {
                bytes += size(&table);
                if bytes > MOST_OTHER_BYTES {
                    let more = "there are more tables than a summary can have".to_owned();
                    summary.problems.push(more);
                    break;
                }
                summary.tables.push(table);
            }
            RowsEvent::Problem { what, why } => summary.problems.push(format!("{what}: {why}")),
            RowsEvent::Failed(error) => return Err(error),
            RowsEvent::Done {} => break,
            RowsEvent::Begin { .. } | RowsEvent::Row(_) => {}
        }
    }
    drop(events);
    // An image may be pulled, or the Engine started, until the next attempt.
    if summary.tables.is_empty()
        && let Some(problem) = summary.problems.first()
    {
        return Err(ErrorBody::new(ErrorCode::NotFound, problem.clone()));
    }
    if what == RowsTold::Changes {
        changes(node, dot, commit, &mut summary).await?;
    }
    Ok(Some(summary))
}

/// Adds what differs from the parent, up to the limits. The first commit has no parent to compare with, and the parent's data
/// may not be here.
async fn changes(
    node: &Node,
    dot: &DotName,
    commit: CommitId,
    summary: &mut DatabaseSummary,
) -> Result<(), ErrorBody> {
    let request = DiffRows {
        from: Some(format!("{commit}~1")),
        to: Some(commit.to_string()),
        limit: Some(MOST_ROWS),
        longest: Some(LONGEST),
        ..DiffRows::default()
    };
    let mut events = match diff::begin(node.clone(), At::from(dot), request).await {
        Ok(lines) => Events::new(lines),
        Err(error) => {
            return match ErrorBody::from(error) {
                error if matches!(error.code, ErrorCode::NotFound | ErrorCode::Absent) => Ok(()),
                error => Err(error),
            };
        }
    };
    let (mut rows, mut bytes, mut of_table) = (0, 0, 0);
    loop {
        match events.next().await? {
            DiffRowsEvent::Change(DiffEvent::Row(row)) => {
                bytes += size(&row);
                if rows < MOST_ROWS && bytes <= MOST_BYTES {
                    rows += 1;
                    of_table += row.count;
                    summary.changes.push(DiffEvent::Row(row));
                }
            }
            DiffRowsEvent::Change(DiffEvent::Counted(counts)) => {
                summary.is_cut |= counts.added + counts.removed + counts.changed > of_table;
                of_table = 0;
                summary.changes.push(DiffEvent::Counted(counts));
            }
            DiffRowsEvent::Change(event) => {
                bytes += size(&event);
                if bytes > MOST_BYTES {
                    summary.is_cut = true;
                    return Ok(());
                }
                summary.changes.push(event);
            }
            DiffRowsEvent::States { .. } => {}
            DiffRowsEvent::Done {} => return Ok(()),
            DiffRowsEvent::Failed(error) => return Err(error),
        }
    }
}

fn size(event: &impl Serialize) -> usize {
    serde_json::to_vec(event).map_or(0, |json| json.len())
}

/// Reads events from lines, of which several may come at once.
struct Events {
    lines: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Events {
    fn new(lines: mpsc::Receiver<Bytes>) -> Self {
        let rest = Bytes::new();
        Self { lines, rest }
    }

    async fn next<T: DeserializeOwned>(&mut self) -> Result<T, ErrorBody> {
        let broken = |why: &str| ErrorBody::new(ErrorCode::Internal, why.to_owned());
        if self.rest.is_empty() {
            let lines = self.lines.recv().await;
            self.rest = lines.ok_or_else(|| broken("reading the databases has broken off"))?;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = match end {
            Some(end) => self.rest.split_to(end + 1),
            None => std::mem::take(&mut self.rest),
        };
        serde_json::from_slice(&line).map_err(|error| broken(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_come_one_by_one_or_all_at_once() {
        let (sender, lines) = mpsc::channel(2);
        let mut events = Events::new(lines);
        let all = "{\"problem\":{\"what\":\"a\",\"why\":\"b\"}}\n{\"done\":{}}\n";
        sender.send(Bytes::from(all)).await.unwrap();
        let problem: RowsEvent = events.next().await.unwrap();
        assert!(matches!(problem, RowsEvent::Problem { .. }));
        assert_eq!(
            events.next::<RowsEvent>().await.unwrap(),
            RowsEvent::Done {}
        );
        drop(sender);
        let error = events.next::<RowsEvent>().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Internal);
    }
}
