//! Dots: finds a dot together with a user's access to it, and lists dots.

use std::collections::BTreeMap;

use dotmesh_api::hub::{Access, HubBranch};
use dotmesh_api::identity::Meant;
use dotmesh_hub_model::access::Visibility;
use dotmesh_model::{BranchName, CommitId, DotIdentity, DotName, UserName};
use sqlx::AnyConnection;

use crate::ids::{self, DotId, UserId};
use crate::may_read::may_read;
use crate::paging::Part;
use crate::{Database, DatabaseError};

/// A list of dots ends early once its dots have this many branches.
const MAX_BRANCHES: usize = 20_000;

/// The facts about a dot's name that the access rule needs.
#[derive(Debug, Clone)]
pub struct DotFacts {
    /// The dot's present name. It differs from the requested name if that is a former one.
    pub name: DotName,
    /// The user whose namespace the dot is in, or would be.
    pub owner: Option<UserId>,
    /// The dot, if there is one.
    pub dot: Option<DotId>,
    /// The dot's identity, which stays the same under any name.
    pub identity: Option<DotIdentity>,
    /// The dot that the request means, if it is not this one.
    pub other: Option<OtherDot>,
    /// The access that the requesting user was granted.
    pub grant: Option<Access>,
    /// Who else may see it.
    pub visibility: Visibility,
}

/// A dot that the request means, but that does not have the requested name.
#[derive(Debug, Clone)]
pub struct OtherDot {
    /// Its present name, if the requesting user may see the dot.
    pub now: Option<DotName>,
}

/// A dot in a list.
#[derive(Debug, Clone)]
pub struct ListedDot {
    pub id: DotId,
    /// Its name.
    pub name: DotName,
    /// The dot's identity, which stays the same under any name.
    pub identity: DotIdentity,
    /// The access that the requesting user was granted. `None` for the user's own dots.
    pub grant: Option<Access>,
    /// Who else may see it.
    pub visibility: Visibility,
    /// Its branches, sorted by name.
    pub branches: Vec<HubBranch>,
}

#[derive(sqlx::FromRow)]
struct ListedRow {
    id: DotId,
    namespace: String,
    name: String,
    identity: Vec<u8>,
    /// The access that the requesting user was granted.
    access: Option<String>,
    visibility: String,
}

impl ListedRow {
    fn read(self, branches: Vec<HubBranch>) -> Result<ListedDot, DatabaseError> {
        Ok(ListedDot {
            id: self.id,
            name: ids::dot_name(&self.namespace, &self.name)?,
            identity: ids::identity(&self.identity)?,
            grant: self.access.as_deref().map(ids::access).transpose()?,
            visibility: ids::visibility(&self.visibility)?,
            branches,
        })
    }
}

impl Database {
    /// Looks a dot up by name, for a user or an anonymous visitor. `meant` is the dot that the request means, if it
    /// says so.
    pub async fn dot_facts(
        &self,
        name: &DotName,
        user: Option<UserId>,
        meant: Option<Meant>,
    ) -> Result<DotFacts, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        dot_facts(&mut connection, name, user, meant).await
    }

    /// Returns a part of the dots in a user's namespace and of those that others shared with the user, sorted by
    /// name. The flag says whether the part ends early, because its dots have very many branches.
    pub async fn dots_of(
        &self,
        user: UserId,
        part: Part<DotName>,
    ) -> Result<(Vec<ListedDot>, bool), DatabaseError> {
        let (owner, dot) = part.after.as_ref().map(columns).unwrap_or_default();
        let rows: Vec<ListedRow> = sqlx::query_as(
            "SELECT d.id, o.name AS namespace, d.name, d.identity, c.access, d.visibility
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
        let mut room = MAX_BRANCHES;
        for row in rows {
            // The caller continues after the last dot.
            if room == 0 {
                return Ok((dots, true));
            }
            let branches = self.branches(row.id).await?;
            room = room.saturating_sub(branches.len());
            dots.push(row.read(branches)?);
        }
        Ok((dots, false))
    }

    /// Returns a dot's branches, sorted by name.
    pub async fn branches(&self, dot: DotId) -> Result<Vec<HubBranch>, DatabaseError> {
        let mut connection = self.readers.acquire().await?;
        let heads = heads(&mut connection, dot).await?;
        Ok(heads
            .into_iter()
            .map(|(name, head)| HubBranch { name, head })
            .collect())
    }

    /// Returns a user's name.
    pub async fn user_name(&self, user: UserId) -> Result<Option<UserName>, DatabaseError> {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM users WHERE id = $1")
            .bind(user)
            .fetch_optional(&self.readers)
            .await?;
        name.as_deref().map(ids::name).transpose()
    }
}

/// Returns a dot's name as two columns.
pub(crate) fn columns(name: &DotName) -> (&str, &str) {
    (name.namespace.as_str(), name.name())
}

