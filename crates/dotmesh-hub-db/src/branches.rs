//! Creates, deletes and protects branches on the hub. Pushes update their heads in `finish.rs`.

use std::collections::BTreeSet;

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_model::{BranchName, CommitId};
use sqlx::AnyConnection;

use crate::events::Deed;
use crate::ids::{self, DotId};
use crate::{Database, DatabaseError, room};

/// The result of deleting a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchDeletion {
    /// The branch is gone. Its commits stay.
    Deleted,
    /// There was no such branch.
    Missing,
    /// The branch is the default branch.
    IsDefault,
    /// The branch is protected.
    IsProtected,
}

impl Database {
    /// Returns the names of protected branches, whether the branches exist or not.
    pub async fn protected(&self, dot: DotId) -> Result<BTreeSet<BranchName>, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        protected(&mut connection, dot).await
    }

    /// Creates a branch at a commit of the dot. `false` when the name is taken.
    pub async fn create_branch(
        &self,
        deed: Deed<'_>,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let count = "SELECT count(*) FROM branches WHERE dot = $1";
        room::for_one_more(&mut tx, &limits::BRANCHES_PER_DOT, count, deed.dot.0).await?;
        let done = sqlx::query(
            "INSERT INTO branches (dot, name, head) VALUES ($1, $2, $3)
             ON CONFLICT (dot, name) DO NOTHING",
        )
        .bind(deed.dot)
        .bind(branch.as_str())
        .bind(head.as_bytes().as_slice())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let kind = EventKind::CreateBranch {
            branch: branch.clone(),
            head,
        };
        deed.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a branch and its notes, unless it is protected or the default branch.
    pub async fn delete_branch(
        &self,
        deed: Deed<'_>,
        branch: &BranchName,
    ) -> Result<BranchDeletion, DatabaseError> {
        let mut tx = self.begin().await?;
        let default: String = sqlx::query_scalar("SELECT default_branch FROM dots WHERE id = $1")
            .bind(deed.dot)
            .fetch_one(&mut *tx)
            .await?;
        if default == branch.as_str() {
            return Ok(BranchDeletion::IsDefault);
        }
        if protected(&mut tx, deed.dot).await?.contains(branch) {
            return Ok(BranchDeletion::IsProtected);
        }
        let head: Option<Vec<u8>> =
            sqlx::query_scalar("DELETE FROM branches WHERE dot = $1 AND name = $2 RETURNING head")
                .bind(deed.dot)
                .bind(branch.as_str())
                .fetch_optional(&mut *tx)
                .await?;
        let Some(head) = head else {
            return Ok(BranchDeletion::Missing);
        };
        sqlx::query("DELETE FROM notes WHERE dot = $1 AND branch = $2")
            .bind(deed.dot)
            .bind(branch.as_str())
            .execute(&mut *tx)
            .await?;
        let kind = EventKind::DeleteBranch {
            branch: branch.clone(),
            head: ids::commit_id(&head)?,
        };
        deed.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(BranchDeletion::Deleted)
    }

    /// Protects a branch, which need not exist yet, or lifts the protection. `false` when nothing changed.
    pub async fn protect_branch(
        &self,
        deed: Deed<'_>,
        branch: &BranchName,
        protect: bool,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        if protect {
            let count = "SELECT count(*) FROM protected_branches WHERE dot = $1";
            room::for_one_more(&mut tx, &limits::PROTECTED_PER_DOT, count, deed.dot.0).await?;
        }
        let statement = if protect {
            "INSERT INTO protected_branches (dot, name) VALUES ($1, $2) ON CONFLICT (dot, name) DO NOTHING"
        } else {
            "DELETE FROM protected_branches WHERE dot = $1 AND name = $2"
        };
        let done = sqlx::query(statement)
            .bind(deed.dot)
            .bind(branch.as_str())
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let kind = EventKind::Protect {
            branch: branch.clone(),
            protected: protect,
        };
        deed.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(true)
    }
}

pub(crate) async fn protected(
    connection: &mut AnyConnection,
    dot: DotId,
) -> Result<BTreeSet<BranchName>, DatabaseError> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM protected_branches WHERE dot = $1")
            .bind(dot)
            .fetch_all(connection)
            .await?;
    names.iter().map(|name| ids::name(name)).collect()
}
