//! Database summaries: what is in the databases of a commit, as a client sent it. Their form is the caller's.

use dotmesh_hub_model::quota::Usage;
use dotmesh_model::CommitId;

use crate::ids::{self, DotId, UserId};
use crate::{Database, DatabaseError, quotas};

/// The most bytes of table names that the search knows of a dot.
const MAX_NAMES: usize = 16 << 10;

/// A summary that is to be stored.
#[derive(Debug)]
pub struct NewDatabases<'a> {
    /// The commit.
    pub commit: CommitId,
    /// The summary.
    pub summary: &'a [u8],
    /// The names of its tables, for the search.
    pub tables: &'a [&'a str],
}

/// The result of storing a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// It is stored.
    Done,
    /// The commit has this summary already.
    Has(Vec<u8>),
    /// The dot has no such commit.
    NoSuchCommit,
    /// The summary would exceed the quota of the dot's owner.
    OverQuota(Usage),
}

impl Database {
    /// Returns the summary of a commit.
    pub async fn databases(
        &self,
        dot: DotId,
        commit: CommitId,
    ) -> Result<Option<Vec<u8>>, DatabaseError> {
        let summary = sqlx::query_scalar(
            "SELECT summary FROM commit_databases WHERE dot = $1 AND commit_id = $2",
        )
        .bind(dot)
        .bind(commit.as_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await?;
        Ok(summary)
    }

    /// Stores the summary of a commit that has none. `quota` is the hub's default.
    pub async fn keep_databases(
        &self,
        dot: DotId,
        owner: UserId,
        new: NewDatabases<'_>,
        quota: Option<u64>,
    ) -> Result<Keeping, DatabaseError> {
        let commit = new.commit.as_bytes().as_slice();
        let mut tx = self.begin().await?;
        let has: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT summary FROM commit_databases WHERE dot = $1 AND commit_id = $2",
        )
        .bind(dot)
        .bind(commit)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(has) = has {
            return Ok(Keeping::Has(has));
        }
        let done = sqlx::query(
            "INSERT INTO commit_databases (dot, commit_id, summary)
             SELECT c.dot, c.id, $3 FROM commits c WHERE c.dot = $1 AND c.id = $2",
        )
        .bind(dot)
        .bind(commit)
        .bind(new.summary)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Keeping::NoSuchCommit);
        }
        sqlx::query("UPDATE dots SET texts = texts + $2 WHERE id = $1")
            .bind(dot)
            .bind(new.summary.len() as i64)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO dot_tables (dot, commit_id, names) VALUES ($1, $2, $3)
             ON CONFLICT (dot) DO UPDATE SET commit_id = excluded.commit_id, names = excluded.names",
        )
        .bind(dot)
        .bind(commit)
        .bind(lines(new.tables))
        .execute(&mut *tx)
        .await?;
        if let Some(usage) = quotas::exceeded(&mut tx, owner, quota).await? {
            return Ok(Keeping::OverQuota(usage));
        }
        tx.commit().await?;
        Ok(Keeping::Done)
    }

    /// Deletes the summary of a commit. `false` if it has none.
    pub async fn delete_databases(
        &self,
        dot: DotId,
        commit: CommitId,
    ) -> Result<bool, DatabaseError> {
        let id = commit.as_bytes().as_slice();
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE dots SET texts = texts -
                 (SELECT CAST(coalesce(sum(octet_length(s.summary)), 0) AS BIGINT)
                  FROM commit_databases s WHERE s.dot = $1 AND s.commit_id = $2)
             WHERE id = $1",
        )
        .bind(dot)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM dot_tables WHERE dot = $1 AND commit_id = $2")
            .bind(dot)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let done = sqlx::query("DELETE FROM commit_databases WHERE dot = $1 AND commit_id = $2")
            .bind(dot)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Returns the names, one a line, without those that are too many.
fn lines(tables: &[&str]) -> String {
    let mut lines = String::new();
    for name in tables {
        let name = ids::text(name).replace(['\n', '\r'], " ");
        if lines.len() + name.len() >= MAX_NAMES {
            break;
        }
        lines.push_str(&name);
        lines.push('\n');
    }
    lines
}
