//! `/OWNER/DOT`: the dot's description, branches and tags, and the commands to run it.

use askama::Template;
use axum::extract::State;
use dotmesh_browse::facts::CommitFacts;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_db::tags::DotTag;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::commit_facts::commit_facts;
use dotmesh_hub_service::operations::describe_commit::{CommitDetails, describe_commit};
use dotmesh_hub_service::operations::keep_databases;
use dotmesh_model::{BranchName, CommitId};

use crate::extract::DotPath;
use crate::web::branch_rows::{BranchRow, branch_rows};
use crate::web::commands::{self, Run};
use crate::web::databases::Contents;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, markdown, render};

/// The most branches, and the most tags, on the page. Other pages list all of them.
const MAX_NAMES: u32 = 30;

#[derive(Template)]
#[template(path = "dot.html")]
struct DotPage {
    visit: Visit,
    dot: DotHeader,
    description: String,
    branches: Vec<BranchRow>,
    /// The number of all branches.
    branch_count: u64,
    tags: Vec<DotTag>,
    /// The number of all tags.
    tag_count: u64,
    /// `None` if the dot has no commits.
    run: Option<Run>,
    push: Vec<String>,
    /// A commit and its statistics.
    facts: Option<(CommitId, CommitFacts)>,
    /// The branch whose newest commit it is.
    shown_branch: Option<BranchName>,
    /// The same commit.
    newest: Option<CommitDetails>,
    /// What is in its databases.
    databases: Option<Contents>,
}

impl DotPage {
    fn tab(&self) -> Tab {
        Tab::Overview
    }
}

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let heads = hub.database.newest_branches(id, MAX_NAMES).await?;
    let (branch_count, tag_count) = hub.database.count_names(id).await?;
    let branches = branch_rows(&hub, &open, &dot, heads).await?;
    // Show the first listed branch that has commits. The default branch is listed first.
    let shown_branch = branches.iter().find(|branch| branch.commit.is_some());
    let shown = shown_branch.and_then(|branch| branch.commit.as_ref());
    let shown_branch = shown_branch.map(|branch| branch.name.clone());
    let facts = match shown {
        Some(commit) => Some((commit.id, commit_facts(&hub, &open, commit.id).await?)),
        None => None,
    };
    let shown = match shown {
        Some(commit) => Some(describe_commit(&hub, &open, commit.id).await?),
        None => None,
    };
    let databases = match &shown {
        Some(commit) => keep_databases::databases(&hub, &open, commit.id).await?,
        None => None,
    };
    let run = shown
        .as_ref()
        .map(|commit| Run::new(&visit.hub_url, &dot.url(), &dot, commit));
    let known = shown.as_ref().and_then(|commit| commit.dot.as_ref());
    let push = commands::push(&visit.hub_url, &dot, known, dot.is_owner());
    let part = Part {
        after: None,
        limit: MAX_NAMES,
    };
    let tags = hub.database.tags(id, part).await?;
    let (text, place) = (dot.description.clone(), markdown::TextPlace::of(&dot));
    let description = open
        .share(&hub)
        .run(move |watch| markdown::render(&text, &place, watch))
        .await?;
    render(&DotPage {
        visit,
        dot,
        description,
        branches,
        branch_count,
        tags,
        tag_count,
        run,
        push,
        facts,
        shown_branch,
        newest: shown,
        databases: databases.as_ref().map(Contents::new),
    })
}
