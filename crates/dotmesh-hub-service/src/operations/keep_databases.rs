//! Stores, reads and deletes the database summary of a commit.

use dotmesh_hub_db::databases::{Keeping, NewDatabases};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::database_summary;
use dotmesh_hub_model::limits::SUMMARY;
use dotmesh_model::{CommitId, DotName};
use dotmesh_rows::model::DatabaseSummary;

use crate::audit;
use crate::auth::{Caller, OpenDot};
use crate::error::HubError;
use crate::state::Hub;

/// The compression level of zstd.
const LEVEL: i32 = 3;

/// The longest JSON of a stored summary. The hub writes it again, with all members.
const MAX_STORED: usize = 4 * SUMMARY.most;

/// Stores the summary of a commit: `body` is its JSON. The first summary of a commit stays.
pub async fn keep_databases(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    commit: CommitId,
    body: bytes::Bytes,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Push).await?;
    let id = open.existing()?;
    // Values take much more memory than their JSON, so only a few are parsed at once.
    let checked = open.share(hub).run(move |_| checked(&body)).await?;
    let checked = checked?;
    let tables: Vec<&str> = checked.tables.iter().map(String::as_str).collect();
    let new = NewDatabases {
        commit,
        summary: &checked.compressed,
        tables: &tables,
    };
    let quota = hub.settings.quota;
    let keeping = hub.database.keep_databases(id, open.owner, new, quota);
    match keeping.await? {
        Keeping::Done => Ok(()),
        Keeping::Has(stored) if unpacked(&stored)? == checked.json => Ok(()),
        Keeping::Has(_) => Err(HubError::HasDatabases {
            dot: open.name,
            commit,
        }),
        Keeping::NoSuchCommit => Err(HubError::NoSuchCommit {
            dot: open.name,
            commit,
        }),
        Keeping::OverQuota(usage) => Err(HubError::over_quota(usage, open.owner == caller.id)),
    }
}

/// A summary that may be stored.
struct Checked {
    /// Its JSON as the hub writes it.
    json: Vec<u8>,
    /// The same, compressed.
    compressed: Vec<u8>,
    /// The names of its tables.
    tables: Vec<String>,
}

/// Parses and checks a summary.
fn checked(body: &[u8]) -> Result<Checked, HubError> {
    let summary: DatabaseSummary = serde_json::from_slice(body).map_err(|error| {
        HubError::malformed(format!("the database summary is malformed: {error}"))
    })?;
    database_summary::check(&summary)?;
    let json = serde_json::to_vec(&summary).map_err(|_| damaged())?;
    let compressed = zstd::bulk::compress(&json, LEVEL).map_err(|_| damaged())?;
    let mut names: Vec<String> = Vec::new();
    for table in &summary.tables {
        let name = table.name.short();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    Ok(Checked {
        json,
        compressed,
        tables: names,
    })
}

/// Returns the JSON of a commit's summary. `None` if the hub has none.
pub async fn databases_json(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<Option<Vec<u8>>, HubError> {
    let stored = hub.database.databases(dot.existing()?, commit).await?;
    stored.map(|stored| unpacked(&stored)).transpose()
}

/// Returns a commit's summary. `None` if the hub has none.
pub async fn databases(
    hub: &Hub,
    dot: &OpenDot,
    commit: CommitId,
) -> Result<Option<DatabaseSummary>, HubError> {
    let Some(stored) = hub.database.databases(dot.existing()?, commit).await? else {
        return Ok(None);
    };
    let parse = move || serde_json::from_slice(&unpacked(&stored)?).map_err(|_| damaged());
    dot.share(hub).run(move |_| parse()).await?.map(Some)
}

/// Deletes the summary of a commit. For maintainers.
pub async fn delete_databases(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    commit: CommitId,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Maintain).await?;
    if !hub
        .database
        .delete_databases(open.existing()?, commit)
        .await?
    {
        return Err(HubError::NoDatabases {
            dot: open.name,
            commit,
        });
    }
    let what = format!("the database summary of {commit} of {}", open.name.full());
    audit::deleted(hub, caller, what).await
}

fn unpacked(stored: &[u8]) -> Result<Vec<u8>, HubError> {
    zstd::bulk::decompress(stored, MAX_STORED).map_err(|_| damaged())
}

fn damaged() -> HubError {
    let what = "database summary";
    HubError::Database(dotmesh_hub_db::DatabaseError::Damaged { what })
}
