//! Lists of dots, as pages show them.

use dotmesh_model::{BranchName, DotName};
use jiff::Timestamp;

use super::ids::{self, DotId, UserId};
use super::{Database, DatabaseError};
use crate::access::Visibility;

/// The most dots of a list.
const MAX_DOTS: i64 = 500;

/// Which dots.
#[derive(Debug, Clone, Copy)]
pub enum Listing {
    /// A user's own and those that they were given access to.
    Accessible(UserId),
    /// Those of a namespace that someone may see.
    Namespace {
        /// Whose.
        owner: UserId,
        /// Who looks.
        viewer: Option<UserId>,
    },
    /// Those that everybody may see.
    Public,
}

/// A dot in a list.
#[derive(Debug, Clone)]
pub struct DotSummary {
    /// Its name.
    pub name: DotName,
    /// Who may see it.
    pub visibility: Visibility,
    /// Markdown.
    pub description: String,
    /// When it was last pushed to.
    pub pushed: Option<Timestamp>,
    /// How many branches it has.
    pub branches: u64,
}

impl DotSummary {
    /// The description's first line.
    pub fn summary(&self) -> &str {
        let line = self
            .description
            .lines()
            .find(|line| !line.trim().is_empty());
        line.map_or("", |line| line.trim_start_matches('#').trim())
    }
}

/// What a dot's pages show at their top.
#[derive(Debug, Clone)]
pub struct DotDetails {
    /// Markdown.
    pub description: String,
    /// The branch that is shown first.
    pub default_branch: BranchName,
    /// What it was forked from, as long as that is there and the viewer may see it.
    pub forked_from: Option<DotName>,
    /// How many forks of it the viewer may see.
    pub forks: u64,
    /// The number of the last event: whether a page is old.
    pub newest_event: i64,
}

impl Database {
    /// Lists dots, the last pushed first.
    pub async fn list_dots(&self, listing: Listing) -> Result<Vec<DotSummary>, DatabaseError> {
        let query = match listing {
            Listing::Accessible(user) => sqlx::query_as(
                "SELECT o.name, d.name, d.visibility, d.description, d.pushed,
                        (SELECT count(*) FROM branches b WHERE b.dot = d.id)
                 FROM dots d JOIN users o ON o.id = d.owner
                 LEFT JOIN collaborators c ON c.dot = d.id AND c.\"user\" = $1
                 WHERE d.deleted IS NULL AND (d.owner = $1 OR c.dot IS NOT NULL)
                 ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC LIMIT $2",
            )
            .bind(user)
            .bind(MAX_DOTS),
            Listing::Namespace { owner, viewer } => sqlx::query_as(
                "SELECT o.name, d.name, d.visibility, d.description, d.pushed,
                        (SELECT count(*) FROM branches b WHERE b.dot = d.id)
                 FROM dots d JOIN users o ON o.id = d.owner
                 LEFT JOIN collaborators c ON c.dot = d.id AND c.\"user\" = $1
                 WHERE d.owner = $3 AND d.deleted IS NULL
                   AND (d.owner = $1 OR c.dot IS NOT NULL OR d.visibility = 'public')
                 ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC LIMIT $2",
            )
            .bind(viewer)
            .bind(MAX_DOTS)
            .bind(owner),
            Listing::Public => sqlx::query_as(
                "SELECT o.name, d.name, d.visibility, d.description, d.pushed,
                        (SELECT count(*) FROM branches b WHERE b.dot = d.id)
                 FROM dots d JOIN users o ON o.id = d.owner
                 WHERE d.deleted IS NULL AND d.visibility = 'public'
                 ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC LIMIT $1",
            )
            .bind(MAX_DOTS),
        };
        let rows: Vec<(String, String, String, String, Option<i64>, i64)> =
            query.fetch_all(&self.readers).await?;
        rows.into_iter()
            .map(
                |(namespace, name, visibility, description, pushed, branches)| {
                    Ok(DotSummary {
                        name: ids::dot_name(&namespace, &name)?,
                        visibility: ids::visibility(&visibility)?,
                        description,
                        pushed: pushed.map(ids::time).transpose()?,
                        branches: ids::unsigned(branches)?,
                    })
                },
            )
            .collect()
    }

    /// What a dot's pages show to someone at their top.
    pub async fn dot_details(
        &self,
        dot: DotId,
        viewer: Option<UserId>,
    ) -> Result<DotDetails, DatabaseError> {
        type Row = (String, String, Option<String>, Option<String>, i64, i64);
        let row: Row = sqlx::query_as(
            r#"SELECT d.description, d.default_branch, o.name, f.name,
                      coalesce((SELECT max(e.id) FROM events e WHERE e.dot = d.id), 0),
                      (SELECT count(*) FROM dots x
                       LEFT JOIN collaborators c ON c.dot = x.id AND c."user" = $2
                       WHERE x.forked_from = d.id AND x.deleted IS NULL
                         AND (x.owner = $2 OR c.dot IS NOT NULL OR x.visibility = 'public'))
               FROM dots d
               LEFT JOIN dots f ON f.id = d.forked_from AND f.deleted IS NULL
                    AND (f.owner = $2 OR f.visibility = 'public' OR EXISTS
                         (SELECT 1 FROM collaborators c WHERE c.dot = f.id AND c."user" = $2))
               LEFT JOIN users o ON o.id = f.owner
               WHERE d.id = $1"#,
        )
        .bind(dot)
        .bind(viewer)
        .fetch_one(&self.readers)
        .await?;
        let (description, default_branch, owner, origin, newest_event, forks) = row;
        Ok(DotDetails {
            description,
            default_branch: ids::name(&default_branch)?,
            forked_from: match (owner, origin) {
                (Some(owner), Some(origin)) => Some(ids::dot_name(&owner, &origin)?),
                _ => None,
            },
            forks: ids::unsigned(forks)?,
            newest_event,
        })
    }
}
