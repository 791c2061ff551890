//! The commits of dots.

use std::collections::{BTreeSet, HashMap};

use dotmesh_api::hub::SealedCommit;
use dotmesh_hub_model::commit_summary::CommitSummary;
use dotmesh_hub_model::commit_summary::GraphCommit;
use dotmesh_model::{CommitId, History, ObjectHash};
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::ids::{self, DotId};
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

/// A commit that has been verified and changes the dot.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// Its id.
    pub id: CommitId,
    /// Its parent's.
    pub parent: CommitId,
    /// The tree to compare the commit's own tree with. It is the [`KnownCommit::tree`] of the parent.
    pub parent_tree: Option<ObjectHash>,
    /// Whether the dot has the commit without its data, which this push brings. If not, the commit is new to the dot.
    pub fills: bool,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub time: Timestamp,
    /// Its message, as the author wrote it.
    pub message: String,
    /// The commit as it was sent.
    pub sealed: SealedCommit,
}

/// The facts about a commit that the check of later commits needs.
#[derive(Debug, Clone, Copy)]
pub struct KnownCommit {
    /// Its seal.
    pub seal: ObjectHash,
    /// Whether it is without its data.
    pub without_data: bool,
    /// The root of its tree. A pushed commit without data has its parent's tree here. `None` if there is no such
    /// tree, or if the commit is without data and not in the push.
    ///
    /// The dot has this tree or gets it with the push. So when a child is compared with it, objects in it need no
    /// check.
    pub tree: Option<ObjectHash>,
}

/// Some of a commit's ancestry.
#[derive(Debug)]
pub struct Ancestry {
    /// Newest first.
    pub commits: Vec<SealedCommit>,
    /// The commit at which it continues. At the end, this is the root commit or `until`.
    pub next: CommitId,
}

#[derive(sqlx::FromRow)]
struct KnownRow {
    id: Vec<u8>,
    seal: Vec<u8>,
    root: Vec<u8>,
    without_data: i64,
}

impl KnownRow {
    fn read(self) -> Result<(CommitId, KnownCommit), DatabaseError> {
        let without_data = self.without_data != 0;
        let root = ids::object_hash(&self.root)?;
        let commit = KnownCommit {
            seal: ids::object_hash(&self.seal)?,
            without_data,
            // The dot may lack the tree of a commit without data.
            tree: (!without_data).then_some(root),
        };
        Ok((ids::commit_id(&self.id)?, commit))
    }
}

#[derive(sqlx::FromRow)]
struct SealedRow {
    parent: Vec<u8>,
    seal: Vec<u8>,
    root: Vec<u8>,
    record: String,
    /// A list as JSON.
    left_out: Option<String>,
    without_data: i64,
}

impl SealedRow {
    /// Returns the commit and its parent.
    fn read(self) -> Result<(SealedCommit, CommitId), DatabaseError> {
        let left_out = self.left_out.map(|json| serde_json::from_str(&json));
        let left_out = left_out.transpose().map_err(|_| DatabaseError::Damaged {
            what: "list of what is left out of a commit",
        })?;
        let commit = SealedCommit {
            seal: ids::object_hash(&self.seal)?,
            root: ids::object_hash(&self.root)?,
            record: self.record,
            left_out,
            without_data: self.without_data != 0,
        };
        Ok((commit, ids::commit_id(&self.parent)?))
    }
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    id: Vec<u8>,
    /// The beginning of the author.
    author: String,
    time: i64,
    /// The beginning of the message.
    message: String,
    without_data: i64,
}

impl SummaryRow {
    fn read(self) -> Result<CommitSummary, DatabaseError> {
        let (id, time) = (ids::commit_id(&self.id)?, ids::time(self.time)?);
        Ok(CommitSummary {
            without_data: self.without_data != 0,
            ..CommitSummary::new(id, &self.author, time, &self.message)
        })
    }
}

#[derive(sqlx::FromRow)]
struct GraphRow {
    parent: Vec<u8>,
    #[sqlx(flatten)]
    commit: SummaryRow,
}

impl GraphRow {
    fn read(self) -> Result<GraphCommit, DatabaseError> {
        Ok(GraphCommit {
            commit: self.commit.read()?,
            parent: ids::commit_id(&self.parent)?,
        })
    }
}

