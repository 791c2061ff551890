//! `/OWNER/DOT`: what it is, its branches and tags, how to run it.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use dotmesh_model::{BranchName, CommitId};

use crate::access::Action;
use crate::database::paging::Part;
use crate::database::tags::Tag;
use crate::extract::DotPath;
use crate::operations::describe_commit::CommitSummary;
use crate::operations::tree::facts::{CommitFacts, commit_facts};
use crate::state::Hub;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, markdown, render};

#[derive(Template)]
#[template(path = "dot.html")]
struct DotPage {
    visit: Visit,
    dot: DotHeader,
    description: String,
    branches: Vec<Branch>,
    protected: BTreeSet<BranchName>,
    tags: Vec<Tag>,
    commands: Vec<String>,
    /// What is in a commit, and in which.
    facts: Option<(CommitId, CommitFacts)>,
}

struct Branch {
    name: BranchName,
    /// `None` where nothing was ever committed.
    commit: Option<CommitSummary>,
}

impl DotPage {
    fn tab(&self) -> Tab {
        Tab::Overview
    }
}

/// Shows it.
pub async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let heads = hub.database.branches(id).await?;
    let ids: Vec<_> = heads.iter().map(|branch| branch.head).collect();
    let commits = hub.database.summaries(id, &ids).await?;
    let mut branches: Vec<Branch> = heads
        .into_iter()
        .map(|branch| Branch {
            commit: commits.get(&branch.head).cloned(),
            name: branch.name,
        })
        .collect();
    // The default branch first, then the newest.
    branches.sort_by_key(|branch| {
        let is_default = branch.name == dot.default_branch;
        (
            !is_default,
            std::cmp::Reverse(branch.commit.as_ref().map(|commit| commit.time)),
        )
    });
    let commands = vec![
        format!("dm clone {}{}", visit.hub_url, dot.url()),
        "docker-compose up -d".to_owned(),
    ];
    // What was ever committed on the default branch, or else on whichever is first.
    let shown = branches.iter().find_map(|branch| branch.commit.as_ref());
    let facts = match shown {
        Some(commit) => Some((commit.id, commit_facts(&hub, &open, commit.id).await?)),
        None => None,
    };
    let tags = hub.database.tags(id, Part::all()).await?;
    let protected = hub.database.protected(id).await?;
    let description = markdown::render(&dot.description, &markdown::Place::of(&dot));
    render(&DotPage {
        visit,
        dot,
        description,
        branches,
        protected,
        tags,
        commands,
        facts,
    })
}
