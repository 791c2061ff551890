//! `/OWNER/DOT/commits/BRANCH`: a branch's commits, newest first. `?from=ID` begins at an earlier commit.

use askama::Template;
use axum::extract::State;
use dotmesh_api::hub::HubBranch;
use dotmesh_hub_db::heads::Names;
use dotmesh_hub_db::notes::NoteOn;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::commit_summary::CommitSummary;
use dotmesh_hub_service::operations::resolve_ref::resolve_ref;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::{BranchName, CommitId};
use serde::Deserialize;

use crate::extract::{BranchPath, DotPath};
use crate::pages::commit::MAX_NAMES;
use crate::pages::notes::{Notes, NotesQuery};
use crate::web::query::Query;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render};

const COMMITS_PER_PAGE: u32 = 50;

/// The most branches to choose from.
const MAX_CHIPS: u32 = 20;

#[derive(Template)]
#[template(path = "commits.html")]
struct CommitsPage {
    visit: Visit,
    dot: DotHeader,
    branch: BranchName,
    branches: Vec<HubBranch>,
    commits: Vec<CommitSummary>,
    tags: Names,
    next: Option<CommitId>,
    notes: Notes,
}

impl CommitsPage {
    fn tab(&self) -> Tab {
        Tab::Commits
    }

    /// Returns whether there may be more branches than are shown.
    fn has_more(&self) -> bool {
        self.branches.len() >= MAX_CHIPS as usize
    }

    fn tags_of(&self, commit: &CommitSummary) -> &[BranchName] {
        self.tags.get(&commit.id).map_or(&[], Vec::as_slice)
    }
}

/// The commit where the list begins.
#[derive(Debug, Deserialize)]
pub(crate) struct From {
    from: Option<String>,
}

/// Shows the default branch.
pub(crate) async fn get_default(
    state: State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    query: Query<From>,
    notes: Query<NotesQuery>,
) -> Page {
    let (_, dot) = visit.open(&state.0, &name, Action::Read).await?;
    let branch = BranchPath(dot.default_branch);
    get(state, visit, DotPath(name), branch, query, notes).await
}

/// Shows a branch.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    BranchPath(branch): BranchPath,
    Query(From { from }): Query<From>,
    Query(query): Query<NotesQuery>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let head = hub.database.branch_head(id, &branch).await?;
    let head = head.ok_or_else(|| HubError::NoSuchBranch {
        dot: name.clone(),
        branch: branch.clone(),
    })?;
    let branches = hub.database.newest_branches(id, MAX_CHIPS).await?;
    // A former name must redirect first, with the whole query. So `from` is resolved after the dot.
    let from = match from {
        Some(from) => resolve_ref(&hub, &open, &from).await?,
        None => head,
    };
    let (commits, next) = hub.database.line(id, from, COMMITS_PER_PAGE).await?;
    let ids: Vec<CommitId> = commits.iter().map(|commit| commit.id).collect();
    let tags = hub.database.tags_at(id, &ids, MAX_NAMES).await?;
    let on = NoteOn::Branch(branch.clone());
    let notes = Notes::on(&hub, &visit, &open, &dot, &on, &query).await?;
    render(&CommitsPage {
        notes,
        visit,
        dot,
        branch,
        branches,
        commits,
        tags,
        next: (next != CommitId::ROOT).then_some(next),
    })
}
