//! The set of objects that a walk over a push's closure has reached.
//!
//! It is a temporary table of one connection: bounded memory however large the push, and no write lock
//! of the database while the walk goes on.

use dotmesh_model::ObjectHash;
use dotmesh_store::Kind;
use sqlx::pool::PoolConnection;
use sqlx::{QueryBuilder, Sqlite};
use tokio::sync::OwnedSemaphorePermit;

use super::ids::{self, ObjectId};
use super::objects::{self, Known, Location, Scope};
use super::{Database, DatabaseError};

const ROWS_PER_STATEMENT: usize = 1024;

/// Id, hash, kind, pack, position, length and length in clear.
type NodeRow = (ObjectId, Vec<u8>, i64, Vec<u8>, i64, i64, i64);

/// A walk. Dropping it forgets what it has reached.
pub struct Walk {
    pub(super) connection: PoolConnection<Sqlite>,
    _turn: OwnedSemaphorePermit,
}

/// A node that was reached and not yet read.
#[derive(Debug, Clone, Copy)]
pub struct PendingNode {
    /// Its row.
    pub id: ObjectId,
    /// Its hash.
    pub hash: ObjectHash,
    /// What its bytes are.
    pub kind: Kind,
    /// Where they are.
    pub location: Location,
}

impl Database {
    /// Begins a walk; waits while too many are under way.
    pub async fn begin_walk(&self) -> Result<Walk, DatabaseError> {
        let turn = self
            .walk_turns
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| DatabaseError::Failed(sqlx::Error::PoolClosed))?;
        let mut connection = self.walks.acquire().await?;
        for statement in [
            // The connection's last walk may have been dropped anywhere.
            "DROP TABLE IF EXISTS temp.walk",
            "CREATE TEMP TABLE walk (object INTEGER PRIMARY KEY, pending INTEGER NOT NULL)",
            "CREATE INDEX temp.walk_pending ON walk (object) WHERE pending = 1",
        ] {
            sqlx::query(statement).execute(&mut *connection).await?;
        }
        Ok(Walk {
            connection,
            _turn: turn,
        })
    }
}

impl Walk {
    /// Those of the objects that the push may refer to.
    pub async fn usable(
        &mut self,
        scope: Scope,
        hashes: &[ObjectHash],
    ) -> Result<std::collections::HashMap<ObjectHash, Known>, DatabaseError> {
        objects::usable(&mut self.connection, scope, hashes).await
    }

    /// Notes objects as reached. Nodes among them are to be read; chunks refer to nothing.
    pub async fn reach(&mut self, reached: &[Known]) -> Result<(), DatabaseError> {
        for reached in reached.chunks(ROWS_PER_STATEMENT) {
            let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO temp.walk (object, pending) ");
            query.push_values(reached, |mut row, known| {
                row.push_bind(known.id).push_bind(known.kind != Kind::Chunk);
            });
            query.push(" ON CONFLICT (object) DO NOTHING");
            query
                .build()
                .persistent(false)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    /// Some nodes to be read, at least one unless the walk is at its end.
    pub async fn pending(&mut self, limit: u32) -> Result<Vec<PendingNode>, DatabaseError> {
        let rows: Vec<NodeRow> = sqlx::query_as(
            "SELECT o.id, o.hash, o.kind, p.name, o.position, o.length, o.raw_length
             FROM temp.walk w
             JOIN objects o ON o.id = w.object
             JOIN packs p ON p.id = o.pack
             WHERE w.pending = 1
             ORDER BY w.object LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&mut *self.connection)
        .await?;
        rows.into_iter()
            .map(|(id, hash, kind, pack, position, length, raw_length)| {
                Ok(PendingNode {
                    id,
                    hash: ids::object_hash(&hash)?,
                    kind: objects::kind(kind)?,
                    location: objects::location(&pack, position, length, raw_length)?,
                })
            })
            .collect()
    }

    /// Notes nodes as read.
    pub async fn done(&mut self, nodes: &[PendingNode]) -> Result<(), DatabaseError> {
        for nodes in nodes.chunks(ROWS_PER_STATEMENT) {
            let mut query =
                QueryBuilder::<Sqlite>::new("UPDATE temp.walk SET pending = 0 WHERE object IN (");
            let mut list = query.separated(", ");
            for node in nodes {
                list.push_bind(node.id);
            }
            query.push(")");
            query
                .build()
                .persistent(false)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
}