impl Database {
    /// Returns those of the commits that the dot has.
    pub async fn known_commits(
        &self,
        dot: DotId,
        commits: &[CommitId],
    ) -> Result<HashMap<CommitId, KnownCommit>, DatabaseError> {
        let mut known = HashMap::with_capacity(commits.len());
        for commits in commits.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<KnownRow> = sqlx::query_as(
                "SELECT c.id, c.seal, c.root, c.without_data FROM numbers n CROSS JOIN commits c
                 WHERE n.n < $1 AND c.dot = $2 AND c.id = substr($3, n.n * 16 + 1, 16)",
            )
            .bind(commits.len() as i64)
            .bind(dot)
            .bind(ids::joined(commits))
            .fetch_all(&self.readers)
            .await?;
            for row in rows {
                let (id, commit) = row.read()?;
                known.insert(id, commit);
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

    /// Whether a commit of the dot is without its data.
    pub async fn is_without_data(
        &self,
        dot: DotId,
        commit: CommitId,
    ) -> Result<bool, DatabaseError> {
        let without_data: Option<i64> =
            sqlx::query_scalar("SELECT without_data FROM commits WHERE dot = $1 AND id = $2")
                .bind(dot)
                .bind(commit.as_bytes().as_slice())
                .fetch_optional(&self.readers)
                .await?;
        Ok(without_data.is_some_and(|without_data| without_data != 0))
    }

    /// Returns the commits of the dot that are without their data.
    pub async fn commits_without_data(&self, dot: DotId) -> Result<Vec<CommitId>, DatabaseError> {
        let ids: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT id FROM commits WHERE dot = $1 AND without_data = 1")
                .bind(dot)
                .fetch_all(&self.readers)
                .await?;
        ids.iter().map(|id| ids::commit_id(id)).collect()
    }

    /// Returns the number of commits that are without their data.
    pub async fn count_without_data(&self, dot: DotId) -> Result<u64, DatabaseError> {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM commits WHERE dot = $1 AND without_data = 1")
                .bind(dot)
                .fetch_one(&self.readers)
                .await?;
        ids::unsigned(count)
    }

    /// Returns a commit and its ancestors, at most `limit` of them. It ends before `until`. Empty when the dot has no
    /// such commit.
    pub async fn ancestry(
        &self,
        dot: DotId,
        head: CommitId,
        until: CommitId,
        limit: u32,
    ) -> Result<Ancestry, DatabaseError> {
        // With the columns in `line`, no join is left for which SQLite might read all commits of the dot.
        let rows: Vec<SealedRow> = sqlx::query_as(
            "WITH RECURSIVE line (n, parent, seal, root, record, left_out, without_data) AS (
                 SELECT 0, parent, seal, root, record, left_out, without_data
                 FROM commits WHERE dot = $1 AND id = $2
                 UNION ALL
                 SELECT line.n + 1, c.parent, c.seal, c.root, c.record, c.left_out, c.without_data
                 FROM line JOIN commits c ON c.dot = $1 AND c.id = line.parent
                 WHERE line.n + 1 < $3 AND line.parent <> $4
             )
             SELECT parent, seal, root, record, left_out, without_data FROM line ORDER BY n",
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
        for row in rows {
            let (commit, parent) = row.read()?;
            ancestry.commits.push(commit);
            ancestry.next = parent;
        }
        Ok(ancestry)
    }

    /// Returns summaries of a commit and its ancestors, for pages. They read no more of a commit than they show.
    pub async fn line(
        &self,
        dot: DotId,
        head: CommitId,
        limit: u32,
    ) -> Result<(Vec<CommitSummary>, CommitId), DatabaseError> {
        let rows: Vec<GraphRow> = sqlx::query_as(
            "WITH RECURSIVE line (n, parent, id, author, time, message, without_data) AS (
                 SELECT 0, parent, id, substr(author, 1, 300), time, substr(message, 1, 2000), without_data
                 FROM commits WHERE dot = $1 AND id = $2
                 UNION ALL
                 SELECT line.n + 1, c.parent, c.id, substr(c.author, 1, 300), c.time, substr(c.message, 1, 2000), c.without_data
                 FROM line JOIN commits c ON c.dot = $1 AND c.id = line.parent
                 WHERE line.n + 1 < $3
             )
             SELECT parent, id, author, time, message, without_data FROM line ORDER BY n",
        )
        .bind(dot)
        .bind(head.as_bytes().as_slice())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let mut next = head;
        let mut commits = Vec::with_capacity(rows.len());
        for row in rows {
            let GraphCommit { commit, parent } = row.read()?;
            commits.push(commit);
            next = parent;
        }
        Ok((commits, next))
    }

    /// Returns summaries of those of the commits that the dot has.
    pub async fn summaries(
        &self,
        dot: DotId,
        commits: &[CommitId],
    ) -> Result<HashMap<CommitId, CommitSummary>, DatabaseError> {
        let mut summaries = HashMap::with_capacity(commits.len());
        for commits in commits.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<SummaryRow> = sqlx::query_as(
                "SELECT c.id, substr(c.author, 1, 300) AS author, c.time,
                        substr(c.message, 1, 2000) AS message, c.without_data
                 FROM numbers n CROSS JOIN commits c
                 WHERE n.n < $3 AND c.dot = $1 AND c.id = substr($2, n.n * 16 + 1, 16)",
            )
            .bind(dot)
            .bind(ids::joined(commits))
            .bind(commits.len() as i64)
            .fetch_all(&self.readers)
            .await?;
            for row in rows {
                let summary = row.read()?;
                summaries.insert(summary.id, summary);
            }
        }
        Ok(summaries)
    }

