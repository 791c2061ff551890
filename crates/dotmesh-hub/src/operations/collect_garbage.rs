//! Garbage collection: packs that no dot and no push needs any more, beside everything else that goes on, in any number of
//! processes. Cut at any point, it has done nothing wrong, and the next one goes on.
//!
//! Packs that are needed in part stay whole.

use std::time::Duration;

use dotmesh_store::{PackId, PackStore, PackStoreError};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use crate::database::garbage::Garbage;
use crate::database::{Database, DatabaseError};

/// How long a file outlives its rows: answers that were begun before are still read from it.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// How long it is remembered that a file was deleted: longer by far than a request that stores one may take.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Packs that are looked for together.
const BATCH: u32 = 100;

/// Files that are deleted at once. No more than these cannot be stored again for a day when a collector dies.
const FILES: u32 = 8;

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
    /// What this database does not name may be what another one does.
    #[error("the store contains the packs of another hub")]
    OthersStore,
}

/// Makes sure that a store's packs are of this database only: what it does not name, nobody needs.
pub async fn own_store(database: &Database, packs: &PackStore) -> Result<(), CollectError> {
    let identity = database.identity().await?;
    match packs.owner().await? {
        Some(owner) if owner == identity => Ok(()),
        Some(_) => Err(CollectError::OthersStore),
        None => Ok(packs.set_owner(identity).await?),
    }
}

/// Removes what nobody needs at `now`, and deletes the files of what was removed more than `grace` ago.
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
        // Of those that failed it is not known whether they still go.
        database.end_deleting(&deleted, now).await?;
        collected.files += deleted.len() as u64;
        if let Some(error) = failed {
            return Err(error.into());
        }
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
