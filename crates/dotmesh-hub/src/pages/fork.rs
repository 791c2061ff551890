//! `/OWNER/DOT/fork`: a dot's forks, and a form to create one.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::fork_dot::fork_dot;
use dotmesh_model::DotName;
use serde::Deserialize;

use crate::extract::DotPath;
use crate::web::form::Form;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The most forks that are listed.
const MAX_FORKS: u32 = 500;

#[derive(Template)]
#[template(path = "fork.html")]
struct ForkPage {
    visit: Visit,
    dot: DotHeader,
    forks: Vec<DotName>,
}

impl ForkPage {
    fn tab(&self) -> Tab {
        Tab::Overview
    }
}

/// The form that creates a fork.
#[derive(Debug, Deserialize)]
pub(crate) struct New {
    name: String,
}

/// Shows the forks and the form.
pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let viewer = visit.viewer.id();
    let part = Part {
        after: None,
        limit: MAX_FORKS,
    };
    let forks = hub.database.forks(open.existing()?, viewer, part).await?;
    render(&ForkPage { visit, dot, forks })
}

/// Creates a fork.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(New { name }): Form<New>,
) -> Page {
    let fork = fork_dot(&hub, visit.caller()?, &dot, name.trim()).await?;
    go(&format!("/{}", fork.full()))
}
