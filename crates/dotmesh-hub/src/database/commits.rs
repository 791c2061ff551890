//! The commits of dots.

use std::collections::HashMap;

use dotmesh_api::hub::SealedCommit;
use dotmesh_model::{CommitId, History, ObjectHash};
use jiff::Timestamp;
use sqlx::AnyConnection;

use super::ids::{self, DotId};
use super::{Database, DatabaseError, ROWS_PER_STATEMENT};
use crate::operations::commit_graph::GraphCommit;
use crate::operations::describe_commit::CommitSummary;

/// Parent, seal, root and record.
type CommitRow = (Vec<u8>, Vec<u8>, Vec<u8>, String);

/// A commit that has been verified and is new to the dot.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// Its id.
    pub id: CommitId,
    /// Its parent's.
    pub parent: CommitId,
    /// The root of its parent's tree, unless it is the first.
    pub parent_root: Option<ObjectHash>,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: Timestamp,
    /// Its author's words.
    pub message: String,
    /// What travelled.
    pub sealed: SealedCommit,
}

/// What following commits need to know of one.
#[derive(Debug, Clone, Copy)]
pub struct KnownCommit {
    /// Its seal.
    pub seal: ObjectHash,
    /// The root of its tree.
    pub root: ObjectHash,
}

/// Some of a commit's ancestry.
#[derive(Debug)]
pub struct Ancestry {
    /// Newest first.
    pub commits: Vec<SealedCommit>,
    /// Where it would go on: the root commit or `until` when it is at its end.
    pub next: CommitId,
}

