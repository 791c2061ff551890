//! Garbage collection: deletes packs that no dot and no upload needs. It runs beside all other work, in any number of
//! processes. An interrupted collection does no harm, and the next one completes its work.
//!
//! A pack stays whole if any part of it is needed.

use std::time::Duration;

use dotmesh_hub_db::garbage::Garbage;
use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_store::{PackId, PackStore, PackStoreError};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

/// How long a pack's file outlives its rows. Responses that began earlier still read from it.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// How long the hub remembers that a file was deleted. It is far longer than a request that stores a pack can take.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The number of packs in one search.
const BATCH: u32 = 100;

/// The number of files that are deleted at once. If a collector dies, at most these files cannot be stored again for a
/// day.
const FILES: u32 = 8;

/// The result of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// The number of packs whose rows were removed.
    pub packs: u64,
    /// The size of these packs, in bytes.
    pub bytes: u64,
    /// The number of files that were deleted. Most belong to packs whose rows an earlier collection removed.
    pub files: u64,
}

/// Why a collection failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PackStoreError),
    /// The store belongs to another database. That database may name packs that this one does not.
    #[error("the store contains the packs of another hub")]
    OthersStore,
}

/// Makes sure that the store belongs to this database, and claims a store without an owner. In a store of its own, a
/// pack that the database does not name is garbage.
pub async fn own_store(database: &Database, packs: &PackStore) -> Result<(), CollectError> {
    let identity = database.identity().await?;
    match packs.owner().await? {
        Some(owner) if owner == identity => Ok(()),
        Some(_) => Err(CollectError::OthersStore),
        None => Ok(packs.set_owner(identity).await?),
    }
}

/// Removes the rows of packs that are garbage at `now`. Then deletes the files of packs whose rows were removed more
/// than `grace` ago.
pub async fn collect_garbage(
    database: &Database,
    packs: &PackStore,
    now: Timestamp,
    grace: Duration,
) -> Result<Collected, CollectError> {
    own_store(database, packs).await?;
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
        let pending = database.begin_deleting(now - grace, now, FILES).await?;
        if pending.is_empty() {
            break;
        }
        let mut deleting: FuturesUnordered<_> = pending
            .into_iter()
            .map(async |pack| packs.delete(pack).await.map(|()| pack))
            .collect();
        let (mut deleted, mut failed) = (Vec::new(), None);
        while let Some(result) = deleting.next().await {
            match result {
                Ok(pack) => deleted.push(pack),
                Err(error) => failed = Some(error),
            }
        }
        // A failed deletion may still happen later, so its file stays in the state of deletion.
        database.end_deleting(&deleted, now).await?;
        collected.files += deleted.len() as u64;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    database.forget_deleted(now - MEMORY).await?;
    Ok(collected)
}

/// Returns what a collection would remove now, without removing it.
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
