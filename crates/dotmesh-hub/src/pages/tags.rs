//! `/OWNER/DOT/tags`: all tags, newest first, in pages. Also creates and deletes tags.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_db::tags::DotTag;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::create_tag::{NewTag, create_tag};
use dotmesh_hub_service::operations::delete_tag::delete_tag;
use dotmesh_model::BranchName;
use jiff::Timestamp;
use serde::Deserialize;

use crate::extract::DotPath;
use crate::web::form::Form;
use crate::web::query::Query;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The number of tags on a page.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "tags.html")]
struct TagsPage {
    visit: Visit,
    dot: DotHeader,
    tags: Vec<DotTag>,
    next: Option<String>,
}

impl TagsPage {
    fn tab(&self) -> Tab {
        Tab::Overview
    }
}

/// The tag after which the list begins, by its time and name.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    time: Option<i64>,
    after: Option<BranchName>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Query(Asked { time, after }): Query<Asked>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let time = time.and_then(|time| Timestamp::from_second(time).ok());
    let part = Part {
        after: time.zip(after),
        limit: PAGE + 1,
    };
    let mut tags = hub.database.tags(open.existing()?, part).await?;
    let is_more = tags.len() > PAGE as usize;
    tags.truncate(PAGE as usize);
    let next = tags.last().filter(|_| is_more).map(|last| {
        let time = last.created.as_second().to_string();
        let fields = [("time", time.as_str()), ("after", last.name.as_str())];
        let fields = serde_urlencoded::to_string(fields).unwrap_or_default();
        format!("{}/tags?{fields}", dot.url())
    });
    render(&TagsPage {
        visit,
        dot,
        tags,
        next,
    })
}

/// The form that creates a tag.
#[derive(Debug, Deserialize)]
pub(crate) struct New {
    name: String,
    at: String,
    #[serde(default)]
    message: String,
}

/// The form that deletes a tag.
#[derive(Debug, Deserialize)]
pub(crate) struct Old {
    name: BranchName,
}

/// Creates a tag.
pub(crate) async fn post(
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

/// Deletes a tag.
pub(crate) async fn delete(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(dot): DotPath,
    Form(Old { name }): Form<Old>,
) -> Page {
    delete_tag(&hub, visit.caller()?, &dot, name).await?;
    go(&format!("/{}", dot.full()))
}
