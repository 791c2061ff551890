//! `/OWNER/DOT/activity`: what happened to a dot, the newest first.

use askama::Template;
use axum::extract::{Query, State};
use jiff::Timestamp;
use serde::Deserialize;

use crate::access::Action;
use crate::database::events::{EventKind, EventsOf, PastEvent};
use crate::extract::DotPath;
use crate::state::Hub;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, render, show};

const EVENTS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    visit: Visit,
    dot: DotHeader,
    events: Vec<ShownEvent>,
    next: Option<i64>,
}

impl ActivityPage {
    fn tab(&self) -> Tab {
        Tab::Activity
    }
}

/// An event in words.
pub struct ShownEvent {
    /// Who did it.
    pub actor: String,
    /// When.
    pub time: Timestamp,
    /// What, after the actor's name.
    pub text: String,
    /// Where to look at it.
    pub links: Vec<Link>,
}

/// A link after an event's text.
pub struct Link {
    /// What it is called.
    pub text: String,
    /// Where it leads.
    pub url: String,
}

/// Where to begin.
#[derive(Debug, Deserialize)]
pub struct Before {
    before: Option<i64>,
}

/// Shows it.
pub async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Query(Before { before }): Query<Before>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let of = EventsOf::Dot(open.existing()?);
    let events = hub.database.events(of, before, EVENTS_PER_PAGE).await?;
    let next = (events.len() == EVENTS_PER_PAGE as usize)
        .then(|| events.last().map(|event| event.id))
        .flatten();
    let url = dot.url();
    let events = events
        .into_iter()
        .map(|event| ShownEvent::new(event, &url))
        .collect();
    render(&ActivityPage {
        visit,
        dot,
        events,
        next,
    })
}

impl ShownEvent {
    /// Puts it into words. Links lead below the dot's present address.
    pub fn new(event: PastEvent, dot_url: &str) -> Self {
        let link = |text: &str, path: String| Link {
            text: text.to_owned(),
            url: format!("{dot_url}{path}"),
        };
        let mut links = Vec::new();
        let text = match event.kind {
            EventKind::Push { branches, commits } => {
                links = branches
                    .iter()
                    .map(|branch| link(branch.name.as_str(), format!("/commit/{}", branch.head)))
                    .collect();
                format!("pushed {} to", show::count(commits, "commit"))
            }
            EventKind::CreateBranch { branch, .. } => {
                links.push(link(branch.as_str(), format!("/commits/{branch}")));
                "made the branch".to_owned()
            }
            EventKind::DeleteBranch { branch, head } => {
                links.push(link("its last commit", format!("/commit/{head}")));
                format!("deleted the branch {branch}:")
            }
            EventKind::CreateTag { tag, commit } => {
                links.push(link(tag.as_str(), format!("/commit/{commit}")));
                "made the tag".to_owned()
            }
            EventKind::DeleteTag { tag, commit } => {
                links.push(link("its commit", format!("/commit/{commit}")));
                format!("deleted the tag {tag}:")
            }
            EventKind::Note { commit, branch } => {
                if let Some(commit) = commit {
                    links.push(link("a commit", format!("/commit/{commit}")));
                }
                if let Some(branch) = branch {
                    links.push(link(branch.as_str(), format!("/commits/{branch}")));
                }
                "wrote a note on".to_owned()
            }
            EventKind::Grant { user, access } => format!("gave {user} {} access", access.as_str()),
            EventKind::Revoke { user } => format!("took {user}'s access away"),
            EventKind::Publish => "made it public".to_owned(),
            EventKind::Unpublish => "made it private".to_owned(),
            EventKind::Rename { from } => format!("renamed it from {}", from.full()),
            EventKind::Transfer { from } => format!("transferred it from {}", from.full()),
            EventKind::Fork { from } => format!("forked it from {}", from.full()),
            EventKind::DeleteDot => "deleted it".to_owned(),
            EventKind::RestoreDot => "took it back".to_owned(),
            EventKind::Protect { branch, protected } => {
                let verb = if protected {
                    "protected"
                } else {
                    "no longer protects"
                };
                format!("{verb} the branch {branch}")
            }
            EventKind::SignUp => "signed up".to_owned(),
            EventKind::CreateKey { name, scope } => {
                format!("made the API key “{name}” of scope {scope}")
            }
            EventKind::RevokeKey { name } => format!("revoked the API key “{name}”"),
            EventKind::Password => "set a password".to_owned(),
        };
        Self {
            actor: event.actor.to_string(),
            time: event.time,
            text,
            links,
        }
    }
}
