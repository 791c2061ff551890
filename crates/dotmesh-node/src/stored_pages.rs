//! A cache of the tree pages of sealed commits. With it, sealing the next commit reads only what differs.
//!
//! If the cache is lost, the next sealing reads everything once. Callers check the bytes against their hashes, so
//! damage is harmless, and nothing is fsynced.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_model::{DotName, ObjectHash};
use dotmesh_store::Object;
use dotmesh_sync::PageCache;
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};
use tokio::runtime::Handle;

use crate::error::NodeError;
use crate::sqlite;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS nodes (
    dot   TEXT NOT NULL,
    hash  BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (dot, hash)
) STRICT, WITHOUT ROWID";

/// The maximum number of hashes or rows in a statement.
const PER_STATEMENT: usize = 256;

/// The cached tree pages of all dots.
#[derive(Clone)]
pub(crate) struct StoredPages {
    db: SqlitePool,
}

impl StoredPages {
    /// Opens the cache. If it cannot be read, it is replaced by an empty one.
    pub(crate) async fn open(file: &Path) -> Result<Self, NodeError> {
        match Self::try_open(file).await {
            Ok(stored) => Ok(stored),
            Err(error) => {
                tracing::warn!(%error, "the cache of tree pages cannot be read, starting with an empty one");
                sqlite::remove(file).await?;
                Ok(Self::try_open(file).await?)
            }
        }
    }

    async fn try_open(file: &Path) -> Result<Self, sqlx::Error> {
        let db = sqlite::open(file, SqliteSynchronous::Off).await?;
        sqlx::raw_sql(SCHEMA).execute(&db).await?;
        Ok(Self { db })
    }

    /// The cache of one dot. Keyed by name is safe: a hash names the same page, whichever dot had the name before.
    pub(crate) fn of(&self, dot: &DotName) -> Arc<dyn PageCache> {
        Arc::new(PagesOfDot {
            stored: self.clone(),
            dot: dot.full(),
            runtime: Handle::current(),
        })
    }

    /// Deletes a dot's pages.
    pub(crate) async fn forget(&self, dot: &DotName) -> Result<(), NodeError> {
        sqlx::query("DELETE FROM nodes WHERE dot = ?")
            .bind(dot.full())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    async fn get(
        &self,
        dot: &str,
        hashes: &[ObjectHash],
    ) -> Result<Vec<(ObjectHash, Bytes)>, sqlx::Error> {
        let mut found = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(PER_STATEMENT) {
            let mut query =
                QueryBuilder::<Sqlite>::new("SELECT hash, bytes FROM nodes WHERE dot = ");
            query.push_bind(dot).push(" AND hash IN (");
            let mut list = query.separated(", ");
            for hash in hashes {
                list.push_bind(hash.as_bytes().as_slice());
            }
            query.push(")");
            let rows: Vec<(Vec<u8>, Vec<u8>)> = query.build_query_as().fetch_all(&self.db).await?;
            found.extend(rows.into_iter().filter_map(|(hash, bytes)| {
                let hash = ObjectHash::from_bytes(hash.try_into().ok()?);
                Some((hash, bytes.into()))
            }));
        }
        Ok(found)
    }

    async fn put(&self, dot: &str, pages: &[Object]) -> Result<(), sqlx::Error> {
        let mut transaction = self.db.begin_with("BEGIN IMMEDIATE").await?;
        for pages in pages.chunks(PER_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO nodes (dot, hash, bytes) ");
            query.push_values(pages, |mut row, page| {
                row.push_bind(dot)
                    .push_bind(page.hash().as_bytes().as_slice())
                    .push_bind(&page.bytes()[..]);
            });
            // The stored bytes may be damaged.
            query.push(" ON CONFLICT DO UPDATE SET bytes = excluded.bytes");
            query.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}

/// The cached tree pages of one dot.
struct PagesOfDot {
    stored: StoredPages,
    dot: String,
    runtime: Handle,
}

impl PageCache for PagesOfDot {
    fn get(&self, hashes: &[ObjectHash]) -> Vec<(ObjectHash, Bytes)> {
        let found = self.runtime.block_on(self.stored.get(&self.dot, hashes));
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "the cache of tree pages cannot be read");
            Vec::new()
        })
    }

    fn put(&self, pages: &[Object]) {
        if let Err(error) = self.runtime.block_on(self.stored.put(&self.dot, pages)) {
            tracing::warn!(%error, "the cache of tree pages cannot be written");
        }
    }
}
