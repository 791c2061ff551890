//! What was counted of commits.

use dotmesh_model::CommitId;

use super::ids::DotId;
use super::{Database, DatabaseError};
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
