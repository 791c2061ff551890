//! Dots: finding one with what a user may do there, listing, deleting.

use std::collections::BTreeMap;

use dotmesh_api::hub::{Access, HubBranch};
use dotmesh_model::{BranchName, CommitId, DotName, UserName};
use sqlx::AnyConnection;

use super::ids::{self, DotId, UserId};
use super::{Database, DatabaseError};
use crate::access::Visibility;

/// What the access rule needs to know of a dot's name.
#[derive(Debug, Clone, Copy)]
pub struct DotFacts {
    /// The user whose namespace it is, if there is such a user.
    pub owner: Option<UserId>,
    /// The dot, if there is one.
    pub dot: Option<DotId>,
    /// What the asking user was granted.
    pub grant: Option<Access>,
    /// Who else may see it.
    pub visibility: Visibility,
}

/// A dot in a list.
#[derive(Debug, Clone)]
pub struct ListedDot {
    /// Its row.
    pub id: DotId,
    /// Its name.
    pub name: DotName,
    /// What the asking user was granted; `None` for one's own.
    pub grant: Option<Access>,
    /// Who else may see it.
    pub visibility: Visibility,
    /// Sorted by name.
    pub branches: Vec<HubBranch>,
}

impl Database {
    /// Looks a dot up by name, for a user or for nobody.
    pub async fn dot_facts(
        &self,
        name: &DotName,
        user: Option<UserId>,
    ) -> Result<DotFacts, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        dot_facts(&mut connection, name, user).await
    }

    /// The dots of one's own namespace and those one was given access to, by name.
    pub async fn dots_of(&self, user: UserId) -> Result<Vec<ListedDot>, DatabaseError> {
        let rows: Vec<(DotId, String, String, Option<String>, String)> = sqlx::query_as(
            "SELECT d.id, o.name, d.name, c.access, d.visibility
             FROM dots d
             JOIN users o ON o.id = d.owner
             LEFT JOIN collaborators c ON c.dot = d.id AND c.user = $1
             WHERE d.deleted IS NULL AND (d.owner = $1 OR c.user IS NOT NULL)
             ORDER BY o.name, d.name",
        )
        .bind(user)
        .fetch_all(&self.readers)
        .await?;
        let mut dots = Vec::with_capacity(rows.len());
        for (id, namespace, name, grant, visibility) in rows {
            dots.push(ListedDot {
                id,
                name: ids::dot_name(&namespace, &name)?,
                grant: grant.as_deref().map(ids::access).transpose()?,
                visibility: ids::visibility(&visibility)?,
                branches: self.branches(id).await?,
            });
        }
        Ok(dots)
    }

    /// A dot's branches, by name.
    pub async fn branches(&self, dot: DotId) -> Result<Vec<HubBranch>, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        let heads = heads(&mut connection, dot).await?;
        Ok(heads
            .into_iter()
            .map(|(name, head)| HubBranch { name, head })
            .collect())
    }

    /// Deletes a dot with its branches, commits, collaborators and unfinished uploads.
    ///
    /// Its objects may be another dot's too: they stay until garbage collection.
    pub async fn delete_dot(&self, dot: DotId) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "DELETE FROM uploads WHERE (owner, dot) IN (SELECT owner, name FROM dots WHERE id = $1)",
        )
        .bind(dot)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM dots WHERE id = $1")
            .bind(dot)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A user's name.
    pub async fn user_name(&self, user: UserId) -> Result<Option<UserName>, DatabaseError> {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM users WHERE id = $1")
            .bind(user)
            .fetch_optional(&self.readers)
            .await?;
        name.as_deref().map(ids::name).transpose()
    }
}

pub(super) async fn dot_facts(
    connection: &mut AnyConnection,
    name: &DotName,
    user: Option<UserId>,
) -> Result<DotFacts, DatabaseError> {
    // One statement whether the dot exists or not: the time it takes tells nothing.
    type Row = (UserId, Option<DotId>, Option<String>, Option<String>);
    let row: Option<Row> = sqlx::query_as(
        "SELECT o.id, d.id, c.access, d.visibility
         FROM users o
         LEFT JOIN dots d ON d.owner = o.id AND d.name = $1
         LEFT JOIN collaborators c ON c.dot = d.id AND c.user = $2
         WHERE o.name = $3",
    )
    .bind(name.name())
    .bind(user)
    .bind(name.namespace.as_str())
    .fetch_optional(connection)
    .await?;
    let Some((owner, dot, grant, visibility)) = row else {
        return Ok(DotFacts {
            owner: None,
            dot: None,
            grant: None,
            visibility: Visibility::Private,
        });
    };
    let grant = grant.as_deref().map(ids::access).transpose()?;
    let visibility = visibility.as_deref().map(ids::visibility).transpose()?;
    Ok(DotFacts {
        owner: Some(owner),
        dot,
        grant,
        visibility: visibility.unwrap_or(Visibility::Private),
    })
}

pub(super) async fn heads(
    connection: &mut AnyConnection,
    dot: DotId,
) -> Result<BTreeMap<BranchName, CommitId>, DatabaseError> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT name, head FROM branches WHERE dot = $1 ORDER BY name")
            .bind(dot)
            .fetch_all(connection)
            .await?;
    rows.iter()
        .map(|(name, head)| Ok((ids::name(name)?, ids::commit_id(head)?)))
        .collect()
}