pub(crate) async fn dot_facts(
    connection: &mut AnyConnection,
    name: &DotName,
    user: Option<UserId>,
    meant: Option<Meant>,
) -> Result<DotFacts, DatabaseError> {
    let follows = meant != Some(Meant::New);
    let mut facts = find(connection, name, user, follows).await?;
    if let Some(Meant::Known(identity)) = meant
        && facts.identity != Some(identity)
    {
        let now = visible_name(connection, identity, user).await?;
        facts.other = Some(OtherDot { now });
    }
    Ok(facts)
}

/// Returns the name of a dot, if the user may see the dot.
async fn visible_name(
    connection: &mut AnyConnection,
    identity: DotIdentity,
    user: Option<UserId>,
) -> Result<Option<DotName>, DatabaseError> {
    let row: Option<(String, String)> = sqlx::query_as(concat!(
        "SELECT o.name, d.name FROM dots d JOIN users o ON o.id = d.owner
             WHERE d.identity = $1 AND d.deleted IS NULL AND ",
        may_read!("d", "$2")
    ))
    .bind(identity.as_bytes().as_slice())
    .bind(user)
    .fetch_optional(connection)
    .await?;
    row.map(|(owner, name)| ids::dot_name(&owner, &name))
        .transpose()
}

#[derive(sqlx::FromRow)]
struct FactsRow {
    /// The owner of the requested name.
    asked: UserId,
    owner: Option<UserId>,
    dot: Option<DotId>,
    identity: Option<Vec<u8>>,
    namespace: Option<String>,
    name: Option<String>,
    /// The access that the requesting user was granted.
    access: Option<String>,
    visibility: Option<String>,
}

impl FactsRow {
    /// Sets the facts that the row has.
    fn apply(self, facts: &mut DotFacts) -> Result<(), DatabaseError> {
        facts.owner = self.owner.or(Some(self.asked));
        facts.dot = self.dot;
        facts.identity = self.identity.as_deref().map(ids::identity).transpose()?;
        if let (Some(namespace), Some(name)) = (self.namespace, self.name) {
            facts.name = ids::dot_name(&namespace, &name)?;
        }
        facts.grant = self.access.as_deref().map(ids::access).transpose()?;
        if let Some(visibility) = self.visibility {
            facts.visibility = ids::visibility(&visibility)?;
        }
        Ok(())
    }
}

/// Finds the dot of a name. With `follows`, a former name leads to its dot too.
async fn find(
    connection: &mut AnyConnection,
    name: &DotName,
    user: Option<UserId>,
    follows: bool,
) -> Result<DotFacts, DatabaseError> {
    // The statement is the same whether the dot exists or not, so its duration reveals nothing. A former name leads
    // to its dot as long as no other dot has the name. It does so only for users who may see the dot. For others,
    // even for the owner of the name, the name is free.
    let row: Option<FactsRow> = sqlx::query_as(concat!(
        r#"SELECT o.id AS asked, d.owner, d.id AS dot, d.identity, n.name AS namespace, d.name, c.access, d.visibility
           FROM users o
           LEFT JOIN dots d ON d.id = coalesce(
               (SELECT x.id FROM dots x WHERE x.owner = o.id AND x.name = $1),
               (SELECT f.dot FROM former_names f JOIN dots x ON x.id = f.dot
                WHERE $4 = 1 AND f.owner = o.id AND f.name = $1 AND x.deleted IS NULL
                  AND "#,
        may_read!("x", "$2"),
        r#"))
           LEFT JOIN users n ON n.id = d.owner
           LEFT JOIN collaborators c ON c.dot = d.id AND c."user" = $2
           WHERE o.name = $3"#
    ))
    .bind(name.name())
    .bind(user)
    .bind(name.namespace.as_str())
    .bind(i64::from(follows))
    .fetch_optional(connection)
    .await?;
    let mut facts = DotFacts {
        name: name.clone(),
        owner: None,
        dot: None,
        identity: None,
        other: None,
        grant: None,
        visibility: Visibility::Private,
    };
    if let Some(row) = row {
        row.apply(&mut facts)?;
    }
    Ok(facts)
}

pub(crate) async fn heads(
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Opening;

    /// The schema before dots had identities.
    const BEFORE: i64 = 17;

    #[tokio::test]
    async fn dots_of_before_get_identities_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub.db");
        let database = Database::open(&path, Opening::NewAt(BEFORE)).await;
        let database = database.expect("a database");
        let run = async |statement: &'static str| {
            let done = sqlx::query(statement).execute(&database.writer).await;
            done.expect("a statement");
        };
        run("INSERT INTO users (id, name, created) VALUES (1, 'alice', 0)").await;
        run("INSERT INTO dots (owner, name, created) VALUES (1, 'one', 0), (1, 'two', 0)").await;
        database.migrate().await.expect("a newer schema");
        run("INSERT INTO dots (owner, name, created) VALUES (1, 'three', 0)").await;
        let dots = database.dots_of(UserId(1), Part::all()).await;
        let (dots, _) = dots.expect("dots");
        let identities: BTreeSet<DotIdentity> = dots.iter().map(|dot| dot.identity).collect();
        assert_eq!((dots.len(), identities.len()), (3, 3));
    }
}
