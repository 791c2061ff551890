//! Restores a hub from a backup.

use std::collections::BTreeSet;

use dotmesh_hub_db::dump::{DumpLine, LoadError};
use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_store::{PackId, PackStore, PackStoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::folder::{BackupFolder, FolderError, Manifest};
use super::take::pack_in;
use crate::operations::collect_garbage::{CollectError, own_store};

/// The number of packs in memory at once.
const AT_ONCE: usize = 4;

/// Why a backup could not be restored. All records are loaded in one transaction. If an error occurs before it ends,
/// the database is as empty as before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database has a hub already.
    #[error("the database already contains a hub")]
    NotEmpty,
    /// A dothub of another version has used the database.
    #[error("the database already contains tables of another version of dothub")]
    OtherSchema,
    /// A pack is missing, or is not what its name says.
    #[error("the backup is damaged")]
    Pack(#[source] PackStoreError),
    /// Packs that the records name are not there.
    #[error("the backup is incomplete: {0} of its packs are missing")]
    Missing(u64),
    /// The store belongs to another hub. Each hub would collect the other's packs as garbage.
    #[error("the store contains the packs of another hub")]
    OthersStore,
    /// The hub is restored, but the store could not be marked as its own.
    #[error("everything is restored, but the store cannot be assigned to this hub")]
    Own(#[source] CollectError),
    /// The folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The records cannot be loaded.
    #[error("the records of the backup cannot be loaded")]
    Load(#[from] LoadError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PackStoreError),
}

/// Restores a backup into a store and an empty database that was opened at the manifest's schema.
///
/// First it copies the packs and verifies each. Then it loads all records at once. Finally it migrates them to this
/// version.
pub async fn restore(
    folder: &BackupFolder,
    manifest: &Manifest,
    database: &Database,
    packs: &PackStore,
) -> Result<(), RestoreError> {
    if !database.is_empty().await? {
        return Err(RestoreError::NotEmpty);
    }
    if database.schema().await? != manifest.schema {
        return Err(RestoreError::OtherSchema);
    }
    if let Some(owner) = packs.owner().await? {
        // A hub that ran while its database was empty may own the store already. No hub has run on a database with an
        // older schema.
        let may_have_served = manifest.schema == Database::newest_schema();
        if !(may_have_served && database.identity().await? == owner) {
            return Err(RestoreError::OthersStore);
        }
    }
    let source = folder.packs()?;
    let ids = packs_to_restore(folder, manifest).await?;
    if ids.missing > 0 {
        return Err(RestoreError::Missing(ids.missing));
    }
    stream::iter(ids.there)
        .map(async |id| {
            let pack = source.get(id).await.map_err(RestoreError::Pack)?;
            packs.put(pack).await?;
            Ok::<_, RestoreError>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;

    let lines = folder.records(manifest)?;
    database
        .load(lines.map(|line| line.map_err(RestoreError::from)))
        .await?;
    database.migrate().await?;
    own_store(database, packs).await.map_err(RestoreError::Own)
}

/// The packs of a backup.
pub(super) struct PacksToRestore {
    /// The packs that the records name and the folder has.
    pub(super) there: BTreeSet<PackId>,
    /// How many named packs the folder lacks. Packs that the hub itself had lost do not count.
    pub(super) missing: u64,
}

/// Finds the packs to restore.
pub(super) async fn packs_to_restore(
    folder: &BackupFolder,
    manifest: &Manifest,
) -> Result<PacksToRestore, FolderError> {
    let there = folder.packs()?.list().await?;
    let there: BTreeSet<PackId> = there.into_iter().map(|(id, _)| id).collect();
    let named = named(folder, manifest)?;
    let missing = named.difference(&there).map(PackId::to_string);
    let missing = missing.filter(|id| !manifest.lost.contains(id)).count() as u64;
    // An interrupted backup may have left other packs in the folder.
    let there = named.intersection(&there).copied().collect();
    Ok(PacksToRestore { there, missing })
}

/// Returns the packs that the records name.
fn named(folder: &BackupFolder, manifest: &Manifest) -> Result<BTreeSet<PackId>, FolderError> {
    let mut named = BTreeSet::new();
    let mut table = String::new();
    for line in folder.records(manifest)? {
        match line? {
            DumpLine::Table { table: next, .. } => table = next,
            DumpLine::Row(values) => named.extend(pack_in(&table, &values)),
        }
    }
    Ok(named)
}
