//! The registry: a SQLite index of the pool, so that listing and lookup read no folders.
//!
//! The pool is authoritative. Operations change the pool first, then the registry. After a crash,
//! `operations/reconcile.rs` repairs the registry at the next start.
//!
//! No statement outside a transaction uses `RETURNING`: SQLite commits it after its last row, and `fetch_one` drops
//! that error.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::str::FromStr;

use dotmesh_api::node::Source;
use dotmesh_model::branches::Origin;
use dotmesh_model::{
    BranchName, CommitId, CommitRecord, DotName, History, LeftOut, Namespace, ObjectHash,
};
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use crate::error::NodeError;
use crate::sqlite;

mod left_out;
mod made_by;
mod mounts;
mod summaries;
mod switches;

pub(crate) use made_by::MadeBy;
pub(crate) use summaries::WaitingSummary;
pub(crate) use switches::{SwitchJournal, ToStart};

type Result<T> = std::result::Result<T, NodeError>;

/// A dot and its branches.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    pub(crate) id: String,
    pub(crate) name: DotName,
    pub(crate) current: BranchName,
    pub(crate) branches: BTreeMap<BranchName, Branch>,
}

/// A branch's place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) head: CommitId,
    pub(crate) origin: Option<Origin>,
}

impl Dot {
    /// The branch's head and origin.
    pub(crate) fn branch(&self, name: &BranchName) -> Result<&Branch> {
        self.branches.get(name).ok_or_else(|| NodeError::NoBranch {
            branch: name.clone(),
        })
    }

    /// The branch that is checked out.
    pub(crate) fn current(&self) -> Result<&Branch> {
        self.branch(&self.current)
    }

    /// All heads by name.
    pub(crate) fn heads(&self) -> BTreeMap<BranchName, CommitId> {
        self.branches
            .iter()
            .map(|(name, branch)| (name.clone(), branch.head))
            .collect()
    }
}

/// The seal of a commit and the root of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) seal: ObjectHash,
    pub(crate) root: ObjectHash,
    /// Whether it may contain hard links.
    pub(crate) links: bool,
}

#[derive(Clone)]
pub(crate) struct Registry {
    db: SqlitePool,
}

/// The schema's version.
const VERSION: i64 = 3;

