//! `/OWNER/DOT/branches`: all branches by name, in pages. Also creates and deletes branches.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::{create_branch, delete_branch};
use dotmesh_model::BranchName;
use serde::Deserialize;

use crate::extract::DotPath;
use crate::web::branch_rows::{BranchRow, branch_rows};
use crate::web::form::Form;
use crate::web::query::Query;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The number of branches on a page.
const PAGE: u32 = 100;

/// The longest search text, in characters.
const MAX_QUERY: usize = 100;

#[derive(Template)]
#[template(path = "branches.html")]
struct BranchesPage {
    visit: Visit,
    dot: DotHeader,
    query: String,
    branches: Vec<BranchRow>,
    next: Option<String>,
}

impl BranchesPage {
    fn tab(&self) -> Tab {
        Tab::Overview
    }
}

/// The requested part of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// A text that the names contain.
    #[serde(default)]
    q: String,
    after: Option<BranchName>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Query(Asked { q, after }): Query<Asked>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let query: String = q.trim().chars().take(MAX_QUERY).collect();
    let part = Part {
        after,
        limit: PAGE + 1,
    };
    let mut branches = hub.database.branches_named(id, &query, part).await?;
    let is_more = branches.len() > PAGE as usize;
    branches.truncate(PAGE as usize);
    let next = branches.last().filter(|_| is_more).map(|last| {
        let fields = [("q", query.as_str()), ("after", last.name.as_str())];
        let fields = serde_urlencoded::to_string(fields).unwrap_or_default();
        format!("{}/branches?{fields}", dot.url())
    });
    let branches = branch_rows(&hub, &open, &dot, branches).await?;
    render(&BranchesPage {
        visit,
        dot,
        query,
        branches,
        next,
    })
}

/// The form that creates a branch.
#[derive(Debug, Deserialize)]
pub(crate) struct New {
    name: String,
    at: String,
}

/// The form that deletes a branch.
#[derive(Debug, Deserialize)]
pub(crate) struct Old {
    name: BranchName,
}

/// Creates a branch.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(New { name, at }): Form<New>,
) -> Page {
    let branch: BranchName = name.trim().parse()?;
    create_branch::create_branch(&hub, visit.caller()?, &dot, branch.clone(), at.trim()).await?;
    go(&format!("/{}/commits/{}", dot.full(), branch.spelling()))
}

/// Deletes a branch.
pub(crate) async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(Old { name }): Form<Old>,
) -> Page {
    delete_branch::delete_branch(&hub, visit.caller()?, &dot, name).await?;
    go(&format!("/{}", dot.full()))
}
