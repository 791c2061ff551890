//! Garbage collection: packs that no dot and no push needs any more, beside everything else that goes on, in any number of
//! processes. Cut at any point, it has done nothing wrong, and the next one goes on.
//!
//! Packs that are needed in part stay whole.

use std::time::Duration;

use dotmesh_store::{PackId, PackStore, PackStoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::database::garbage::Garbage;
use crate::database::{Database, DatabaseError};

/// How long a file outlives its rows: answers that were begun before are still read from it.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// How long it is remembered that a file was deleted: longer by far than a request that stores one may take.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Packs that are looked for, and files that are deleted, together.
const BATCH: u32 = 100;

/// Files that are deleted at once.
const AT_ONCE: usize = 8;

/// What a collection has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Packs whose rows it removed.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that it deleted, mostly of packs that earlier ones removed.
    pub files: u64,
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PackStoreError),
}

/// Removes what nobody needs at `now`, and deletes the files of what was removed more than `grace` ago.
pub async fn collect_garbage(
    database: &Database,
    packs: &PackStore,
    now: Timestamp,
    grace: Duration,
) -> Result<Collected, CollectError> {
    let mut collected = Collected::default();
    let mut last = None;
    loop {
        let found = database.garbage(last, BATCH).await?;
        let Some(end) = found.last() else { break };
        last = Some(end.pack);
        for Garbage { pack, length } in found {
            if database.remove_garbage(pack, now).await? {
                collected.packs += 1;
                collected.bytes += length;
            }
        }
    }

    let stored: Vec<PackId> = packs.list().await?.into_iter().map(|(id, _)| id).collect();
    database.doom_orphans(&stored, now).await?;

    loop {
        let doomed = database.begin_deleting(now - grace, now, BATCH).await?;
        if doomed.is_empty() {
            break;
        }
        stream::iter(doomed.clone())
            .map(|pack| packs.delete(pack))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        database.end_deleting(&doomed, now).await?;
        collected.files += doomed.len() as u64;
    }
    database.forget_deleted(now - MEMORY).await?;
    Ok(collected)
}

/// What it would remove now, without doing so.
pub async fn find_garbage(database: &Database) -> Result<Collected, DatabaseError> {
    let mut found = Collected::default();
    let mut last = None;
    loop {
        let batch = database.garbage(last, BATCH).await?;
        let Some(end) = batch.last() else { break };
        last = Some(end.pack);
        found.packs += batch.len() as u64;
        found.bytes += batch.iter().map(|garbage| garbage.length).sum::<u64>();
    }
    Ok(found)
}
