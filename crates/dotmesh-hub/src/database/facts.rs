//! What was counted of commits.

use std::collections::HashMap;

use dotmesh_model::CommitId;

use super::ids::{self, DotId};
use super::{Database, DatabaseError, ROWS_PER_STATEMENT};
use crate::operations::tree::facts::CommitFacts;

impl Database {
    /// What is known of a commit. What an older program kept in another form is not known.
    pub async fn facts(
        &self,
        dot: DotId,
        commit: CommitId,
    ) -> Result<Option<CommitFacts>, DatabaseError> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT facts FROM commit_facts WHERE dot = $1 AND commit_id = $2")
                .bind(dot)
                .bind(commit.as_bytes().as_slice())
                .fetch_optional(&self.readers)
                .await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// What is known of each of some commits; of most of them, maybe, nothing.
    pub async fn all_facts(
        &self,
        dot: DotId,
        commits: &[CommitId],
    ) -> Result<HashMap<CommitId, CommitFacts>, DatabaseError> {
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

    /// Keeps what was counted.
    pub async fn keep_facts(
        &self,
        dot: DotId,
        commit: CommitId,
        facts: &CommitFacts,
    ) -> Result<(), DatabaseError> {
        let text =
            serde_json::to_string(facts).map_err(|_| DatabaseError::Damaged { what: "count" })?;
        // The dot may be gone by now.
        sqlx::query(
            "INSERT INTO commit_facts (dot, commit_id, facts)
             SELECT dot, id, $3 FROM commits WHERE dot = $1 AND id = $2
             ON CONFLICT (dot, commit_id) DO UPDATE SET facts = excluded.facts",
        )
        .bind(dot)
        .bind(commit.as_bytes().as_slice())
        .bind(text)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}
