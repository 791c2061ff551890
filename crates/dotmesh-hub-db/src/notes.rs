//! Notes, which users write on commits and branches.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_model::{BranchName, CommitId, UserName};
use jiff::Timestamp;

use crate::events::Deed;
use crate::ids::{self, DotId, NoteId, UserId};
use crate::paging::Part;
use crate::{Database, DatabaseError};

/// The commit or branch that a note is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteOn {
    Commit(CommitId),
    Branch(BranchName),
}

/// A note.
#[derive(Debug, Clone)]
pub struct Note {
    pub id: NoteId,
    /// Who wrote it.
    pub author: UserName,
    /// When it was written.
    pub created: Timestamp,
    /// Its text, in Markdown.
    pub body: String,
}

impl NoteOn {
    /// Returns the two columns: branch and commit.
    fn columns(&self) -> (Option<String>, Option<Vec<u8>>) {
        match self {
            Self::Commit(commit) => (None, Some(commit.as_bytes().to_vec())),
            Self::Branch(branch) => (Some(branch.to_string()), None),
        }
    }
}

type Row = (NoteId, String, i64, String);

fn note((id, author, created, body): Row) -> Result<Note, DatabaseError> {
    Ok(Note {
        id,
        author: ids::name(&author)?,
        created: ids::time(created)?,
        body,
    })
}

impl Database {
    /// Returns the last notes on something that are before the note `before`, if it is given. The oldest comes first.
    pub async fn last_notes(
        &self,
        dot: DotId,
        on: &NoteOn,
        before: Option<NoteId>,
        limit: u32,
    ) -> Result<Vec<Note>, DatabaseError> {
        let (branch, commit) = on.columns();
        let query = match commit {
            Some(commit) => sqlx::query_as(
                "SELECT n.id, u.name, n.created, n.body FROM notes n JOIN users u ON u.id = n.author
                 WHERE n.dot = $1 AND n.commit_id = $2 AND n.id < $3 ORDER BY n.id DESC LIMIT $4",
            )
            .bind(dot)
            .bind(commit),
            None => sqlx::query_as(
                "SELECT n.id, u.name, n.created, n.body FROM notes n JOIN users u ON u.id = n.author
                 WHERE n.dot = $1 AND n.commit_id IS NULL AND n.branch = $2 AND n.id < $3
                 ORDER BY n.id DESC LIMIT $4",
            )
            .bind(dot)
            .bind(branch),
        };
        let rows: Vec<Row> = query
            .bind(before.map_or(i64::MAX, |note| note.0))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().rev().map(note).collect()
    }

    /// Returns a part of the notes on something, the oldest first.
    pub async fn notes(
        &self,
        dot: DotId,
        on: &NoteOn,
        part: Part<NoteId>,
    ) -> Result<Vec<Note>, DatabaseError> {
        let (branch, commit) = on.columns();
        let query = match commit {
            Some(commit) => sqlx::query_as(
                "SELECT n.id, u.name, n.created, n.body FROM notes n JOIN users u ON u.id = n.author
                 WHERE n.dot = $1 AND n.commit_id = $2 AND n.id > $3 ORDER BY n.id LIMIT $4",
            )
            .bind(dot)
            .bind(commit),
            None => sqlx::query_as(
                "SELECT n.id, u.name, n.created, n.body FROM notes n JOIN users u ON u.id = n.author
                 WHERE n.dot = $1 AND n.commit_id IS NULL AND n.branch = $2 AND n.id > $3
                 ORDER BY n.id LIMIT $4",
            )
            .bind(dot)
            .bind(branch),
        };
        let rows: Vec<Row> = query
            .bind(part.after.map_or(0, |note| note.0))
            .bind(i64::from(part.limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(note).collect()
    }

    /// Writes a note.
    pub async fn add_note(
        &self,
        deed: Deed<'_>,
        author: UserId,
        on: &NoteOn,
        body: &str,
    ) -> Result<NoteId, DatabaseError> {
        let (branch, commit) = on.columns();
        let mut tx = self.begin().await?;
        let (notes, length): (i64, i64) = sqlx::query_as(
            "SELECT count(*), CAST(coalesce(sum(length(body)), 0) AS BIGINT) FROM notes
             WHERE dot = $1 AND author = $2",
        )
        .bind(deed.dot)
        .bind(author)
        .fetch_one(&mut *tx)
        .await?;
        limits::NOTES_OF_ONE.check(ids::unsigned::<usize>(notes)? + 1)?;
        limits::NOTE_BYTES_OF_ONE.check(ids::unsigned::<usize>(length)? + body.len())?;
        let note = sqlx::query_scalar(
            "INSERT INTO notes (dot, branch, commit_id, author, created, body)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        )
        .bind(deed.dot)
        .bind(branch)
        .bind(commit)
        .bind(author)
        .bind(deed.now.as_second())
        .bind(ids::text(body))
        .fetch_one(&mut *tx)
        .await?;
        let (commit, branch) = match on.clone() {
            NoteOn::Commit(commit) => (Some(commit), None),
            NoteOn::Branch(branch) => (None, Some(branch)),
        };
        deed.log(&mut tx, EventKind::Note { commit, branch })
            .await?;
        tx.commit().await?;
        Ok(note)
    }

    /// Returns the author of a note of the dot.
    pub async fn note_author(
        &self,
        dot: DotId,
        note: NoteId,
    ) -> Result<Option<UserId>, DatabaseError> {
        let author = sqlx::query_scalar("SELECT author FROM notes WHERE dot = $1 AND id = $2")
            .bind(dot)
            .bind(note)
            .fetch_optional(&self.readers)
            .await?;
        Ok(author)
    }

    /// Deletes a note of the dot. `false` when there was none.
    pub async fn delete_note(&self, dot: DotId, note: NoteId) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM notes WHERE dot = $1 AND id = $2")
            .bind(dot)
            .bind(note)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}
