//! Lists of dots, as pages show them.

use std::borrow::Cow;

use dotmesh_hub_model::access::{Forks, Visibility};
use dotmesh_hub_model::show;
use dotmesh_model::{BranchName, DotName};
use jiff::Timestamp;

use crate::ids::{self, DotId, UserId};
use crate::may_read::may_read;
use crate::{Database, DatabaseError};

/// The number of dots on a page of a list.
const PAGE: usize = 100;

/// The number of the last page.
const LAST_PAGE: u32 = 100;

/// The dots to list.
#[derive(Debug, Clone, Copy)]
pub enum Listing {
    /// A user's own dots, and those that the user was granted access to.
    Accessible(UserId),
    /// The dots of a namespace that the viewer may see.
    Namespace {
        owner: UserId,
        /// `None` for an anonymous visitor.
        viewer: Option<UserId>,
    },
    /// The public dots.
    Public,
}

/// A dot in a list.
#[derive(Debug, Clone)]
pub struct DotSummary {
    /// Its name.
    pub name: DotName,
    /// Who may see it.
    pub visibility: Visibility,
    /// The beginning of its description, in Markdown.
    pub description: String,
    /// When it was last pushed to.
    pub pushed: Option<Timestamp>,
    /// How many branches it has.
    pub branches: u64,
}

impl DotSummary {
    /// Returns the description's first line that is not blank.
    pub fn summary(&self) -> Cow<'_, str> {
        let line = self
            .description
            .lines()
            .find(|line| !line.trim().is_empty());
        let line = line.map_or("", |line| line.trim_start_matches('#').trim());
        show::cut(line, show::MAX_TITLE)
    }
}

/// The data at the top of a dot's pages.
#[derive(Debug, Clone)]
pub struct DotDetails {
    /// Its description, in Markdown.
    pub description: String,
    /// The default branch, which pages show first.
    pub default_branch: BranchName,
    /// The dot that it was forked from, if that dot still exists and the viewer may see it.
    pub forked_from: Option<DotName>,
    /// How many forks of it the viewer may see.
    pub forks: u64,
    /// Who may fork it while it is private.
    pub who_forks: Forks,
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    namespace: String,
    name: String,
    visibility: String,
    /// The beginning of the description.
    description: String,
    pushed: Option<i64>,
    branches: i64,
}

impl SummaryRow {
    fn read(self) -> Result<DotSummary, DatabaseError> {
        Ok(DotSummary {
            name: ids::dot_name(&self.namespace, &self.name)?,
            visibility: ids::visibility(&self.visibility)?,
            description: self.description,
            pushed: self.pushed.map(ids::time).transpose()?,
            branches: ids::unsigned(self.branches)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct DetailsRow {
    description: String,
    default_branch: String,
    /// The owner and the name of the dot that it was forked from.
    origin_owner: Option<String>,
    origin: Option<String>,
    forks: i64,
    who_forks: String,
}

impl DetailsRow {
    fn read(self) -> Result<DotDetails, DatabaseError> {
        Ok(DotDetails {
            description: self.description,
            default_branch: ids::name(&self.default_branch)?,
            forked_from: match (self.origin_owner, self.origin) {
                (Some(owner), Some(origin)) => Some(ids::dot_name(&owner, &origin)?),
                _ => None,
            },
            forks: ids::unsigned(self.forks)?,
            who_forks: ids::forks(&self.who_forks)?,
        })
    }
}

impl Database {
    /// Lists a page of dots, the last pushed first, and returns whether there is another page. Pages are numbered
    /// from 1.
    pub async fn list_dots(
        &self,
        listing: Listing,
        page: u32,
    ) -> Result<(Vec<DotSummary>, bool), DatabaseError> {
        let page = page.clamp(1, LAST_PAGE);
        let (limit, skip) = (PAGE as i64 + 1, i64::from(page - 1) * PAGE as i64);
        let query = match listing {
            Listing::Accessible(user) => sqlx::query_as(
                "SELECT o.name AS namespace, d.name, d.visibility, substr(d.description, 1, 2000) AS description,
                        d.pushed, (SELECT count(*) FROM branches b WHERE b.dot = d.id) AS branches
                 FROM dots d JOIN users o ON o.id = d.owner
                 LEFT JOIN collaborators c ON c.dot = d.id AND c.\"user\" = $1
                 WHERE d.deleted IS NULL AND (d.owner = $1 OR c.dot IS NOT NULL)
                 ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC LIMIT $2 OFFSET $3",
            )
            .bind(user)
            .bind(limit)
            .bind(skip),
            Listing::Namespace { owner, viewer } => sqlx::query_as(concat!(
                "SELECT o.name AS namespace, d.name, d.visibility, substr(d.description, 1, 2000) AS description,
                        d.pushed, (SELECT count(*) FROM branches b WHERE b.dot = d.id) AS branches
                 FROM dots d JOIN users o ON o.id = d.owner
                 WHERE d.owner = $3 AND d.deleted IS NULL AND ",
                may_read!("d", "$1"),
                " ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC LIMIT $2 OFFSET $4",
            ))
            .bind(viewer)
            .bind(limit)
            .bind(owner)
            .bind(skip),
            Listing::Public => sqlx::query_as(
                "SELECT o.name AS namespace, d.name, d.visibility, substr(d.description, 1, 2000) AS description,
                        d.pushed, (SELECT count(*) FROM branches b WHERE b.dot = d.id) AS branches
                 FROM dots d JOIN users o ON o.id = d.owner
                 WHERE d.deleted IS NULL AND d.visibility = 'public'
                 ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC LIMIT $1 OFFSET $2",
            )
            .bind(limit)
            .bind(skip),
        };
        let rows: Vec<SummaryRow> = query.fetch_all(&self.readers).await?;
        let is_more = rows.len() > PAGE && page < LAST_PAGE;
        let dots = rows
            .into_iter()
            .take(PAGE)
            .map(SummaryRow::read)
            .collect::<Result<_, DatabaseError>>()?;
        Ok((dots, is_more))
    }

    /// Returns the data that a dot's pages show to the viewer at their top.
    pub async fn dot_details(
        &self,
        dot: DotId,
        viewer: Option<UserId>,
    ) -> Result<DotDetails, DatabaseError> {
        let row: DetailsRow = sqlx::query_as(concat!(
            "SELECT d.description, d.default_branch, o.name AS origin_owner, f.name AS origin, d.forks AS who_forks,
                        (SELECT count(*) FROM dots x
                         WHERE x.forked_from = d.id AND x.deleted IS NULL AND ",
            may_read!("x", "$2"),
            ") AS forks FROM dots d
                 LEFT JOIN dots f ON f.id = d.forked_from AND f.deleted IS NULL AND ",
            may_read!("f", "$2"),
            " LEFT JOIN users o ON o.id = f.owner
                 WHERE d.id = $1"
        ))
        .bind(dot)
        .bind(viewer)
        .fetch_one(&self.readers)
        .await?;
        row.read()
    }
}
