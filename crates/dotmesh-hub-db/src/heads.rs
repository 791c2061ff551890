//! Finds where branches and tags point: a single one, a part of the list, or those at given commits. A dot may have
//! thousands of them, so no page reads them all.

use std::collections::HashMap;

use dotmesh_api::hub::HubBranch;
use dotmesh_model::{BranchName, CommitId};

use crate::ids::{self, DotId};
use crate::paging::Part;
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

/// Names by commit: of the branches whose head it is, or of its tags.
pub type Names = HashMap<CommitId, Vec<BranchName>>;

impl Database {
    /// Returns a branch's head. `None` when there is no such branch.
    pub async fn branch_head(
        &self,
        dot: DotId,
        branch: &BranchName,
    ) -> Result<Option<CommitId>, DatabaseError> {
        let head: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT head FROM branches WHERE dot = $1 AND name = $2")
                .bind(dot)
                .bind(branch.as_str())
                .fetch_optional(&self.readers)
                .await?;
        head.as_deref().map(ids::commit_id).transpose()
    }

    /// Returns a tag's commit. `None` when there is no such tag.
    pub async fn tagged(
        &self,
        dot: DotId,
        tag: &BranchName,
    ) -> Result<Option<CommitId>, DatabaseError> {
        let commit: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT commit_id FROM tags WHERE dot = $1 AND name = $2")
                .bind(dot)
                .bind(tag.as_str())
                .fetch_optional(&self.readers)
                .await?;
        commit.as_deref().map(ids::commit_id).transpose()
    }

    /// Returns how many branches and how many tags a dot has.
    pub async fn count_names(&self, dot: DotId) -> Result<(u64, u64), DatabaseError> {
        let (branches, tags): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM branches WHERE dot = $1),
                    (SELECT count(*) FROM tags WHERE dot = $1)",
        )
        .bind(dot)
        .fetch_one(&self.readers)
        .await?;
        Ok((ids::unsigned(branches)?, ids::unsigned(tags)?))
    }

    /// Returns a part of a dot's branches whose names contain a text in any case, sorted by name.
    pub async fn branches_named(
        &self,
        dot: DotId,
        containing: &str,
        part: Part<BranchName>,
    ) -> Result<Vec<HubBranch>, DatabaseError> {
        let after = part.after.as_ref().map_or("", BranchName::as_str);
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            r"SELECT name, head FROM branches
              WHERE dot = $1 AND name > $2 AND lower(name) LIKE $3 ESCAPE '!' ORDER BY name LIMIT $4",
        )
        .bind(dot)
        .bind(after)
        .bind(ids::containing(containing))
        .bind(i64::from(part.limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(branch).collect()
    }

    /// Returns a dot's branches: the default branch first, then those with the newest heads.
    pub async fn newest_branches(
        &self,
        dot: DotId,
        limit: u32,
    ) -> Result<Vec<HubBranch>, DatabaseError> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT b.name, b.head FROM branches b
             JOIN dots d ON d.id = b.dot
             LEFT JOIN commits c ON c.dot = b.dot AND c.id = b.head
             WHERE b.dot = $1
             ORDER BY CASE WHEN b.name = d.default_branch THEN 0 ELSE 1 END,
                      coalesce(c.time, -1) DESC, b.name
             LIMIT $2",
        )
        .bind(dot)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(branch).collect()
    }

    /// Returns the branches at the given commits: the first `of_each` by name at each commit.
    pub async fn branches_at(
        &self,
        dot: DotId,
        commits: &[CommitId],
        of_each: u32,
    ) -> Result<Names, DatabaseError> {
        let statement = "SELECT x.head, x.name FROM
             (SELECT b.head, b.name, row_number() OVER (PARTITION BY b.head ORDER BY b.name) AS place
              FROM branches b WHERE b.dot = $2 AND b.head IN
              (SELECT substr($3, n.n * 16 + 1, 16) FROM numbers n WHERE n.n < $1)) x
             WHERE x.place <= $4 ORDER BY x.name";
        self.names_at(statement, dot, commits, of_each).await
    }

    /// Returns the tags of the given commits: the first `of_each` by name of each commit.
    pub async fn tags_at(
        &self,
        dot: DotId,
        commits: &[CommitId],
        of_each: u32,
    ) -> Result<Names, DatabaseError> {
        let statement = "SELECT x.commit_id, x.name FROM
             (SELECT t.commit_id, t.name, row_number() OVER (PARTITION BY t.commit_id ORDER BY t.name) AS place
              FROM tags t WHERE t.dot = $2 AND t.commit_id IN
              (SELECT substr($3, n.n * 16 + 1, 16) FROM numbers n WHERE n.n < $1)) x
             WHERE x.place <= $4 ORDER BY x.name";
        self.names_at(statement, dot, commits, of_each).await
    }

    async fn names_at(
        &self,
        statement: &'static str,
        dot: DotId,
        commits: &[CommitId],
        of_each: u32,
    ) -> Result<Names, DatabaseError> {
        let mut names = Names::new();
        for commits in commits.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(statement)
                .bind(commits.len() as i64)
                .bind(dot)
                .bind(ids::joined(commits))
                .bind(i64::from(of_each))
                .fetch_all(&self.readers)
                .await?;
            for (commit, name) in rows {
                let at = names.entry(ids::commit_id(&commit)?).or_default();
                at.push(ids::name(&name)?);
            }
        }
        Ok(names)
    }
}

fn branch((name, head): &(String, Vec<u8>)) -> Result<HubBranch, DatabaseError> {
    Ok(HubBranch {
        name: ids::name(name)?,
        head: ids::commit_id(head)?,
    })
}
