//! `/OWNER/DOT/commit/ID`: the permalink of a state.

use askama::Template;
use axum::extract::State;
use dotmesh_model::{BranchName, CommitId};

use crate::access::Action;
use crate::database::notes::NoteOn;
use crate::database::paging::Part;
use crate::extract::{DotPath, RefPath};
use crate::operations::describe_commit::{self, CommitDetails};
use crate::operations::resolve_ref::resolve_ref;
use crate::operations::tree::facts::{CommitFacts, commit_facts};
use crate::pages::notes::Notes;
use crate::state::Hub;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

#[derive(Template)]
#[template(path = "commit.html")]
struct CommitPage {
    visit: Visit,
    dot: DotHeader,
    commit: CommitDetails,
    heads: Vec<BranchName>,
    tags: Vec<BranchName>,
    commands: Vec<String>,
    facts: CommitFacts,
    facts_at: CommitId,
    notes: Notes,
}

impl CommitPage {
    fn tab(&self) -> Tab {
        Tab::Commits
    }
}

/// Shows it. A branch's name, a tag's or the beginning of an id leads to the full id.
pub async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    RefPath(reference): RefPath,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let commit = resolve_ref(&hub, &open, &reference).await?;
    if commit.to_string() != reference {
        return go(&format!("{}/commit/{commit}", dot.url()));
    }
    let commit = describe_commit::describe_commit(&hub, &open, commit).await?;
    let branches = hub.database.branches(id).await?;
    let heads = branches
        .into_iter()
        .filter(|branch| branch.head == commit.id)
        .map(|branch| branch.name);
    let tags = hub.database.tags(id, Part::all()).await?;
    let tags = tags
        .into_iter()
        .filter(|tag| tag.commit == commit.id)
        .map(|tag| tag.name);
    let (heads, tags) = (heads.collect(), tags.collect());
    let facts_at = commit.id;
    let commands = commit.commands(&visit.hub_url, &dot.url());
    let facts = commit_facts(&hub, &open, commit.id).await?;
    let on = NoteOn::Commit(commit.id);
    let notes = Notes::on(&hub, &visit, &open, &dot, &on).await?;
    render(&CommitPage {
        visit,
        dot,
        commit,
        heads,
        tags,
        commands,
        facts,
        facts_at,
        notes,
    })
}