impl Database {
    /// Those of the commits that the dot has.
    pub async fn known_commits(
        &self,
        dot: DotId,
        commits: &[CommitId],
    ) -> Result<HashMap<CommitId, KnownCommit>, DatabaseError> {
        let mut known = HashMap::with_capacity(commits.len());
        for commits in commits.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = sqlx::query_as(
                "SELECT c.id, c.seal, c.root FROM numbers n CROSS JOIN commits c
                 WHERE n.n < $1 AND c.dot = $2 AND c.id = substr($3, n.n * 16 + 1, 16)",
            )
            .bind(commits.len() as i64)
            .bind(dot)
            .bind(ids::joined(commits))
            .fetch_all(&self.readers)
            .await?;
            for (id, seal, root) in rows {
                let commit = KnownCommit {
                    seal: ids::object_hash(&seal)?,
                    root: ids::object_hash(&root)?,
                };
                known.insert(ids::commit_id(&id)?, commit);
            }
        }
        Ok(known)
    }

    /// Whether the dot has a commit.
    pub async fn has_commit(&self, dot: DotId, commit: CommitId) -> Result<bool, DatabaseError> {
        let commits: i64 =
            sqlx::query_scalar("SELECT count(*) FROM commits WHERE dot = $1 AND id = $2")
                .bind(dot)
                .bind(commit.as_bytes().as_slice())
                .fetch_one(&self.readers)
                .await?;
        Ok(commits > 0)
    }

    /// A commit and its ancestors, at most `limit`, and none from `until` on. Empty when the dot has no such
    /// commit.
    pub async fn ancestry(
        &self,
        dot: DotId,
        head: CommitId,
        until: CommitId,
        limit: u32,
    ) -> Result<Ancestry, DatabaseError> {
        let rows: Vec<CommitRow> = sqlx::query_as(
            "WITH RECURSIVE line (id, n) AS (
                 SELECT $2, 0
                 UNION ALL
                 SELECT c.parent, line.n + 1
                 FROM line JOIN commits c ON c.dot = $1 AND c.id = line.id
                 WHERE line.n + 1 < $3 AND c.parent <> $4
             )
             SELECT c.parent, c.seal, c.root, c.record
             FROM line JOIN commits c ON c.dot = $1 AND c.id = line.id
             ORDER BY line.n",
        )
        .bind(dot)
        .bind(head.as_bytes().as_slice())
        .bind(i64::from(limit))
        .bind(until.as_bytes().as_slice())
        .fetch_all(&self.readers)
        .await?;
        let mut ancestry = Ancestry {
            commits: Vec::with_capacity(rows.len()),
            next: head,
        };
        for (parent, seal, root, record) in rows {
            ancestry.next = ids::commit_id(&parent)?;
            let (seal, root) = (ids::object_hash(&seal)?, ids::object_hash(&root)?);
            ancestry.commits.push(SealedCommit { seal, root, record });
        }
        Ok(ancestry)
    }

    /// Those of the commits that the dot has, in short.
    pub async fn summaries(
        &self,
        dot: DotId,
        commits: &[CommitId],
    ) -> Result<HashMap<CommitId, CommitSummary>, DatabaseError> {
        let mut summaries = HashMap::with_capacity(commits.len());
        for commits in commits.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<SummaryRow> = sqlx::query_as(
                "SELECT c.id, c.author, c.time, c.message
                 FROM numbers n CROSS JOIN commits c
                 WHERE n.n < $3 AND c.dot = $1 AND c.id = substr($2, n.n * 16 + 1, 16)",
            )
            .bind(dot)
            .bind(ids::joined(commits))
            .bind(commits.len() as i64)
            .fetch_all(&self.readers)
            .await?;
            for row in rows {
                let summary = summary(row)?;
                summaries.insert(summary.id, summary);
            }
        }
        Ok(summaries)
    }

    /// A dot's newest commits with their parents, of all branches.
    pub async fn newest_commits(
        &self,
        dot: DotId,
        limit: u32,
    ) -> Result<Vec<GraphCommit>, DatabaseError> {
        type Row = (Vec<u8>, Vec<u8>, String, i64, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT parent, id, author, time, message FROM commits
             WHERE dot = $1 ORDER BY time DESC LIMIT $2",
        )
        .bind(dot)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(parent, id, author, time, message)| {
                Ok(GraphCommit {
                    commit: summary((id, author, time, message))?,
                    parent: ids::commit_id(&parent)?,
                })
            })
            .collect()
    }

    /// Two at most of the dot's commits from an id to another.
    pub async fn commits_between(
        &self,
        dot: DotId,
        first: CommitId,
        last: CommitId,
    ) -> Result<Vec<CommitId>, DatabaseError> {
        let ids: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT id FROM commits WHERE dot = $1 AND id >= $2 AND id <= $3 LIMIT 2",
        )
        .bind(dot)
        .bind(first.as_bytes().as_slice())
        .bind(last.as_bytes().as_slice())
        .fetch_all(&self.readers)
        .await?;
        ids.iter().map(|id| ids::commit_id(id)).collect()
    }
}

/// Id, author, time and message.
type SummaryRow = (Vec<u8>, String, i64, String);

fn summary((id, author, time, message): SummaryRow) -> Result<CommitSummary, DatabaseError> {
    let (id, time) = (ids::commit_id(&id)?, ids::time(time)?);
    Ok(CommitSummary::new(id, author, time, &message))
}

pub(super) async fn history(
    connection: &mut AnyConnection,
    dot: DotId,
) -> Result<History, DatabaseError> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT id, parent FROM commits WHERE dot = $1")
            .bind(dot)
            .fetch_all(connection)
            .await?;
    let mut history = History::default();
    for (id, parent) in rows {
        history.insert(ids::commit_id(&id)?, ids::commit_id(&parent)?);
    }
    Ok(history)
}

pub(super) async fn insert(
    connection: &mut AnyConnection,
    dot: DotId,
    commit: &NewCommit,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO commits (dot, id, parent, seal, root, record, author, time, message)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(dot)
    .bind(commit.id.as_bytes().as_slice())
    .bind(commit.parent.as_bytes().as_slice())
    .bind(commit.sealed.seal.as_bytes().as_slice())
    .bind(commit.sealed.root.as_bytes().as_slice())
    .bind(commit.sealed.record.as_str())
    .bind(ids::text(&commit.author))
    .bind(commit.time.as_second())
    .bind(ids::text(&commit.message))
    .execute(connection)
    .await?;
    Ok(())
}
