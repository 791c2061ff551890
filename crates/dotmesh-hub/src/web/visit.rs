//! A visit: the viewer of a page, and the values that the layout needs.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use dotmesh_api::hub::Access;
use dotmesh_hub_model::access::{self, Action, Forks, Scope};
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::{Caller, OpenDot, Viewer};
use dotmesh_hub_service::settings::SignUp;
use dotmesh_model::{BranchName, DotName};

use super::assets::Addresses;
use crate::error::HttpError;
use crate::extract::HubUrl;
use crate::router_state::RouterState;

/// A visit to a page. Every page's template has one as `visit`.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) viewer: Viewer,
    /// The page's own address, with its query.
    pub(crate) path: String,
    /// The hub's address, as the viewer knows it: `https://hub.example.com`.
    pub(crate) hub_url: String,
    /// The addresses of the layout's assets.
    pub(crate) assets: Addresses,
    /// The current time, the same for the whole page.
    pub(crate) now: jiff::Timestamp,
    /// Whether users can sign up without an invitation.
    pub(crate) can_sign_up: bool,
}

impl FromRequestParts<RouterState> for Visit {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, hub: &RouterState) -> Result<Self, HttpError> {
        let viewer = Viewer::from_request_parts(parts, hub).await?;
        let Ok(HubUrl(hub_url)) = HubUrl::from_request_parts(parts, hub).await;
        let path = parts.uri.path_and_query();
        Ok(Self {
            viewer,
            path: path.map_or_else(String::new, ToString::to_string),
            hub_url,
            assets: Addresses,
            now: hub.clock.now(),
            can_sign_up: hub.settings.sign_up == SignUp::Open,
        })
    }
}

impl Visit {
    /// Returns the viewer's account, if they are logged in.
    pub(crate) fn user(&self) -> Option<&Caller> {
        self.viewer.caller.as_ref()
    }

    /// Returns the viewer's account, for pages that need a login.
    pub(crate) fn caller(&self) -> Result<&Caller, HttpError> {
        Ok(self.viewer.caller()?)
    }

    /// Returns the viewer's account, for pages about the account itself. A key needs the scope `admin`.
    pub(crate) fn account(&self) -> Result<&Caller, HttpError> {
        let caller = self.viewer.caller()?;
        caller.require(Scope::Admin)?;
        Ok(caller)
    }

    /// Returns the viewer's account, for pages that need an administrator.
    pub(crate) fn administrator(&self) -> Result<&Caller, HttpError> {
        let caller = self.viewer.administrator()?;
        caller.require(Scope::Admin)?;
        Ok(caller)
    }

    /// Opens a dot for an action. Also returns the top of the dot's pages.
    pub(crate) async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<(OpenDot, DotHeader), HttpError> {
        let open = self.viewer.open(hub, dot, action).await?;
        if open.name != *dot {
            return Err(self.moved(dot, &open.name));
        }
        let (id, viewer) = (open.existing()?, self.viewer.id());
        let details = hub.database.dot_details(id, viewer).await?;
        let header = DotHeader {
            forks: details.forks,
            who_forks: details.who_forks,
            may_fork: access::may_fork(open.access, open.visibility, details.who_forks),
            newest_event: hub.database.newest_event(id, open.access).await?,
            namespace: dot.namespace.to_string(),
            name: dot.name().to_owned(),
            access: open.access,
            is_public: open.visibility == dotmesh_hub_model::access::Visibility::Public,
            default_branch: details.default_branch,
            description: details.description,
            forked_from: details.forked_from,
            has_writer: self.user().is_some() && open.access >= Access::Write,
            has_maintainer: self.user().is_some() && open.access >= Access::Maintain,
        };
        Ok((open, header))
    }

    /// Returns the error that redirects to the same page under the dot's present name.
    fn moved(&self, from: &DotName, to: &DotName) -> HttpError {
        let rest = self.path.strip_prefix('/');
        let rest = rest.and_then(|path| path.strip_prefix(from.full().as_str()));
        HttpError::Moved {
            to: format!("/{}{}", to.full(), rest.unwrap_or_default()),
        }
    }

    /// `3 hours ago`.
    pub(crate) fn ago(&self, time: &jiff::Timestamp) -> String {
        show::ago(*time, self.now)
    }
}

/// A tab of a dot's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Overview,
    Files,
    Commits,
    Graph,
    Activity,
    Settings,
}

/// The tabs that everyone sees, with their label and their path below the dot's.
pub(crate) const TABS: [(Tab, &str, &str); 5] = [
    (Tab::Overview, "Overview", ""),
    (Tab::Files, "Files", "/tree"),
    (Tab::Commits, "Commits", "/commits"),
    (Tab::Graph, "Graph", "/graph"),
    (Tab::Activity, "Activity", "/activity"),
];

/// A tab of the account's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountTab {
    Account,
    Keys,
    Offers,
    Trash,
}

/// The tabs with their label and path.
pub(crate) const ACCOUNT_TABS: [(AccountTab, &str, &str); 4] = [
    (AccountTab::Account, "Account", "/-/settings"),
    (AccountTab::Keys, "API keys", "/-/settings/keys"),
    (AccountTab::Offers, "Offered dots", "/-/offers"),
    (AccountTab::Trash, "Deleted dots", "/-/trash"),
];

/// A tab of the administrators' pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminTab {
    Overview,
    Events,
    Access,
}

/// The tabs with their label and path.
pub(crate) const ADMIN_TABS: [(AdminTab, &str, &str); 3] = [
    (AdminTab::Overview, "Overview", "/-/admin"),
    (AdminTab::Events, "Audit log", "/-/admin/events"),
    (AdminTab::Access, "Access log", "/-/admin/access"),
];

/// The data for the top of all pages of a dot.
#[derive(Debug, Clone)]
pub(crate) struct DotHeader {
    /// The owner's name.
    pub(crate) namespace: String,
    /// The dot's name in the namespace.
    pub(crate) name: String,
    /// The viewer's access.
    pub(crate) access: Access,
    /// Whether everyone may see the dot.
    pub(crate) is_public: bool,
    /// The default branch.
    pub(crate) default_branch: BranchName,
    /// The description, in Markdown.
    pub(crate) description: String,
    /// The dot that it was forked from, if that still exists and the viewer may see it.
    pub(crate) forked_from: Option<DotName>,
    /// The number of forks that the viewer may see.
    pub(crate) forks: u64,
    /// The users who may fork the dot while it is private.
    pub(crate) who_forks: Forks,
    /// Whether the viewer may fork it.
    pub(crate) may_fork: bool,
    /// The number of the last event that the viewer may see. It shows whether a page is out of date.
    pub(crate) newest_event: i64,
    /// Whether the viewer is logged in and may push.
    pub(crate) has_writer: bool,
    /// Whether the viewer is logged in and may maintain the dot.
    pub(crate) has_maintainer: bool,
}

impl DotHeader {
    /// Returns the dot's address on this hub: `/OWNER/DOT`.
    pub(crate) fn url(&self) -> String {
        format!("/{}/{}", self.namespace, self.name)
    }

    /// Returns the dot's full name: `OWNER/DOT`.
    pub(crate) fn full(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Returns whether the viewer owns the dot.
    pub(crate) fn is_owner(&self) -> bool {
        self.access == Access::Owner
    }
}
