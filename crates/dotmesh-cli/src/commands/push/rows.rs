//! What a push says to the hub of the databases in the pushed commits.

use std::time::Duration;

use dotmesh_api::node::{DiffRows, DiffRowsEvent, ListRows, RowsEvent, TransferOutcome};
use dotmesh_api::{ErrorCode, HubClient, NodeClient};
use dotmesh_model::{CommitId, DotName};
use dotmesh_rows::model::{DatabaseSummary, DiffEvent};
use futures::StreamExt as _;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::project_file::{ProjectFile, PushedRows};
use crate::{compose, hub, place};

/// The most row changes of a commit, and their most bytes as JSON.
const MOST_ROWS: u64 = 1000;
const MOST_BYTES: usize = 1 << 20;

/// The most bytes of a value. The rest is left out.
const LONGEST: u64 = 1 << 10;

/// How long a push waits for the databases of one commit.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends summaries of the newest commit of each pushed branch. Whatever goes wrong is said, and the push has succeeded all the
/// same.
pub(super) async fn send(
    context: &Context,
    node: &NodeClient,
    hub: &HubClient,
    (local, remote): (&DotName, &DotName),
    outcome: &TransferOutcome,
    asked: Option<PushedRows>,
) -> Result<()> {
    let mut what = match asked {
        Some(asked) => asked,
        None => setting()?,
    };
    if what == PushedRows::Off {
        return Ok(());
    }
    if !hub.version().await.map_err(hub::explain)?.databases {
        let older = "The hub is older than database summaries, so its pages show files only.";
        context.ui.status(older);
        return Ok(());
    }
    if what == PushedRows::Changes && outcome.to_public && asked.is_none() {
        what = PushedRows::Counts;
        context.ui.status(&format!(
            "{remote} is public, so no changed rows are sent. 'dm push --rows changes' sends them."
        ));
    }
    let branches = outcome.branches.iter();
    for branch in branches.filter(|branch| !branch.receiver_ahead) {
        let commit = branch.head;
        let known = hub.databases(remote, commit).await.map_err(hub::explain)?;
        if known.is_some() {
            continue;
        }
        context.ui.status(&format!(
            "The push is done. Reading the databases of {} for the hub …",
            commit.short()
        ));
        let read = tokio::time::timeout(PATIENCE, summary(node, local, commit, what));
        let short = commit.short();
        let Ok(read) = read.await else {
            let seconds = PATIENCE.as_secs();
            context.ui.warning(&format!(
                "the databases of {short} were not read within {seconds} s, so the hub shows its files only"
            ));
            continue;
        };
        let Some(summary) = read? else {
            continue;
        };
        hub.send_databases(remote, commit, &summary)
            .await
            .map_err(hub::explain)?;
        context.ui.status(&sent(&summary, &short.to_string(), what));
    }
    Ok(())
}

/// The setting of the app in this folder.
fn setting() -> Result<PushedRows> {
    let folder = place::here().and_then(|here| compose::folder_around(&here));
    Ok(match folder {
        Some(folder) => ProjectFile::load(&folder)?.rows,
        None => PushedRows::Off,
    })
}

fn sent(summary: &DatabaseSummary, commit: &str, what: PushedRows) -> String {
    let changes = summary.changes.iter();
    let rows = changes.filter(|event| matches!(event, DiffEvent::Row(_)));
    let number = |count: usize, of: &str| match count {
        1 => format!("1 {of}"),
        count => format!("{count} {of}s"),
    };
    let tables = number(summary.tables.len(), "table");
    let changes = match what {
        PushedRows::Changes => format!(" and {}", number(rows.count(), "changed row")),
        PushedRows::Counts | PushedRows::Off => String::new(),
    };
    format!(
        "Sent the row counts of {tables} of {commit}{changes}. Whoever can read the dot on the hub can read them."
    )
}

/// What is in the databases of a commit. `None` if it has none.
async fn summary(
    node: &NodeClient,
    dot: &DotName,
    commit: CommitId,
    what: PushedRows,
) -> Result<Option<DatabaseSummary>> {
    let mut summary = DatabaseSummary {
        version: DatabaseSummary::VERSION,
        ..DatabaseSummary::default()
    };
    let list = ListRows {
        revision: Some(commit.to_string()),
        ..ListRows::default()
    };
    let events = match node.rows(dot, &list).await {
        // There is no database.
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        events => events?,
    };
    let mut events = std::pin::pin!(events);
    loop {
        match events.next().await.ok_or_else(closed)?? {
            RowsEvent::Table(table) => summary.tables.push(table),
            RowsEvent::Problem { what, why } => summary.problems.push(format!("{what}: {why}")),
            RowsEvent::Failed(error) => return Err(error.into()),
            RowsEvent::Done {} => break,
            RowsEvent::Begin { .. } | RowsEvent::Row(_) => {}
        }
    }
    if what == PushedRows::Changes {
        changes(node, dot, commit, &mut summary).await?;
    }
    Ok(Some(summary))
}

/// Adds what differs from the parent, up to the limits. The first commit has no parent to compare with.
async fn changes(
    node: &NodeClient,
    dot: &DotName,
    commit: CommitId,
    summary: &mut DatabaseSummary,
) -> Result<()> {
    let diff = DiffRows {
        from: Some(format!("{commit}~1")),
        to: Some(commit.to_string()),
        limit: Some(MOST_ROWS),
        longest: Some(LONGEST),
        ..DiffRows::default()
    };
    let events = match node.diff_rows(dot, &diff).await {
        // There is no commit before it.
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(()),
        events => events?,
    };
    let mut events = std::pin::pin!(events);
    let (mut rows, mut bytes, mut of_table) = (0, 0, 0);
    loop {
        match events.next().await.ok_or_else(closed)?? {
            DiffRowsEvent::Change(DiffEvent::Row(row)) => {
                bytes += serde_json::to_vec(&row).map_or(0, |json| json.len());
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
            DiffRowsEvent::Change(event) => summary.changes.push(event),
            DiffRowsEvent::States { .. } => {}
            DiffRowsEvent::Done {} => return Ok(()),
            DiffRowsEvent::Failed(error) => return Err(error.into()),
        }
    }
}

fn closed() -> CliError {
    let message = "the node closed the connection before everything was read";
    CliError::new(Code::NodeUnreachable, message).hint("The node's log says why.")
}
