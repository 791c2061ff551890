//! Collaborators: users who were granted access to a dot.

use dotmesh_api::hub::{Access, Collaborator};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_model::UserName;

use crate::events::Deed;
use crate::ids::{self, DotId, UserId};
use crate::{Database, DatabaseError};

/// The access that an owner can grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// To see and clone the dot.
    Read,
    /// Also to push to it.
    Write,
    /// Also to describe it and manage its branches.
    Maintain,
}

impl Grant {
    /// `None` for [`Access::Owner`], which only the namespace's name gives.
    pub fn new(access: Access) -> Option<Self> {
        match access {
            Access::Read => Some(Self::Read),
            Access::Write => Some(Self::Write),
            Access::Maintain => Some(Self::Maintain),
            Access::Owner => None,
        }
    }

    fn access(self) -> Access {
        match self {
            Self::Read => Access::Read,
            Self::Write => Access::Write,
            Self::Maintain => Access::Maintain,
        }
    }

    fn as_str(self) -> &'static str {
        self.access().as_str()
    }
}

impl Database {
    /// Returns a dot's collaborators, sorted by name.
    pub async fn collaborators(&self, dot: DotId) -> Result<Vec<Collaborator>, DatabaseError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT u.name, c.access FROM collaborators c JOIN users u ON u.id = c.user
             WHERE c.dot = $1 ORDER BY u.name",
        )
        .bind(dot)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|(user, access)| {
                Ok(Collaborator {
                    user: ids::name(user)?,
                    access: ids::access(access)?,
                })
            })
            .collect()
    }

    /// Grants access, or changes the access that was granted.
    pub async fn grant(
        &self,
        deed: Deed<'_>,
        user: UserId,
        name: &UserName,
        grant: Grant,
    ) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        // The user's own row does not count, because it would be replaced.
        let there: i64 = sqlx::query_scalar(
            r#"SELECT count(*) FROM collaborators WHERE dot = $1 AND "user" <> $2"#,
        )
        .bind(deed.dot)
        .bind(user)
        .fetch_one(&mut *tx)
        .await?;
        limits::COLLABORATORS_PER_DOT.check(ids::unsigned::<usize>(there)? + 1)?;
        sqlx::query(
            r#"INSERT INTO collaborators (dot, "user", access) VALUES ($1, $2, $3)
               ON CONFLICT (dot, "user") DO UPDATE SET access = excluded.access"#,
        )
        .bind(deed.dot)
        .bind(user)
        .bind(grant.as_str())
        .execute(&mut *tx)
        .await?;
        let kind = EventKind::Grant {
            user: name.clone(),
            access: grant.access(),
        };
        deed.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Revokes access. `false` when there was none.
    pub async fn revoke(
        &self,
        deed: Deed<'_>,
        user: UserId,
        name: &UserName,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(r#"DELETE FROM collaborators WHERE dot = $1 AND "user" = $2"#)
            .bind(deed.dot)
            .bind(user)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let user = name.clone();
        deed.log(&mut tx, EventKind::Revoke { user }).await?;
        tx.commit().await?;
        Ok(true)
    }
}
