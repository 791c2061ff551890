//! Verifies that a backup can be restored: restores it into a scratch database, and compares the result with it.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_hub_db::dump::{DumpLine, LoadError};
use dotmesh_hub_db::{Database, DatabaseError, Opening};
use dotmesh_store::{PackId, PackStoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::folder::{BackupFolder, FolderError, Manifest};
use super::restore::packs_to_restore;

/// The number of packs in memory at once.
const AT_ONCE: usize = 4;

/// Why a backup cannot be restored as it is.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A pack is not what its name says.
    #[error("a pack of the backup is damaged")]
    Pack(#[source] PackStoreError),
    /// Packs that the records name are not there.
    #[error("the backup is incomplete: {0} of its packs are missing")]
    Missing(u64),
    /// The restored rows of a table are not those of the backup.
    #[error("the restored {table} differ from those in the backup")]
    Differs { table: String },
    /// The folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The records cannot be loaded.
    #[error("the records of the backup cannot be loaded")]
    Load(#[from] LoadError),
    /// The scratch database failed.
    #[error("the scratch database failed")]
    Database(#[from] DatabaseError),
}

/// Restores the records, at their own schema, into a scratch database in the backup's folder, and compares every
/// record. Compares every pack with its name. Nothing that it restores stays.
pub async fn verify(folder: &BackupFolder, manifest: &Manifest) -> Result<(), VerifyError> {
    let packs = packs_to_restore(folder, manifest).await?;
    if packs.missing > 0 {
        return Err(VerifyError::Missing(packs.missing));
    }
    let source = folder.packs()?;
    stream::iter(packs.there.iter().copied())
        .map(async |id: PackId| source.get(id).await.map(drop).map_err(VerifyError::Pack))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;

    let scratch = folder.scratch()?;
    let path = scratch.path().join("hub.db");
    let database = Database::open(&path, Opening::NewAt(manifest.schema)).await?;
    let mut kept = Sums::default();
    let lines = folder.records(manifest)?.map(|line| {
        let line = line?;
        kept.add(&line);
        Ok::<_, VerifyError>(line)
    });
    database.load(lines).await?;
    let mut restored = Sums::default();
    database
        .dump(|line| {
            restored.add(&line);
            Ok::<_, VerifyError>(())
        })
        .await?;
    database.close().await;
    match kept.difference(&restored) {
        None => Ok(()),
        Some(table) => Err(VerifyError::Differs { table }),
    }
}

/// Checksums of the rows of each table, in any order: databases sort names in different ways.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    tables: BTreeMap<String, (u64, u128)>,
    table: String,
}

impl Sums {
    fn add(&mut self, line: &DumpLine) {
        if let DumpLine::Table { table, .. } = line {
            self.table.clone_from(table);
            self.tables.insert(table.clone(), (0, 0));
            return;
        }
        // Values are numbers, texts and null, which all become JSON.
        let text = serde_json::to_vec(line).unwrap_or_default();
        let hash: [u8; 32] = Sha256::digest(&text).into();
        let (half, _) = hash.split_at(16);
        let number = half.try_into().map(u128::from_be_bytes).unwrap_or_default();
        let (rows, sum) = self.tables.entry(self.table.clone()).or_default();
        *rows += 1;
        *sum = sum.wrapping_add(number);
    }

    /// Returns the first table that differs.
    fn difference(&self, other: &Self) -> Option<String> {
        let names: BTreeSet<&String> = self.tables.keys().chain(other.tables.keys()).collect();
        let names = names.into_iter();
        let mut others = names.filter(|name| self.tables.get(*name) != other.tables.get(*name));
        others.next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sums(rows: &[serde_json::Value]) -> Sums {
        let mut sums = Sums::default();
        sums.add(&DumpLine::Table {
            table: "notes".to_owned(),
            columns: vec!["id".to_owned(), "body".to_owned()],
        });
        for row in rows {
            sums.add(&serde_json::from_value(row.clone()).expect("a row"));
        }
        sums
    }

    #[test]
    fn rows_are_compared_in_any_order() {
        let all = sums(&[json!([1, "a"]), json!([2, null])]);
        assert_eq!(
            all.difference(&sums(&[json!([2, null]), json!([1, "a"])])),
            None
        );
        for other in [
            sums(&[json!([1, "a"])]),
            sums(&[json!([1, "a"]), json!([2, ""])]),
            sums(&[json!([1, "a"]), json!([2, null]), json!([2, null])]),
            Sums::default(),
        ] {
            assert_eq!(all.difference(&other).as_deref(), Some("notes"));
        }
    }
}