impl Registry {
    /// Opens or creates the registry. One of another version is rebuilt, since it is only an index.
    pub(crate) async fn open(file: &Path) -> Result<Self> {
        let registry = Self::connect(file).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&registry.db)
            .await?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&registry.db)
            .await?;
        let registry = if version == VERSION || tables == 0 {
            registry
        } else {
            tracing::info!(
                version,
                "the registry has another version, rebuilding it from the pool"
            );
            registry.db.close().await;
            sqlite::remove(file).await?;
            Self::connect(file).await?
        };
        sqlx::raw_sql(include_str!("registry/schema.sql"))
            .execute(&registry.db)
            .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "PRAGMA user_version = {VERSION}"
        )))
        .execute(&registry.db)
        .await?;
        Ok(registry)
    }

    async fn connect(file: &Path) -> Result<Self> {
        // If a power failure loses the last writes, they are read from the pool again.
        let db = sqlite::open(file, SqliteSynchronous::Normal).await?;
        Ok(Self { db })
    }

    /// All dots, sorted by name.
    pub(crate) async fn dots(&self) -> Result<Vec<Dot>> {
        let rows = sqlx::query(
            "SELECT d.id, d.namespace, d.name, d.current, b.name, b.head, b.origin_branch, b.origin_commit
             FROM dots d LEFT JOIN branches b ON b.dot = d.id",
        )
        .fetch_all(&self.db)
        .await?;
        collect_dots(&rows)
    }

    /// One dot.
    pub(crate) async fn dot(&self, name: &DotName) -> Result<Dot> {
        self.find_dot(name)
            .await?
            .ok_or_else(|| NodeError::NoDot { dot: name.clone() })
    }

    /// One dot, if it exists.
    pub(crate) async fn find_dot(&self, name: &DotName) -> Result<Option<Dot>> {
        let rows = sqlx::query(
            "SELECT d.id, d.namespace, d.name, d.current, b.name, b.head, b.origin_branch, b.origin_commit
             FROM dots d LEFT JOIN branches b ON b.dot = d.id WHERE d.namespace = ? AND d.name = ?",
        )
        .bind(name.namespace.as_str())
        .bind(name.name())
        .fetch_all(&self.db)
        .await?;
        Ok(collect_dots(&rows)?.pop())
    }

    /// Adds or replaces a dot and its branches. Its commits stay.
    pub(crate) async fn put_dot(&self, dot: &Dot) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        sqlx::query("DELETE FROM dots WHERE namespace = ? AND name = ? AND id <> ?")
            .bind(dot.name.namespace.as_str())
            .bind(dot.name.name())
            .bind(&dot.id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO dots (id, namespace, name, current) VALUES (?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET namespace = excluded.namespace, name = excluded.name,
                                            current = excluded.current",
        )
        .bind(&dot.id)
        .bind(dot.name.namespace.as_str())
        .bind(dot.name.name())
        .bind(dot.current.as_str())
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM branches WHERE dot = ?")
            .bind(&dot.id)
            .execute(&mut *transaction)
            .await?;
        for (name, branch) in &dot.branches {
            let origin = branch.origin.as_ref();
            sqlx::query(
                "INSERT INTO branches (dot, name, head, origin_branch, origin_commit) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&dot.id)
            .bind(name.as_str())
            .bind(branch.head.to_string())
            .bind(origin.map(|origin| origin.branch.as_str().to_owned()))
            .bind(origin.map(|origin| origin.commit.to_string()))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets a dot and its commits.
    pub(crate) async fn delete_dot(&self, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM dots WHERE id = ?")
            .bind(id)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Adds commits, parents first. Known ones stay unchanged.
    pub(crate) async fn add_commits(&self, dot: &str, commits: &[NewCommit]) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        for commit in commits {
            insert_commit(&mut transaction, dot, commit).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Adds a commit and moves a branch's head to it, in one transaction.
    pub(crate) async fn add_commit(
        &self,
        dot: &str,
        branch: &BranchName,
        commit: NewCommit,
    ) -> Result<()> {
        let mut transaction = self.db.begin().await?;
        insert_commit(&mut transaction, dot, &commit).await?;
        sqlx::query("UPDATE branches SET head = ? WHERE dot = ? AND name = ?")
            .bind(commit.id.to_string())
            .bind(dot)
            .bind(branch.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Changes the head of a branch.
    pub(crate) async fn set_head(
        &self,
        dot: &str,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<()> {
        sqlx::query("UPDATE branches SET head = ? WHERE dot = ? AND name = ?")
            .bind(head.to_string())
            .bind(dot)
            .bind(branch.as_str())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Forgets commits that are no longer in the pool.
    pub(crate) async fn forget_commits(&self, dot: &str, ids: &[CommitId]) -> Result<()> {
        for id in ids {
            sqlx::query("DELETE FROM commits WHERE dot = ? AND id = ?")
                .bind(dot)
                .bind(id.to_string())
                .execute(&self.db)
                .await?;
        }
        Ok(())
    }

    /// All commits of a dot with their parents.
    pub(crate) async fn history(&self, dot: &str) -> Result<History> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, parent FROM commits WHERE dot = ?")
                .bind(dot)
                .fetch_all(&self.db)
                .await?;
        let mut history = History::default();
        for (id, parent) in rows {
            history.insert(parse(&id)?, parse(&parent)?);
        }
        Ok(history)
    }

    /// The number of commits up to each branch's head, by dot id and branch name.
    pub(crate) async fn heights(&self) -> Result<BTreeMap<(String, String), u64>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT b.dot, b.name, c.height FROM branches b JOIN commits c ON c.dot = b.dot AND c.id = b.head",
        )
        .fetch_all(&self.db)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(dot, name, n)| ((dot, name), n.unsigned_abs()))
            .collect())
    }

    /// A commit's record in its stored form.
    pub(crate) async fn record(&self, dot: &str, id: CommitId) -> Result<Vec<u8>> {
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT record FROM commits WHERE dot = ? AND id = ?")
                .bind(dot)
                .bind(id.to_string())
                .fetch_optional(&self.db)
                .await?;
        row.map(|(record,)| record)
            .ok_or_else(|| NodeError::RegistryDamaged(format!("commit {id} is missing")))
    }

    /// A commit's decoded record.
    pub(crate) async fn decoded(&self, dot: &str, id: CommitId) -> Result<CommitRecord> {
        CommitRecord::decode(&self.record(dot, id).await?)
            .map_err(|error| NodeError::RegistryDamaged(error.to_string()))
    }

    /// The seals of all sealed commits of a dot.
    pub(crate) async fn seals(&self, dot: &str) -> Result<HashMap<CommitId, Seal>> {
        let rows: Vec<(String, String, String, Option<bool>)> = sqlx::query_as(
            "SELECT id, seal, root, links FROM commits
             WHERE dot = ? AND seal IS NOT NULL AND root IS NOT NULL",
        )
        .bind(dot)
        .fetch_all(&self.db)
        .await?;
        rows.iter()
            .map(|(id, seal, root, links)| {
                Ok((
                    parse(id)?,
                    Seal {
                        seal: parse(seal)?,
                        root: parse(root)?,
                        links: links.unwrap_or(true),
                    },
                ))
            })
            .collect()
    }

    /// Stores a commit's seal.
    pub(crate) async fn set_seal(&self, dot: &str, id: CommitId, seal: Seal) -> Result<()> {
        sqlx::query("UPDATE commits SET seal = ?, root = ?, links = ? WHERE dot = ? AND id = ?")
            .bind(seal.seal.to_string())
            .bind(seal.root.to_string())
            .bind(seal.links)
            .bind(dot)
            .bind(id.to_string())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// The commits of a dot whose data is not here, and where their data is.
    pub(crate) async fn sources(&self, dot: &str) -> Result<BTreeMap<CommitId, Source>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT id, hub, hub_dot FROM commits
             WHERE dot = ? AND hub IS NOT NULL AND hub_dot IS NOT NULL",
        )
        .bind(dot)
        .fetch_all(&self.db)
        .await?;
        rows.into_iter()
            .map(|(id, hub, dot)| {
                let dot = parse(&dot)?;
                Ok((parse(&id)?, Source { hub, dot }))
            })
            .collect()
    }

    /// Stores where a commit's data is. `None` means here.
    pub(crate) async fn set_source(
        &self,
        dot: &str,
        id: CommitId,
        source: Option<&Source>,
    ) -> Result<()> {
        sqlx::query("UPDATE commits SET hub = ?, hub_dot = ? WHERE dot = ? AND id = ?")
            .bind(source.map(|source| source.hub.as_str()))
            .bind(source.map(|source| source.dot.full()))
            .bind(dot)
            .bind(id.to_string())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Adds a volume that Docker created.
    pub(crate) async fn add_volume(&self, name: &str) -> Result<()> {
        sqlx::query("INSERT INTO volumes (name) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(name)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Forgets a volume.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM volumes WHERE name = ?")
            .bind(name)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Whether Docker created this volume and did not remove it.
    pub(crate) async fn has_volume(&self, name: &str) -> Result<bool> {
        let row = sqlx::query("SELECT 1 FROM volumes WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.db)
            .await?;
        Ok(row.is_some())
    }

    /// The names of all volumes, sorted.
    pub(crate) async fn volumes(&self) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT name FROM volumes ORDER BY name")
            .fetch_all(&self.db)
            .await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }
}

/// A commit to add.
#[derive(Debug, Clone)]
pub(crate) struct NewCommit {
    pub(crate) id: CommitId,
    pub(crate) parent: CommitId,
    pub(crate) record: Vec<u8>,
    pub(crate) seal: Option<Seal>,
    /// Where its data is, if it is not here.
    pub(crate) source: Option<Source>,
    /// What a hub reported as left out of it.
    pub(crate) left_out: Option<LeftOut>,
}

fn collect_dots(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Vec<Dot>> {
    let mut dots: BTreeMap<DotName, Dot> = BTreeMap::new();
    for row in rows {
        let namespace: Namespace = parse(row.try_get(1)?)?;
        let name = DotName::new(namespace, row.try_get(2)?)?;
        let (id, current): (String, &str) = (row.try_get(0)?, row.try_get(3)?);
        let current = parse(current)?;
        let dot = dots.entry(name.clone()).or_insert_with(|| Dot {
            id,
            name,
            current,
            branches: BTreeMap::new(),
        });
        let Some(branch) = row.try_get::<Option<&str>, _>(4)? else {
            continue;
        };
        let origin = match (
            row.try_get::<Option<&str>, _>(6)?,
            row.try_get::<Option<&str>, _>(7)?,
        ) {
            (Some(branch), Some(commit)) => Some(Origin {
                branch: parse(branch)?,
                commit: parse(commit)?,
            }),
            _ => None,
        };
        let head = parse(row.try_get(5)?)?;
        dot.branches.insert(parse(branch)?, Branch { head, origin });
    }
    Ok(dots.into_values().collect())
}

fn parse<T: FromStr>(text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| NodeError::RegistryDamaged(error.to_string()))
}

async fn insert_commit(
    transaction: &mut SqliteConnection,
    dot: &str,
    commit: &NewCommit,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO commits (dot, id, parent, height, record, seal, root, links, hub, hub_dot)
         VALUES (?1, ?2, ?3, 1 + coalesce(
             (SELECT height FROM commits WHERE dot = ?1 AND id = ?3), 0), ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO NOTHING",
    )
    .bind(dot)
    .bind(commit.id.to_string())
    .bind(commit.parent.to_string())
    .bind(&commit.record)
    .bind(commit.seal.map(|seal| seal.seal.to_string()))
    .bind(commit.seal.map(|seal| seal.root.to_string()))
    .bind(commit.seal.map(|seal| seal.links))
    .bind(commit.source.as_ref().map(|source| source.hub.as_str()))
    .bind(commit.source.as_ref().map(|source| source.dot.full()))
    .execute(&mut *transaction)
    .await?;
    if let Some(told) = &commit.left_out {
        left_out::put_told(transaction, dot, commit.id, told).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_and_its_branch_are_stored_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(&folder.path().join("db")).await.unwrap();
        let master = BranchName::master();
        let branch = Branch {
            head: CommitId::ROOT,
            origin: None,
        };
        let dot = Dot {
            id: "0".repeat(32),
            name: "app".parse().unwrap(),
            current: master.clone(),
            branches: [(master.clone(), branch)].into(),
        };
        registry.put_dot(&dot).await.unwrap();
        sqlx::raw_sql(
            "CREATE TRIGGER no BEFORE UPDATE ON branches BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .execute(&registry.db)
        .await
        .unwrap();
        let id = CommitId::from_bytes([7; 16]);
        let commit = NewCommit {
            id,
            parent: CommitId::ROOT,
            record: b"{}".to_vec(),
            seal: None,
            source: None,
            left_out: None,
        };
        let added = registry.add_commit(&dot.id, &master, commit).await;
        assert!(added.is_err());
        assert!(registry.record(&dot.id, id).await.is_err());
        let stored = registry.dot(&dot.name).await.unwrap();
        assert_eq!(stored.branches, dot.branches);
    }
}
