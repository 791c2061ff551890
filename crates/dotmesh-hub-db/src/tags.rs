//! Tags: names for single commits.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_model::{BranchName, CommitId, UserName};
use jiff::Timestamp;

use crate::events::Deed;
use crate::ids::{self, DotId};
use crate::paging::Part;
use crate::{Database, DatabaseError, room};

/// A tag.
#[derive(Debug, Clone)]
pub struct Tag {
    /// Its name, of the same grammar as a branch's.
    pub name: BranchName,
    pub commit: CommitId,
    /// Its author's description of it.
    pub message: String,
    /// The user who made it.
    pub author: UserName,
    /// When it was made.
    pub created: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    commit_id: Vec<u8>,
    message: String,
    author: String,
    created: i64,
}

impl Row {
    fn read(self) -> Result<Tag, DatabaseError> {
        Ok(Tag {
            name: ids::name(&self.name)?,
            commit: ids::commit_id(&self.commit_id)?,
            message: self.message,
            author: ids::name(&self.author)?,
            created: ids::time(self.created)?,
        })
    }
}

impl Database {
    /// Returns a part of a dot's tags, the newest first. A part begins after the tag with the given time and name.
    pub async fn tags(
        &self,
        dot: DotId,
        part: Part<(Timestamp, BranchName)>,
    ) -> Result<Vec<Tag>, DatabaseError> {
        let (time, name) = match &part.after {
            Some((time, name)) => (time.as_second(), name.as_str()),
            None => (i64::MAX, ""),
        };
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, commit_id, message, author, created FROM tags
             WHERE dot = $1 AND (created < $2 OR (created = $2 AND name > $3))
             ORDER BY created DESC, name LIMIT $4",
        )
        .bind(dot)
        .bind(time)
        .bind(name)
        .bind(i64::from(part.limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Makes a tag, which never moves. `false` when the name is taken.
    pub async fn create_tag(
        &self,
        deed: Deed<'_>,
        tag: &BranchName,
        commit: CommitId,
        message: &str,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let count = "SELECT count(*) FROM tags WHERE dot = $1";
        room::for_one_more(&mut tx, &limits::TAGS_PER_DOT, count, deed.dot.0).await?;
        let done = sqlx::query(
            "INSERT INTO tags (dot, name, commit_id, message, author, created)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (dot, name) DO NOTHING",
        )
        .bind(deed.dot)
        .bind(tag.as_str())
        .bind(commit.as_bytes().as_slice())
        .bind(ids::text(message))
        .bind(deed.actor.as_str())
        .bind(deed.now.as_second())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let kind = EventKind::CreateTag {
            tag: tag.clone(),
            commit,
        };
        deed.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a tag. `false` when there was none.
    pub async fn delete_tag(
        &self,
        deed: Deed<'_>,
        tag: &BranchName,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let commit: Option<Vec<u8>> =
            sqlx::query_scalar("DELETE FROM tags WHERE dot = $1 AND name = $2 RETURNING commit_id")
                .bind(deed.dot)
                .bind(tag.as_str())
                .fetch_optional(&mut *tx)
                .await?;
        let Some(commit) = commit else {
            return Ok(false);
        };
        let kind = EventKind::DeleteTag {
            tag: tag.clone(),
            commit: ids::commit_id(&commit)?,
        };
        deed.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(true)
    }
}
