//! `/OWNER/DOT/tags`: tags that are made and deleted on a dot's pages.

use axum::extract::State;
use dotmesh_model::BranchName;
use serde::Deserialize;

use crate::extract::DotPath;
use crate::operations::create_tag::{NewTag, create_tag};
use crate::operations::delete_tag::delete_tag;
use crate::state::Hub;
use crate::web::form::Form;
use crate::web::{Page, Visit, go};

/// A tag to be made.
#[derive(Debug, Deserialize)]
pub struct New {
    name: String,
    at: String,
    #[serde(default)]
    message: String,
}

/// A tag to be deleted.
#[derive(Debug, Deserialize)]
pub struct Old {
    name: BranchName,
}

/// Makes one.
pub async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(New { name, at, message }): Form<New>,
) -> Page {
    let name: BranchName = name.trim().parse()?;
    let at = at.trim().to_owned();
    create_tag(&hub, visit.caller()?, &dot, NewTag { name, at, message }).await?;
    go(&format!("/{}", dot.full()))
}

/// Deletes one.
pub async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(Old { name }): Form<Old>,
) -> Page {
    delete_tag(&hub, visit.caller()?, &dot, name).await?;
    go(&format!("/{}", dot.full()))
}
