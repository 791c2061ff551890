//! The facts of commits, which the hub counts. They are stored as JSON. Their form is the caller's.

use std::collections::HashMap;

use dotmesh_model::CommitId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::AnyConnection;

use crate::ids::{self, DotId};
use crate::{Database, DatabaseError, ROWS_PER_STATEMENT};

impl Database {
    /// Returns the facts of a commit. `None` when they were not counted, or an older version stored them in another
    /// form.
    pub async fn facts<T: DeserializeOwned>(
        &self,
        dot: DotId,
        commit: CommitId,
    ) -> Result<Option<T>, DatabaseError> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT facts FROM commit_facts WHERE dot = $1 AND commit_id = $2")
                .bind(dot)
                .bind(commit.as_bytes().as_slice())
                .fetch_optional(&self.readers)
                .await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Returns the known facts of these commits. Most of them may have none.
    pub async fn all_facts<T: DeserializeOwned>(
        &self,
        dot: DotId,
        commits: &[CommitId],
    ) -> Result<HashMap<CommitId, T>, DatabaseError> {
        let mut known = HashMap::with_capacity(commits.len());
        for commits in commits.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(
                "SELECT f.commit_id, f.facts FROM numbers n CROSS JOIN commit_facts f
                 WHERE n.n < $3 AND f.dot = $1 AND f.commit_id = substr($2, n.n * 16 + 1, 16)",
            )
            .bind(dot)
            .bind(ids::joined(commits))
            .bind(commits.len() as i64)
            .fetch_all(&self.readers)
            .await?;
            for (commit, text) in rows {
                if let Ok(facts) = serde_json::from_str(&text) {
                    known.insert(ids::commit_id(&commit)?, facts);
                }
            }
        }
        Ok(known)
    }

    /// Stores the facts of a commit. `change_unknown` says that the hub lacks the data of the commit's parent.
    pub async fn keep_facts<T: Serialize>(
        &self,
        dot: DotId,
        commit: CommitId,
        facts: &T,
        change_unknown: bool,
    ) -> Result<(), DatabaseError> {
        let text =
            serde_json::to_string(facts).map_err(|_| DatabaseError::Damaged { what: "count" })?;
        // Nothing is stored if the dot is gone by now. Facts with an unknown change are stored only if the commit's
        // parent still has no data.
        sqlx::query(
            "INSERT INTO commit_facts (dot, commit_id, facts)
             SELECT c.dot, c.id, $3 FROM commits c WHERE c.dot = $1 AND c.id = $2
                AND ($4 = 0 OR EXISTS (SELECT 1 FROM commits p
                     WHERE p.dot = c.dot AND p.id = c.parent AND p.without_data = 1))
             ON CONFLICT (dot, commit_id) DO UPDATE SET facts = excluded.facts",
        )
        .bind(dot)
        .bind(commit.as_bytes().as_slice())
        .bind(text)
        .bind(i64::from(change_unknown))
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

/// Deletes the facts of commits. They are counted again when somebody looks at the commits.
pub(crate) async fn forget(
    connection: &mut AnyConnection,
    dot: DotId,
    commits: &[CommitId],
) -> Result<(), DatabaseError> {
    for commit in commits {
        sqlx::query("DELETE FROM commit_facts WHERE dot = $1 AND commit_id = $2")
            .bind(dot)
            .bind(commit.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
