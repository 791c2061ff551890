//! `/OWNER/DOT/commits/BRANCH`: a branch's commits, the newest first. `?from=ID` begins further back.

use askama::Template;
use axum::extract::{Query, State};
use dotmesh_api::hub::HubBranch;
use dotmesh_model::{BranchName, CommitId};
use serde::Deserialize;

use crate::access::Action;
use crate::database::notes::NoteOn;
use crate::database::paging::Part;
use crate::database::tags::Tag;
use crate::error::HubError;
use crate::extract::{BranchPath, DotPath};
use crate::operations::describe_commit::CommitSummary;
use crate::operations::resolve_ref::resolve_ref;
use crate::pages::notes::Notes;
use crate::state::Hub;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

const COMMITS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "commits.html")]
struct CommitsPage {
    visit: Visit,
    dot: DotHeader,
    branch: BranchName,
    branches: Vec<HubBranch>,
    commits: Vec<CommitSummary>,
    tags: Vec<Tag>,
    next: Option<CommitId>,
    notes: Notes,
}

impl CommitsPage {
    fn tab(&self) -> Tab {
        Tab::Commits
    }

    fn tags_of(&self, commit: &CommitSummary) -> Vec<&BranchName> {
        let tags = self.tags.iter().filter(|tag| tag.commit == commit.id);
        tags.map(|tag| &tag.name).collect()
    }
}

/// Where to begin.
#[derive(Debug, Deserialize)]
pub struct From {
    from: Option<String>,
}

/// Shows the default branch.
pub async fn get_default(
    state: State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    query: Query<From>,
) -> Page {
    let (_, dot) = visit.open(&state.0, &name, Action::Read).await?;
    let branch = BranchPath(dot.default_branch);
    get(state, visit, DotPath(name), branch, query).await
}

/// Shows a branch.
pub async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    BranchPath(branch): BranchPath,
    Query(From { from }): Query<From>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let branches = hub.database.branches(id).await?;
    let head = branches
        .iter()
        .find(|other| other.name == branch)
        .map(|branch| branch.head)
        .ok_or_else(|| HubError::NoSuchBranch {
            dot: name.clone(),
            branch: branch.clone(),
        })?;
    // Where the dot is comes before where in it: a former name leads on with whatever follows.
    let from = match from {
        Some(from) => resolve_ref(&hub, &open, &from).await?,
        None => head,
    };
    let ancestry = hub
        .database
        .ancestry(id, from, CommitId::ROOT, COMMITS_PER_PAGE)
        .await?;
    let commits = ancestry
        .commits
        .iter()
        .map(CommitSummary::of)
        .collect::<Result<_, _>>()?;
    let tags = hub.database.tags(id, Part::all()).await?;
    let on = NoteOn::Branch(branch.clone());
    let notes = Notes::on(&hub, &visit, &open, &dot, &on).await?;
    render(&CommitsPage {
        notes,
        visit,
        dot,
        branch,
        branches,
        commits,
        tags,
        next: (ancestry.next != CommitId::ROOT).then_some(ancestry.next),
    })
}
