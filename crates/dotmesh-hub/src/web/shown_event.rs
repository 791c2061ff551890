//! Describes events in words.

use dotmesh_api::hub::Access;
use dotmesh_hub_db::events::PastEvent;
use dotmesh_hub_model::access::{self, Telling};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::show;
use dotmesh_model::DotName;
use jiff::Timestamp;

/// The most branches that an event links to.
const MAX_LINKS: usize = 10;

pub(crate) struct ShownEvent {
    /// The user who caused it.
    pub(crate) actor: String,
    /// The time of the event.
    pub(crate) time: Timestamp,
    /// The description, which follows the actor's name.
    pub(crate) text: String,
    /// The links to related pages.
    pub(crate) links: Vec<Link>,
}

/// A link after an event's text.
pub(crate) struct Link {
    /// The link's text.
    pub(crate) text: String,
    /// The link's address.
    pub(crate) url: String,
}

impl ShownEvent {
    /// Describes an event for a viewer with this access to the dot. The viewer must be allowed to see the event.
    /// `origin` is the present name of the dot that it was forked from, if the viewer may see that dot.
    pub(crate) fn of_dot(
        event: PastEvent,
        dot_url: &str,
        access: Access,
        origin: Option<&DotName>,
    ) -> Self {
        let telling = access::tell(event.kind.class(), access, origin.is_some());
        let nameless = match (&event.kind, telling) {
            (EventKind::Rename { .. }, Telling::WithoutName) => Some("renamed it"),
            (EventKind::Transfer { .. }, Telling::WithoutName) => Some("took it over"),
            (EventKind::Fork { .. }, Telling::WithoutName) => Some("forked it from another dot"),
            _ => None,
        };
        let kind = match (event.kind, origin) {
            (EventKind::Fork { .. }, Some(origin)) => EventKind::Fork {
                from: origin.clone(),
            },
            (kind, _) => kind,
        };
        let shown = Self::new(PastEvent { kind, ..event }, dot_url);
        let text = nameless.map_or(shown.text, str::to_owned);
        Self { text, ..shown }
    }

    /// Describes an event for a viewer who may see all of it. Links lead below the dot's present address.
    pub(crate) fn new(event: PastEvent, dot_url: &str) -> Self {
        let link = |text: &str, path: String| Link {
            text: text.to_owned(),
            url: format!("{dot_url}{path}"),
        };
        let mut links = Vec::new();
        let text = match event.kind {
            EventKind::Push {
                branches,
                commits,
                filled,
            } => {
                let shown = branches.iter().take(MAX_LINKS);
                links = shown
                    .map(|branch| link(branch.name.as_str(), format!("/commit/{}", branch.head)))
                    .collect();
                let pushed = match (commits, filled) {
                    (0, filled) if filled > 0 => {
                        format!("pushed the data of {}", show::count(filled, "older commit"))
                    }
                    (commits, 0) => format!("pushed {}", show::count(commits, "commit")),
                    (commits, filled) => format!(
                        "pushed {}, and the data of {},",
                        show::count(commits, "commit"),
                        show::count(filled, "older one")
                    ),
                };
                let pushed = match branches.len() {
                    0 => pushed,
                    count if count > MAX_LINKS => format!("{pushed} to {count} branches, such as"),
                    _ => format!("{pushed} to"),
                };
                match branches.iter().any(|branch| branch.replaced.is_some()) {
                    true => format!("force-{pushed}"),
                    false => pushed,
                }
            }
            EventKind::CreateBranch { branch, .. } => {
                links.push(link(
                    branch.as_str(),
                    format!("/commits/{}", branch.spelling()),
                ));
                "created the branch".to_owned()
            }
            EventKind::DeleteBranch { branch, head } => {
                links.push(link("its last commit", format!("/commit/{head}")));
                format!("deleted the branch {branch}:")
            }
            EventKind::CreateTag { tag, commit } => {
                links.push(link(tag.as_str(), format!("/commit/{commit}")));
                "created the tag".to_owned()
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
                    links.push(link(
                        branch.as_str(),
                        format!("/commits/{}", branch.spelling()),
                    ));
                }
                "wrote a note on".to_owned()
            }
            EventKind::Grant { user, access } => format!("gave {user} {} access", access.as_str()),
            EventKind::Revoke { user } => format!("revoked {user}'s access"),
            EventKind::Describe => "changed the description".to_owned(),
            EventKind::DefaultBranch { branch } => {
                links.push(link(
                    branch.as_str(),
                    format!("/commits/{}", branch.spelling()),
                ));
                "made this the default branch:".to_owned()
            }
            EventKind::Publish => "made it public".to_owned(),
            EventKind::Unpublish => "made it private".to_owned(),
            EventKind::AllowForks { forks } => {
                format!(
                    "allowed forks, while it is private, by {}",
                    show::forks(&forks)
                )
            }
            EventKind::Rename { from } => format!("renamed it from {}", from.full()),
            EventKind::Offer { user } => format!("offered it to {user}"),
            EventKind::Transfer { from } => format!("took it over from {}", from.full()),
            EventKind::Fork { from } => format!("forked it from {}", from.full()),
            EventKind::DeleteDot => "deleted it".to_owned(),
            EventKind::RestoreDot => "restored it".to_owned(),
            EventKind::Protect { branch, protected } => {
                let verb = if protected {
                    "protected"
                } else {
                    "lifted the protection of"
                };
                format!("{verb} the branch {branch}")
            }
            EventKind::CreateWebhook { webhook } => format!("created the webhook {webhook}"),
            EventKind::ChangeWebhook { webhook } => format!("changed the webhook {webhook}"),
            EventKind::DeleteWebhook { webhook } => format!("deleted the webhook {webhook}"),
            EventKind::PingWebhook { webhook } => format!("tested the webhook {webhook}"),
            EventKind::SignUp => "signed up".to_owned(),
            EventKind::AddUser { user } => format!("created the account {user}"),
            EventKind::RemoveUser { user } => format!("removed the account {user}"),
            EventKind::Administrator { user, is_admin } => {
                let what = if is_admin { "an" } else { "no longer an" };
                format!("made {user} {what} administrator")
            }
            EventKind::Suspend { user, is_suspended } => {
                let verb = if is_suspended {
                    "suspended"
                } else {
                    "reactivated"
                };
                format!("{verb} {user}")
            }
            EventKind::Quota { user, quota } => {
                format!("set the storage quota of {user} to {quota}")
            }
            EventKind::Invite => "created an invitation".to_owned(),
            EventKind::ResetPassword { user } => {
                format!("created a link to set {user}'s password")
            }
            EventKind::CreateKey { name, scope, user } => {
                let whose = user.map_or_else(String::new, |user| format!(" for {user}"));
                format!("created the API key “{name}” with scope {scope}{whose}")
            }
            EventKind::RevokeKey { name } => format!("revoked the API key “{name}”"),
            EventKind::RevokeKeys { user } => format!("revoked all API keys of {user}"),
            EventKind::Password { user: None } => "set a password".to_owned(),
            EventKind::Password { user: Some(user) } => format!("set {user}'s password"),
        };
        Self {
            actor: event.actor.to_string(),
            time: event.time,
            text,
            links,
        }
    }
}