    /// Returns a dot's newest commits of all branches, with their parents.
    pub async fn newest_commits(
        &self,
        dot: DotId,
        limit: u32,
    ) -> Result<Vec<GraphCommit>, DatabaseError> {
        let rows: Vec<GraphRow> = sqlx::query_as(
            "SELECT parent, id, substr(author, 1, 300) AS author, time,
                    substr(message, 1, 2000) AS message, without_data
             FROM commits WHERE dot = $1 ORDER BY time DESC LIMIT $2",
        )
        .bind(dot)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(GraphRow::read).collect()
    }

    /// Returns a dot's newest commits, each with its parent.
    pub async fn parents(
        &self,
        dot: DotId,
        limit: u32,
    ) -> Result<HashMap<CommitId, CommitId>, DatabaseError> {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT id, parent FROM commits WHERE dot = $1 ORDER BY time DESC LIMIT $2",
        )
        .bind(dot)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let pairs = rows.into_iter();
        pairs
            .map(|(id, parent)| Ok((ids::commit_id(&id)?, ids::commit_id(&parent)?)))
            .collect()
    }

    /// Returns at most two of the dot's commits with ids from `first` to `last`. Two prove that an abbreviated id is
    /// ambiguous.
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

/// Returns all commits of a dot with their parents, and those of them that are without their data.
pub(crate) async fn history(
    connection: &mut AnyConnection,
    dot: DotId,
) -> Result<(History, BTreeSet<CommitId>), DatabaseError> {
    let rows: Vec<(Vec<u8>, Vec<u8>, i64)> =
        sqlx::query_as("SELECT id, parent, without_data FROM commits WHERE dot = $1")
            .bind(dot)
            .fetch_all(connection)
            .await?;
    let (mut history, mut without) = (History::default(), BTreeSet::new());
    for (id, parent, without_data) in rows {
        let id = ids::commit_id(&id)?;
        history.insert(id, ids::commit_id(&parent)?);
        if without_data != 0 {
            without.insert(id);
        }
    }
    Ok((history, without))
}

/// Records that a commit has its data now. If the push says what it left out of the data, this replaces the stored
/// list.
pub(crate) async fn fill(
    connection: &mut AnyConnection,
    dot: DotId,
    commit: &NewCommit,
) -> Result<(), DatabaseError> {
    let left_out = left_out(commit);
    if let Some(left_out) = &left_out {
        sqlx::query(
            "UPDATE dots SET texts = texts + $3 -
                 (SELECT coalesce(octet_length(c.left_out), 0) FROM commits c WHERE c.dot = $1 AND c.id = $2)
             WHERE id = $1",
        )
        .bind(dot)
        .bind(commit.id.as_bytes().as_slice())
        .bind(left_out.len() as i64)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "UPDATE commits SET without_data = 0, left_out = coalesce($3, left_out)
         WHERE dot = $1 AND id = $2",
    )
    .bind(dot)
    .bind(commit.id.as_bytes().as_slice())
    .bind(left_out)
    .execute(connection)
    .await?;
    Ok(())
}

fn left_out(commit: &NewCommit) -> Option<String> {
    let list = commit.sealed.left_out.as_ref();
    let list = list.filter(|list| !list.is_empty());
    list.map(|list| serde_json::to_string(list).expect("texts and a number"))
}

pub(crate) async fn insert(
    connection: &mut AnyConnection,
    dot: DotId,
    commit: &NewCommit,
) -> Result<usize, DatabaseError> {
    let (author, message) = (ids::text(&commit.author), ids::text(&commit.message));
    let (record, left_out) = (commit.sealed.record.as_str(), left_out(commit));
    let texts =
        record.len() + author.len() + message.len() + left_out.as_ref().map_or(0, String::len);
    sqlx::query(
        "INSERT INTO commits (dot, id, parent, seal, root, record, author, time, message, left_out, without_data)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(dot)
    .bind(commit.id.as_bytes().as_slice())
    .bind(commit.parent.as_bytes().as_slice())
    .bind(commit.sealed.seal.as_bytes().as_slice())
    .bind(commit.sealed.root.as_bytes().as_slice())
    .bind(record)
    .bind(author)
    .bind(commit.time.as_second())
    .bind(message)
    .bind(left_out)
    .bind(i64::from(commit.sealed.without_data))
    .execute(connection)
    .await?;
    Ok(texts)
}
