//! `/OWNER/DOT`: the dot's description, branches and tags, and the commands to run it.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::extract::State;
use dotmesh_browse::facts::CommitFacts;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_db::tags::DotTag;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::commit_summary::CommitSummary;
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::branch_distances::{Distance, branch_distances};
use dotmesh_hub_service::operations::commit_facts::commit_facts;
use dotmesh_hub_service::operations::describe_commit::{CommitDetails, describe_commit};
use dotmesh_hub_service::operations::keep_databases;
use dotmesh_model::{BranchName, CommitId};

use crate::extract::DotPath;
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
    branches: Vec<Branch>,
    /// The number of all branches.
    branch_count: u64,
    protected: BTreeSet<BranchName>,
    tags: Vec<DotTag>,
    /// The number of all tags.
    tag_count: u64,
    /// `None` if the dot has no commits.
    run: Option<Run>,
    push: Vec<String>,
    /// A commit and its statistics.
    facts: Option<(CommitId, CommitFacts)>,
    /// The same commit.
    newest: Option<CommitDetails>,
    /// What is in its databases.
    databases: Option<Contents>,
}

struct Branch {
    name: BranchName,
    /// `None` if the branch has no commits.
    commit: Option<CommitSummary>,
    /// The size of its newest state, if it is counted.
    size: Option<String>,
    /// How far it is from the default branch.
    distance: Option<Distance>,
}

impl Branch {
    /// `2 ahead, 1 behind`.
    fn distance(&self) -> Option<String> {
        let Distance { ahead, behind } = self.distance?;
        match (ahead, behind) {
            (0, 0) => Some("the same as the default branch".to_owned()),
            (ahead, 0) => Some(format!("{ahead} ahead")),
            (0, behind) => Some(format!("{behind} behind")),
            (ahead, behind) => Some(format!("{ahead} ahead, {behind} behind")),
        }
    }
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
    let ids: Vec<_> = heads.iter().map(|branch| branch.head).collect();
    let commits = hub.database.summaries(id, &ids).await?;
    let default = heads
        .iter()
        .find(|branch| branch.name == dot.default_branch);
    let distances = match default {
        Some(default) if heads.len() > 1 => {
            branch_distances(&hub, &open, default.head, &ids).await?
        }
        _ => HashMap::new(),
    };
    let sizes: HashMap<CommitId, CommitFacts> = hub.database.all_facts(id, &ids).await?;
    let default = dot.default_branch.clone();
    let branches: Vec<Branch> = heads
        .into_iter()
        .map(|branch| Branch {
            commit: commits.get(&branch.head).cloned(),
            size: sizes
                .get(&branch.head)
                .map(|facts| show::bytes(facts.total.bytes)),
            distance: distances
                .get(&branch.head)
                .copied()
                .filter(|_| branch.name != default),
            name: branch.name,
        })
        .collect();
    // Show the first listed branch that has commits. The default branch is listed first.
    let shown = branches.iter().find_map(|branch| branch.commit.as_ref());
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
    let protected = hub.database.protected(id).await?;
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
        protected,
        tags,
        tag_count,
        run,
        push,
        facts,
        newest: shown,
        databases: databases.as_ref().map(Contents::new),
    })
}
