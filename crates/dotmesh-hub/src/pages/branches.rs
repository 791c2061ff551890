//! `/OWNER/DOT/branches`: branches that are made and deleted on a dot's pages.

use axum::extract::State;
use dotmesh_model::BranchName;
use serde::Deserialize;

use crate::extract::DotPath;
use crate::operations::{create_branch, delete_branch};
use crate::state::Hub;
use crate::web::form::Form;
use crate::web::{Page, Visit, go};

/// A branch to be made.
#[derive(Debug, Deserialize)]
pub struct New {
    name: String,
    at: String,
}

/// A branch to be deleted.
#[derive(Debug, Deserialize)]
pub struct Old {
    name: BranchName,
}

/// Makes one.
pub async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(New { name, at }): Form<New>,
) -> Page {
    let branch: BranchName = name.trim().parse()?;
    create_branch::create_branch(&hub, visit.caller()?, &dot, branch.clone(), at.trim()).await?;
    go(&format!("/{}/commits/{}", dot.full(), branch.spelling()))
}

/// Deletes one.
pub async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(Old { name }): Form<Old>,
) -> Page {
    delete_branch::delete_branch(&hub, visit.caller()?, &dot, name).await?;
    go(&format!("/{}", dot.full()))
}
