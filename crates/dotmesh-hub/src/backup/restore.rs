//! Making a hub of a backup.

use dotmesh_store::{PackStore, PackStoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::folder::{BackupFolder, FolderError, Manifest};
use crate::database::dump::LoadError;
use crate::database::{Database, DatabaseError};

/// Packs in memory at once.
const AT_ONCE: usize = 4;

/// A backup that could not be restored. The database is as empty as before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a hub already.
    #[error("the database has a hub already")]
    NotEmpty,
    /// A dothub of another version has used the database.
    #[error("another version of dothub has made its tables in the database already")]
    OtherSchema,
    /// A pack is missing, or is not what its name says.
    #[error("the backup is damaged")]
    Pack(#[source] PackStoreError),
    /// There are fewer packs than the manifest says.
    #[error("the backup is not whole: {0} of its packs are missing")]
    Missing(u64),
    /// The folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The records cannot be loaded.
    #[error("its records cannot be loaded")]
    Load(#[from] LoadError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PackStoreError),
}

/// Restores into an empty database, which was opened at the manifest's schema, and a store: first the packs, each
/// verified, then all records at once, then whatever newer versions have changed.
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
    let source = folder.packs()?;
    let there = source.list().await.map_err(FolderError::from)?;
    let expected = manifest.packs.saturating_sub(manifest.lost.len() as u64);
    if (there.len() as u64) < expected {
        return Err(RestoreError::Missing(expected - there.len() as u64));
    }
    stream::iter(there)
        .map(async |(id, _)| {
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
    Ok(())
}
