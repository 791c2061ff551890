//! Tags: names for single commits.

use dotmesh_model::{BranchName, CommitId, UserName};
use jiff::Timestamp;

use super::ids::{self, DotId};
use super::{Database, DatabaseError};

/// A tag.
#[derive(Debug, Clone)]
pub struct Tag {
    /// Its name, of the same grammar as a branch's.
    pub name: BranchName,
    /// The commit.
    pub commit: CommitId,
    /// What it is for.
    pub message: String,
    /// Who made it.
    pub author: UserName,
    /// When.
    pub created: Timestamp,
}

impl Database {
    /// A dot's tags, the newest first.
    pub async fn tags(&self, dot: DotId) -> Result<Vec<Tag>, DatabaseError> {
        let rows: Vec<(String, Vec<u8>, String, String, i64)> = sqlx::query_as(
            "SELECT name, commit_id, message, author, created FROM tags
             WHERE dot = $1 ORDER BY created DESC, name",
        )
        .bind(dot)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(name, commit, message, author, created)| {
                Ok(Tag {
                    name: ids::name(&name)?,
                    commit: ids::commit_id(&commit)?,
                    message,
                    author: ids::name(&author)?,
                    created: ids::time(created)?,
                })
            })
            .collect()
    }
}
