//! Dots: finding one with what a user may do there, and listing.

use std::collections::BTreeMap;

use dotmesh_api::hub::{Access, HubBranch};
use dotmesh_model::{BranchName, CommitId, DotName, UserName};
use sqlx::AnyConnection;

use super::ids::{self, DotId, UserId};
use super::paging::Part;
use super::{Database, DatabaseError};
use crate::access::Visibility;

/// What the access rule needs to know of a dot's name.
#[derive(Debug, Clone)]
pub struct DotFacts {
    /// Its present name, where the one that was asked for is a former one.
    pub name: DotName,
    /// The user whose namespace the dot is in, or would be.
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
    pub async fn dots_of(
        &self,
        user: UserId,
        part: Part<DotName>,
    ) -> Result<Vec<ListedDot>, DatabaseError> {
        let (owner, dot) = part.after.as_ref().map(columns).unwrap_or_default();
        let rows: Vec<(DotId, String, String, Option<String>, String)> = sqlx::query_as(
            "SELECT d.id, o.name, d.name, c.access, d.visibility
             FROM dots d
             JOIN users o ON o.id = d.owner
             LEFT JOIN collaborators c ON c.dot = d.id AND c.user = $1
             WHERE d.deleted IS NULL AND (d.owner = $1 OR c.user IS NOT NULL)
               AND (o.name > $2 OR (o.name = $2 AND d.name > $3))
             ORDER BY o.name, d.name LIMIT $4",
        )
        .bind(user)
        .bind(owner)
        .bind(dot)
        .bind(i64::from(part.limit))
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

    /// A user's name.
    pub async fn user_name(&self, user: UserId) -> Result<Option<UserName>, DatabaseError> {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM users WHERE id = $1")
            .bind(user)
            .fetch_optional(&self.readers)
            .await?;
        name.as_deref().map(ids::name).transpose()
    }
}

/// A dot's name as it is in two columns.
pub(super) fn columns(name: &DotName) -> (&str, &str) {
    (name.namespace.as_str(), name.name())
}

pub(super) async fn dot_facts(
    connection: &mut AnyConnection,
    name: &DotName,
    user: Option<UserId>,
) -> Result<DotFacts, DatabaseError> {
    // One statement whether the dot exists or not: the time it takes tells nothing. A name that a dot had leads to
    // it as long as no other has it, for those who may see the dot: to others, the owner of the name among them, it is
    // free.
    type Row = (
        UserId,
        Option<UserId>,
        Option<DotId>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let row: Option<Row> = sqlx::query_as(
        r#"SELECT o.id, d.owner, d.id, n.name, d.name, c.access, d.visibility
           FROM users o
           LEFT JOIN dots d ON d.id = coalesce(
               (SELECT x.id FROM dots x WHERE x.owner = o.id AND x.name = $1),
               (SELECT f.dot FROM former_names f JOIN dots x ON x.id = f.dot
                WHERE f.owner = o.id AND f.name = $1 AND x.deleted IS NULL
                  AND (x.owner = $2 OR x.visibility = 'public' OR EXISTS
                       (SELECT 1 FROM collaborators y WHERE y.dot = x.id AND y."user" = $2))))
           LEFT JOIN users n ON n.id = d.owner
           LEFT JOIN collaborators c ON c.dot = d.id AND c."user" = $2
           WHERE o.name = $3"#,
    )
    .bind(name.name())
    .bind(user)
    .bind(name.namespace.as_str())
    .fetch_optional(connection)
    .await?;
    let mut facts = DotFacts {
        name: name.clone(),
        owner: None,
        dot: None,
        grant: None,
        visibility: Visibility::Private,
    };
    let Some((asked, owner, dot, namespace, present, grant, visibility)) = row else {
        return Ok(facts);
    };
    facts.owner = owner.or(Some(asked));
    facts.dot = dot;
    if let (Some(namespace), Some(present)) = (namespace, present) {
        facts.name = ids::dot_name(&namespace, &present)?;
    }
    facts.grant = grant.as_deref().map(ids::access).transpose()?;
    if let Some(visibility) = visibility {
        facts.visibility = ids::visibility(&visibility)?;
    }
    Ok(facts)
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
