//! `/OWNER/DOT/commit/ID`: a commit, with its permalink.

use askama::Template;
use axum::extract::State;
use dotmesh_browse::facts::CommitFacts;
use dotmesh_hub_db::notes::NoteOn;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::commit_facts::commit_facts;
use dotmesh_hub_service::operations::describe_commit::{self, CommitDetails};
use dotmesh_hub_service::operations::keep_databases;
use dotmesh_hub_service::operations::objects_of_dot::reader;
use dotmesh_hub_service::operations::resolve_ref::resolve_ref;
use dotmesh_model::{BranchName, CommitId, UserName};

use crate::extract::{DotPath, RefPath};
use crate::pages::notes::{Notes, NotesQuery};
use crate::web::commands::Run;
use crate::web::databases::{Changes, Contents};
use crate::web::pictures::{self, Picture};
use crate::web::query::Query;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The most branches and tags that are shown at a commit.
pub(super) const MAX_NAMES: u32 = 20;

#[derive(Template)]
#[template(path = "commit.html")]
struct CommitPage {
    visit: Visit,
    dot: DotHeader,
    commit: CommitDetails,
    heads: Vec<BranchName>,
    tags: Vec<BranchName>,
    /// Who pushed it, if it was the head of a recent push.
    pusher: Option<UserName>,
    run: Run,
    /// `None` if the hub lacks the commit's data.
    facts: Option<CommitFacts>,
    facts_at: CommitId,
    databases: Option<Contents>,
    pictures: Vec<Picture>,
    changes: Changes,
    notes: Notes,
}

impl CommitPage {
    fn tab(&self) -> Tab {
        Tab::Commits
    }
}

/// Shows the commit. The name of a branch or tag, or the prefix of an id, redirects to the full id.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    RefPath(reference): RefPath,
    Query(query): Query<NotesQuery>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let id = open.existing()?;
    let commit = resolve_ref(&hub, &open, &reference).await?;
    if commit.to_string() != reference {
        return go(&format!("{}/commit/{commit}", dot.url()));
    }
    let commit = describe_commit::describe_commit(&hub, &open, commit).await?;
    let at = [commit.id];
    let mut heads = hub.database.branches_at(id, &at, MAX_NAMES).await?;
    let mut tags = hub.database.tags_at(id, &at, MAX_NAMES).await?;
    let heads = heads.remove(&commit.id).unwrap_or_default();
    let tags = tags.remove(&commit.id).unwrap_or_default();
    let facts_at = commit.id;
    let address = format!("{}/commit/{}", dot.url(), commit.id);
    let run = Run::new(&visit.hub_url, &address, &dot, &commit);
    let facts = match commit.without_data {
        true => None,
        false => Some(commit_facts(&hub, &open, commit.id).await?),
    };
    let pictures = match &facts {
        Some(facts) => {
            let reader = reader(&hub, open.share(&hub), open.owner, id);
            pictures::pictures(&reader, &dot, commit.id, commit.root, facts).await
        }
        None => Vec::new(),
    };
    let summary = keep_databases::databases(&hub, &open, commit.id).await?;
    let databases = summary.as_ref().map(Contents::new);
    let changes = summary.map(Changes::of_commit).unwrap_or_default();
    let on = NoteOn::Commit(commit.id);
    let notes = Notes::on(&hub, &visit, &open, &dot, &on, &query).await?;
    render(&CommitPage {
        visit,
        dot,
        commit,
        heads,
        tags,
        pusher: hub.database.pusher(id, facts_at).await?,
        run,
        facts,
        facts_at,
        databases,
        pictures,
        changes,
        notes,
    })
}
