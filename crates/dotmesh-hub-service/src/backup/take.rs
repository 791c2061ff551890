//! Takes a backup while the hub runs.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dotmesh_hub_db::dump::DumpLine;
use dotmesh_hub_db::leases::BACKUP;
use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_model::ambient::{Clock, Random};
use dotmesh_store::{PackId, PackStore, PackStoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;

use super::folder::{BackupFolder, FORMAT, FolderError, Manifest};

/// How long the lease holds when this program dies.
const LEASE_LENGTH: Duration = Duration::from_secs(2 * 60);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(20);

/// The number of packs in memory at once.
const AT_ONCE: usize = 4;

/// Why a backup could not be taken. If the folder had a backup before, it still has one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another backup has begun.
    #[error("another backup of this hub is being taken")]
    Busy,
    /// The folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The hub's store failed.
    #[error(transparent)]
    Store(#[from] PackStoreError),
}

/// A backup that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its manifest.
    pub manifest: Manifest,
    /// The number of packs that were not in the folder before.
    pub new_packs: u64,
    /// The total length of these packs, in bytes.
    pub new_bytes: u64,
}

/// Takes a backup: the records as of one instant, then every pack that they name.
pub async fn take(
    database: &Database,
    packs: &PackStore,
    folder: &BackupFolder,
    clock: &Clock,
    random: &Random,
) -> Result<Taken, BackupError> {
    let holder = hex::encode(random.bytes::<8>());
    let now = clock.now();
    // The lease is taken before the records are read. From now on, garbage collection keeps the packs that they name.
    if !database
        .lease(BACKUP, &holder, now, now + LEASE_LENGTH)
        .await?
    {
        return Err(BackupError::Busy);
    }
    let taking = copy(database, packs, folder, now);
    let renewing = async {
        let mut ticks = tokio::time::interval(RENEWAL);
        loop {
            ticks.tick().await;
            let now = clock.now();
            let until = now + LEASE_LENGTH;
            if !database.lease(BACKUP, &holder, now, until).await? {
                return Err::<Taken, _>(BackupError::Busy);
            }
        }
    };
    let result = tokio::select! {
        taken = taking => taken,
        lost = renewing => lost,
    };
    let now = clock.now();
    database.lease(BACKUP, &holder, now, now).await?;
    result
}

async fn copy(
    database: &Database,
    packs: &PackStore,
    folder: &BackupFolder,
    time: Timestamp,
) -> Result<Taken, BackupError> {
    let mut writer = folder.write_records()?;
    let mut named: HashSet<PackId> = HashSet::new();
    let schema = database
        .dump(|line| {
            writer.write(&line)?;
            if let DumpLine::Row(values) = &line {
                named.extend(pack_in(writer.table(), values));
            }
            Ok::<_, BackupError>(())
        })
        .await?;
    let records = writer.finish()?;

    let target = folder.packs()?;
    let there: HashSet<PackId> = target.list().await?.into_iter().map(|(id, _)| id).collect();
    let mut named: Vec<PackId> = named.into_iter().collect();
    named.sort_unstable();
    let new = named.iter().filter(|id| !there.contains(id));
    let copied: Vec<Result<u64, PackId>> = stream::iter(new)
        .map(|id| copy_pack(packs, &target, *id))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut lost: Vec<String> = copied
        .iter()
        .filter_map(|copied| copied.as_ref().err().map(PackId::to_string))
        .collect();
    lost.sort_unstable();
    let manifest = Manifest {
        format: FORMAT,
        dothub: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
        time,
        records: records.name,
        sha256: records.sha256,
        rows: records.rows,
        packs: named.len() as u64,
        lost,
    };
    folder.finish(&manifest, &named).await?;
    let copied = copied.iter().filter_map(|copied| copied.as_ref().ok());
    Ok(Taken {
        manifest,
        new_packs: copied.clone().count() as u64,
        new_bytes: copied.sum(),
    })
}

/// Returns the name of a pack that a row makes necessary, if it is a row of such a table.
pub(super) fn pack_in(table: &str, row: &[Value]) -> Option<PackId> {
    let column = match table {
        "packs" => 2,
        // The pack that another one builds on.
        "pack_bases" => 1,
        _ => return None,
    };
    let name = BASE64.decode(row.get(column)?.as_str()?).ok()?;
    Some(PackId::from_bytes(name.try_into().ok()?))
}

/// Copies a pack, and returns its length. If the hub has lost the pack, its id is returned, because the backup goes
/// on without it.
async fn copy_pack(
    from: &PackStore,
    to: &PackStore,
    id: PackId,
) -> Result<Result<u64, PackId>, BackupError> {
    match from.get(id).await {
        Ok(pack) => {
            let length = pack.len() as u64;
            to.put(pack).await.map_err(FolderError::from)?;
            Ok(Ok(length))
        }
        Err(PackStoreError::NotFound { .. } | PackStoreError::Damaged { .. }) => Ok(Err(id)),
        Err(error) => Err(error.into()),
    }
}
